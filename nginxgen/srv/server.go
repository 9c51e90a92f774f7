package srv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"
)

const (
	// maxRate bounds the questions that are answered in a second; a hundred upstreams of a hundred servers make about 5,000.
	maxRate = 20000
	// maxConns bounds the TCP connections; each worker of nginx has at most one.
	maxConns = 128
	// idle is how long a TCP connection may be silent.
	idle = 30 * time.Second
	// buffer is what the kernel shall hold of questions, in bytes: some 5,000, as nginx asks for all addresses at once.
	buffer = 4 << 20
	// linger is how long names of addresses are still answered while it closes, so that an answer that was given is taken whole.
	linger = 200 * time.Millisecond
)

// Options say where to answer.
type Options struct {
	// Listen is a loopback address and a port, for UDP and TCP. Port 0 takes a free one.
	Listen string
	// Metrics is where tidegate_nginx_dns_* are registered; nil for a private set.
	Metrics *metrics.Set
}

// Answerer answers until it is closed. Its methods may be called from any goroutine.
type Answerer struct {
	udp   *net.UDPConn
	tcp   *net.TCPListener
	table table
	m     *meters
	rate  rate
	// closing: no question about servers is answered any more.
	closing atomic.Bool

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Start listens and answers. Before the first Put it says SERVFAIL, which makes nginx keep what it has.
func Start(o Options) (*Answerer, error) {
	addr, err := netip.ParseAddrPort(o.Listen)
	if err != nil || !addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("nginx's DNS: the address %q is not allowed: a loopback address and a port, such as 127.0.0.1:539", o.Listen)
	}
	s := &Answerer{table: table{services: map[string]*service{}}, conns: map[net.Conn]bool{}}
	if err := s.listen(addr); errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("nginx's DNS: %w (a port below 1024 takes root or CAP_NET_BIND_SERVICE)", err)
	} else if err != nil {
		return nil, fmt.Errorf("nginx's DNS: %w", err)
	}
	s.m = newMeters(o.Metrics)
	s.wg.Go(s.serveUDP)
	s.wg.Go(s.serveTCP)
	return s, nil
}

// listen takes the same port for both; a free one that TCP gives may be taken for UDP.
func (s *Answerer) listen(addr netip.AddrPort) error {
	tries := 1
	if addr.Port() == 0 {
		tries = 10
	}
	var err error
	for range tries {
		if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)); err != nil {
			return err
		}
		at := s.tcp.Addr().(*net.TCPAddr).AddrPort()
		if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
			return s.widen()
		}
		_ = s.tcp.Close()
	}
	return err
}

// widen makes room for questions that come at once: as much as net.core.rmem_max allows, and beyond with CAP_NET_ADMIN.
func (s *Answerer) widen() error {
	if err := s.udp.SetReadBuffer(buffer); err != nil {
		return errors.Join(err, s.udp.Close(), s.tcp.Close())
	}
	raw, err := s.udp.SyscallConn()
	if err != nil {
		return errors.Join(err, s.udp.Close(), s.tcp.Close())
	}
	return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) })
}

// Addr is where it answers.
func (s *Answerer) Addr() string { return s.udp.LocalAddr().String() }

// Put makes these the answers for these upstreams and leaves all others as they are. It tells whether an answer changed. An
// upstream that is refused, or without a server that serves, keeps its last answer; the error names it.
func (s *Answerer) Put(upstreams ...Upstream) (changed bool, err error) {
	var errs []error
	for _, u := range upstreams {
		c, err := s.table.put(u)
		changed = changed || c
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.m.watch(u.Name, func() time.Time { return s.table.lastAsked(u.Name) })
	}
	return changed, errors.Join(errs...)
}

// Answers tells whether there is an answer for an upstream.
func (s *Answerer) Answers(upstream string) bool {
	_, ok := s.table.records(question(upstream))
	return ok
}

// Retain drops every upstream but these: nginx would keep the servers it has for the others.
func (s *Answerer) Retain(names []string) {
	for _, gone := range s.table.retain(names) {
		s.m.forget(gone)
	}
}

// Taken is the weight of each server address that nginx may send an upstream's requests to: of what it was told last and of what
// it has proven to have taken, the higher. False when that is not known: nginx has not asked twice within the last 15 seconds.
func (s *Answerer) Taken(upstream string, now time.Time) (map[string]int, bool) {
	return s.table.taken(upstream, now)
}

// LastAsked is when somebody asked for an upstream's servers last, the zero time for never.
func (s *Answerer) LastAsked(upstream string) time.Time { return s.table.lastAsked(upstream) }

// Close stops within a second: no question about servers is answered any more, those about addresses for 0.2 s.
func (s *Answerer) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	time.Sleep(linger)
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	for _, name := range s.table.names() {
		s.m.forget(name)
	}
	return err
}

func (s *Answerer) serveUDP() {
	buf := make([]byte, maxQuestion+1)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Such as an asker that is gone; there is no reason to spin when it is something else.
			time.Sleep(time.Millisecond)
			continue
		}
		now := time.Now()
		if !s.rate.allow(now) {
			s.m.query("none", "dropped")
			continue
		}
		if out := s.respond(buf[:n], from, false, now); out != nil {
			_, _ = s.udp.WriteToUDPAddrPort(out, from)
		}
	}
}

func (s *Answerer) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if !s.keep(c) {
			_ = c.Close()
			continue
		}
		s.wg.Go(func() {
			s.converse(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// keep notes a connection, unless there are too many or all are being closed.
func (s *Answerer) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConns || s.closing.Load() {
		return false
	}
	s.conns[c] = true
	return true
}

// converse answers the questions of one connection, each with two bytes of length before it.
func (s *Answerer) converse(c net.Conn) {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	buf := make([]byte, 2+maxQuestion)
	for {
		if c.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n > maxQuestion {
			return
		}
		if _, err := io.ReadFull(c, buf[2:2+n]); err != nil {
			return
		}
		now := time.Now()
		if !s.rate.allow(now) {
			s.m.query("none", "dropped")
			return
		}
		out := s.respond(buf[2:2+n], from, true, now)
		if out == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

// rate counts the questions of each second.
type rate struct {
	mu     sync.Mutex
	second int64
	n      int
}

func (r *rate) allow(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sec := now.Unix(); sec != r.second {
		r.second, r.n = sec, 0
	}
	r.n++
	return r.n <= maxRate
}
