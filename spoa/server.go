package spoa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/internal/quiet"
)

// Options of a Server. The zero value of each field means its default.
type Options struct {
	// Sink takes the samples and gauges; nil throws them away.
	Sink Sink
	// Log takes what goes wrong on connections, throttled; nil is silent.
	Log *slog.Logger
	// Metrics is the set to register in; nil makes a private one.
	Metrics *metrics.Set
	// MaxConns is the number of connections served at once, 4096 by default. HAProxy opens one for each request of a
	// burst. Further ones wait in the listener's queue, because a closed connection makes HAProxy 2.6 reconnect at once,
	// thousands of times a second.
	MaxConns int
	// MaxFrameSize is the largest frame taken, 16380 by default, which is what HAProxy offers with its default buffers.
	// At least 256.
	MaxFrameSize uint32
	// HandshakeTimeout bounds the time to the HELLO (2 s), IdleTimeout that between two frames (2 min, more than the
	// minute after which HAProxy <= 3.0 leaves; the connection is closed between one and one and a half times that), and
	// WriteTimeout that of one write (1 s, at most twice that).
	HandshakeTimeout, IdleTimeout, WriteTimeout time.Duration
	// Drain bounds the time that HAProxy gets to take the agent out before a shutdown: its checks fail, all else is served,
	// until nothing has come for a moment. With none (0), the first request after a shutdown finds the agent gone, which
	// costs it up to `timeout processing`. With the shipped configuration it takes less than 2 s.
	Drain time.Duration
}

func (o Options) withDefaults() Options {
	if o.Sink == nil {
		o.Sink = noSink{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 4096
	}
	if o.MaxFrameSize == 0 {
		o.MaxFrameSize = 16380
	}
	o.MaxFrameSize = max(o.MaxFrameSize, minMaxFrameSize)
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{{&o.HandshakeTimeout, 2 * time.Second}, {&o.IdleTimeout, 2 * time.Minute}, {&o.WriteTimeout, time.Second}} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	return o
}

// Server is a SPOP agent that only listens: it acknowledges at once and then tells its sink.
type Server struct {
	opts     Options
	quiet    *quiet.Log
	meters   *meters
	decoders *decoders
}

// New returns a server; Serve makes it work.
func New(o Options) *Server {
	o = o.withDefaults()
	m := newMeters(o.Metrics)
	return &Server{opts: o, quiet: quiet.New(o.Log, 0), meters: m, decoders: newDecoders(o.Sink, m, newNameTable())}
}

// Stats is what the server has done since it began; safe to call at any time.
func (s *Server) Stats() Stats { return s.meters.stats() }

// Serve accepts connections until ctx ends, then drains (see Options.Drain), closes the listener, tells every connection
// goodbye (AGENT-DISCONNECT, status 0) and returns nil when all have gone, which takes about a second more at most. It returns an error when the
// listener fails for good. Temporary failures to accept are waited out.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	g := &group{conns: map[net.Conn]struct{}{}}
	stop := context.AfterFunc(ctx, func() {
		s.drain(g)
		_ = ln.Close()
	})
	defer stop()
	err := s.accept(ctx, ln, g)
	_ = ln.Close()
	g.shutdown()
	g.wait.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept SPOP connections on %s: %w", ln.Addr(), err)
}

func (s *Server) accept(ctx context.Context, ln net.Listener, g *group) error {
	slots := make(chan struct{}, s.opts.MaxConns)
	var pause time.Duration
	for {
		if !s.slot(ctx, slots) {
			return ctx.Err()
		}
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			g.add(nc)
			s.meters.opened()
			g.wait.Go(func() {
				c := newConn(s, nc, &g.closing)
				c.session.draining = &g.draining
				c.run()
				s.meters.closed()
				g.remove(nc)
				<-slots
			})
			continue
		}
		<-slots
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		// Without a pause, a lack of file descriptors would keep a processor busy.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.meters.acceptErrors.Inc()
		s.quiet.Warn("accept", "cannot accept SPOP connections", "address", ln.Addr().String(), "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// slot waits until one more connection may be open.
func (s *Server) slot(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	s.quiet.Warn("full", "all SPOP connections are in use; further ones wait", "connections", s.opts.MaxConns)
	select {
	case slots <- struct{}{}:
		s.quiet.Clear("full", "SPOP connections are accepted again")
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	// drainQuiet is how long no message must have come for HAProxy to have taken us out; heartbeats come twice a second.
	drainQuiet = 700 * time.Millisecond
	drainPoll  = 20 * time.Millisecond
)

// drain fails HAProxy's checks and serves what still comes, until nothing comes any more or time is up.
func (s *Server) drain(g *group) {
	if s.opts.Drain <= 0 || s.meters.connections.Load() == 0 {
		return
	}
	g.draining.Store(true)
	begin := time.Now()
	last, since := s.meters.frames.Get(), begin
	for now := begin; now.Sub(since) < drainQuiet && now.Sub(begin) < s.opts.Drain; now = time.Now() {
		time.Sleep(drainPoll)
		if n := s.meters.frames.Get(); n != last {
			last, since = n, time.Now()
		}
	}
}

// refused counts and logs a frame that ended its connection.
func (s *Server) refused(nc net.Conn, why reason, text string) {
	s.meters.malformed(why)
	s.quiet.Warn(why.String(), "refused a SPOP frame and closed its connection", "reason", why.String(), "detail", text, "peer", nc.RemoteAddr().String())
}

// group is the connections of one listener.
type group struct {
	draining, closing atomic.Bool
	wait              sync.WaitGroup
	mu                sync.Mutex
	conns             map[net.Conn]struct{}
}

func (g *group) add(nc net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[nc] = struct{}{}
}

func (g *group) remove(nc net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, nc)
}

// shutdown wakes every connection, which then says goodbye by itself.
func (g *group) shutdown() {
	g.closing.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for nc := range g.conns {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
}
