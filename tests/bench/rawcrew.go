package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe keeps window frames in flight on one connection, by its descriptor. That is blocking: it is read when there is something,
// and a window always fits into what the kernel holds for a connection.
type pipe struct {
	file         *os.File
	fd           int
	ring         *ring
	window       int
	buf          []byte
	have, flight int
	acked        atomic.Uint64
	_            [40]byte // keeps the counters of two connections apart
}

// send sends the next n frames.
func (p *pipe) send(n int) error {
	b := p.ring.take(n)
	if w, err := syscall.Write(p.fd, b); err != nil || w < len(b) {
		return fmt.Errorf("send frames: %d of %d bytes, %w", w, len(b), err)
	}
	p.flight += n
	return nil
}

// receive reads ACKs once and sends as many frames, unless it is to stop.
func (p *pipe) receive(stop bool) error {
	n, err := syscall.Read(p.fd, p.buf[p.have:])
	if err != nil || n == 0 {
		return fmt.Errorf("read ACKs: %d bytes, %w", n, err)
	}
	p.have += n
	acks, used, err := countAcks(p.buf[:p.have])
	if err != nil {
		return err
	}
	p.have = copy(p.buf, p.buf[used:p.have])
	p.acked.Add(uint64(acks))
	if p.flight -= acks; p.flight < 0 {
		return fmt.Errorf("%d ACKs more than frames", -p.flight)
	}
	if stop || acks == 0 {
		return nil
	}
	return p.send(acks)
}

// crew is the load of several connections: as many threads as there are processors, each with an event loop, as HAProxy has. A goroutine
// for each connection makes more frames with the echo and the peer; docs/benchmarks.md has both.
type crew struct {
	pipes   []*pipe
	threads int
	stopped atomic.Bool
	errs    chan error
}

func newCrew(a *agentProc, conns, window int) (*crew, error) {
	c := &crew{threads: min(conns, runtime.NumCPU())}
	c.errs = make(chan error, c.threads)
	for i := range conns {
		f, err := dialBlocking(a.addr)
		if err != nil {
			return c, err
		}
		c.pipes = append(c.pipes, &pipe{
			file: f, fd: int(f.Fd()), window: window, ring: newRing(&a.counts, window, uint64(i)), buf: make([]byte, 32<<10),
		})
	}
	return c, nil
}

func (c *crew) close() {
	for _, p := range c.pipes {
		p.file.Close()
	}
}

func (c *crew) acked() (n uint64) {
	for _, p := range c.pipes {
		n += p.acked.Load()
	}
	return n
}

func (c *crew) start() {
	for first := range c.threads {
		var mine []*pipe
		for i := first; i < len(c.pipes); i += c.threads {
			mine = append(mine, c.pipes[i])
		}
		go func() { c.errs <- c.loop(mine) }()
	}
}

// stop returns when the last ACKs have come.
func (c *crew) stop() (err error) {
	c.stopped.Store(true)
	for range c.threads {
		err = firstOf(err, <-c.errs)
	}
	return err
}

// loop serves pipes on one thread until the crew is to stop and nothing is in flight.
func (c *crew) loop(pipes []*pipe) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	defer unix.Close(ep)
	for i, p := range pipes {
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		if err := p.send(p.window); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, len(pipes))
	for busy := len(pipes); busy > 0; {
		n, err := await(ep, events)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		if n == 0 {
			return errors.New("no ACK for a minute")
		}
		stopped := c.stopped.Load()
		for _, ev := range events[:n] {
			p := pipes[ev.Fd]
			if err := p.receive(stopped); err != nil {
				return err
			}
			if p.flight == 0 {
				busy--
			}
		}
	}
	return nil
}

// await looks a while before it sleeps, so that with one connection it is not the kernel's waking us up that is measured.
func await(ep int, events []unix.EpollEvent) (n int, err error) {
	const looks, patience = 64, 60_000 // about 10 us, and milliseconds
	for range looks {
		if n, err = unix.EpollWait(ep, events, 0); n != 0 || err != nil {
			return n, err
		}
	}
	return unix.EpollWait(ep, events, patience)
}
