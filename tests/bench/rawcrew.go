package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// blocking is a connection by its descriptor, whose reads and writes wait in the kernel. It is read when there is something, and a
// window always fits into what the kernel holds for a connection.
type blocking struct {
	*os.File
	fd int
}

func (b blocking) Read(to []byte) (int, error)    { return syscall.Read(b.fd, to) }
func (b blocking) Write(from []byte) (int, error) { return syscall.Write(b.fd, from) }

// pipe keeps window frames in flight on one connection.
type pipe struct {
	io.ReadWriteCloser
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
	if w, err := p.Write(b); err != nil || w < len(b) {
		return fmt.Errorf("send frames: %d of %d bytes, %w", w, len(b), err)
	}
	p.flight += n
	return nil
}

// receive reads ACKs once and sends as many frames, unless it is to stop.
func (p *pipe) receive(stop bool) error {
	n, err := p.Read(p.buf[p.have:])
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

// run is the whole load of a connection.
func (p *pipe) run(stopped *atomic.Bool) error {
	err := p.send(p.window)
	for err == nil && p.flight > 0 {
		err = p.receive(stopped.Load())
	}
	return err
}

// crew is the load of several connections: as many threads as there are processors, each with an event loop, as HAProxy has, or a
// goroutine for each connection. docs/benchmarks.md has both.
type crew struct {
	pipes   []*pipe
	loops   int // 0 for goroutines
	stopped atomic.Bool
	errs    chan error
}

func newCrew(a *agentProc, o rawLoad) (*crew, error) {
	c := &crew{}
	if !o.goroutines {
		c.loops = min(o.conns, runtime.GOMAXPROCS(0))
	}
	c.errs = make(chan error, o.conns)
	for i := range o.conns {
		p := &pipe{window: o.window, ring: newRing(&a.counts, o.window, uint64(i)), buf: make([]byte, 32<<10)}
		nc, err := dial(a.addr)
		if err != nil {
			return c, err
		}
		if p.ReadWriteCloser = nc; !o.goroutines {
			b, err := blockingOf(nc)
			if err != nil {
				return c, err
			}
			p.ReadWriteCloser, p.fd = b, b.fd
		}
		c.pipes = append(c.pipes, p)
	}
	return c, nil
}

func (c *crew) close() {
	for _, p := range c.pipes {
		p.Close()
	}
}

func (c *crew) acked() (n uint64) {
	for _, p := range c.pipes {
		n += p.acked.Load()
	}
	return n
}

func (c *crew) start() {
	if c.loops == 0 {
		for _, p := range c.pipes {
			go func() { c.errs <- p.run(&c.stopped) }()
		}
	}
	for first := range c.loops {
		var mine []*pipe
		for i := first; i < len(c.pipes); i += c.loops {
			mine = append(mine, c.pipes[i])
		}
		go func() { c.errs <- c.loop(mine) }()
	}
}

// stop returns when the last ACKs have come.
func (c *crew) stop() (err error) {
	c.stopped.Store(true)
	n := c.loops
	if n == 0 {
		n = len(c.pipes)
	}
	for range n {
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
