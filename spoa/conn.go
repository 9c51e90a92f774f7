package spoa

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// A connection's buffer begins with firstBuffer bytes; one that a read has filled grows, up to mostBuffer, so that more
	// frames are answered with one write.
	firstBuffer = 8 << 10
	mostBuffer  = 32 << 10
	// lingerTime and lingerBytes bound how long a closed connection is drained, so that the peer gets to read our last
	// frame before it sees a reset.
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 64 << 10
)

// conn is one connection: it moves bytes between the socket and its session, within the deadlines.
type conn struct {
	nc      net.Conn
	server  *Server
	closing *atomic.Bool
	session *session
	// in[r:w] is read and not yet taken by the session.
	in   []byte
	r, w int
	// readBy and writeBy are the deadlines that were set.
	readBy, writeBy time.Time
	// engine is what the connection is counted under, nil before its HELLO.
	engine *engine
}

func newConn(s *Server, nc net.Conn, closing *atomic.Bool) *conn {
	c := &conn{nc: nc, server: s, closing: closing, in: newBuffer(firstBuffer)}
	c.session = s.decoders.session(s.opts.MaxFrameSize, func(why reason, text string) { s.refused(nc, why, text) })
	return c
}

// run serves the connection to its end and closes it. A panic ends this connection only.
func (c *conn) run() {
	defer c.nc.Close()
	defer c.leave()
	defer func() {
		if p := recover(); p != nil {
			c.server.meters.malformed(reasonPanic)
			c.server.quiet.Warn("panic", "a SPOP connection failed and was closed", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	c.readBefore(time.Now().Add(c.server.opts.HandshakeTimeout))
	for {
		n, err := c.nc.Read(c.in[c.w:])
		now := time.Now()
		c.w += n
		full := c.w == len(c.in)
		if n > 0 && !c.step(now) {
			return
		}
		if err != nil {
			c.over(now, err)
			return
		}
		if full && cap(c.in) < mostBuffer {
			c.resize(2 * cap(c.in))
		}
	}
}

// leave takes the connection out of its engine's count.
func (c *conn) leave() {
	if c.engine != nil {
		c.server.meters.engines.leave(c.engine)
	}
}

// step feeds what was read to the session and writes all answers at once; false when the connection is over. Requests wait for
// the answers, so they go first, and what the frames say is recorded while HAProxy goes on. Heartbeats and arrivals are
// recorded first all the same: an arrival must be known before its request can be answered.
func (c *conn) step(now time.Time) bool {
	s := c.session
	used, need := s.scan(c.in[c.r:c.w])
	taken := c.in[c.r : c.r+used]
	c.r += used
	if !s.answers {
		s.digest(now, taken)
	}
	if used > 0 && s.ready && !s.ended {
		c.extend(now)
	}
	if s.ready && c.engine == nil {
		c.engine = c.server.meters.engines.enter(s.engine)
	}
	written, ok := c.flush(now)
	s.digest(written, taken)
	c.count()
	if !ok {
		return false
	}
	if s.ended {
		c.linger()
		return false
	}
	c.makeRoom(need)
	return true
}

// flush writes what the session has to say in one write, and returns when that was done: now, unless it took long.
func (c *conn) flush(now time.Time) (written time.Time, ok bool) {
	s := c.session
	if len(s.out) == 0 {
		return now, true
	}
	// Moving a deadline costs about as much as decoding a frame: it is set for twice the time, and moved when half is over.
	if wt := c.server.opts.WriteTimeout; c.writeBy.Sub(now) < wt {
		c.writeBy = now.Add(2 * wt)
		_ = c.nc.SetWriteDeadline(c.writeBy)
	}
	_, err := c.nc.Write(s.out)
	s.out = s.out[:0]
	took := time.Since(now)
	if s.acks > 0 {
		c.server.meters.acked(s.acks, took)
		s.acks = 0
	}
	if took > settle/2 {
		// The peer did not read. The second of now may have been reported meanwhile.
		now = now.Add(took)
	}
	return now, err == nil
}

// count adds what the session has read to the server's counts.
func (c *conn) count() {
	n, m := &c.session.taken, c.server.meters
	if n.dones+n.beats > 0 {
		m.took(n.dones, n.beats)
	}
	if n.arrivals > 0 {
		m.arrivals.Add(n.arrivals)
	}
	*n = counted{}
}

// makeRoom moves the unfinished rest to the front and makes the buffer large enough for the frame it belongs to.
func (c *conn) makeRoom(need int) {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.r > 0 && (c.r+need > len(c.in) || c.w == len(c.in)) {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	if need > len(c.in)-c.r {
		c.resize(need + stencilRoom)
	}
}

// newBuffer is a buffer of that size. The last bytes of its memory are never read into; see slack and stencilRoom.
func newBuffer(size int) []byte { return make([]byte, size-stencilRoom, size) }

// resize moves what is not taken yet to a buffer of that size.
func (c *conn) resize(size int) {
	bigger := newBuffer(size)
	c.w = copy(bigger, c.in[c.r:c.w])
	c.r, c.in = 0, bigger
}

// extend moves the idle deadline, seldom. Only whole frames move it, so that half a frame cannot hold a connection.
func (c *conn) extend(now time.Time) {
	idle := c.server.opts.IdleTimeout
	if c.readBy.Sub(now) < idle || c.readBy.Sub(now) > 2*idle {
		c.readBefore(now.Add(idle + idle/2))
	}
}

// readBefore sets the read deadline. A shutdown sets one in the past: when it came in between, it wins.
func (c *conn) readBefore(t time.Time) {
	c.readBy = t
	_ = c.nc.SetReadDeadline(t)
	if c.closing.Load() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// over ends the connection after a read error: the peer went away, was silent too long, or we shut down.
func (c *conn) over(now time.Time, err error) {
	s := c.session
	partial := c.w > c.r
	switch {
	case c.closing.Load():
		s.bye(statusNormal, "the agent shuts down")
	case errors.Is(err, os.ErrDeadlineExceeded):
		if partial || !s.ready {
			s.note(reasonTruncated, "a frame was not complete in time")
		}
		s.bye(statusTimeout, "silent too long")
	default:
		if partial {
			s.note(reasonTruncated, "the connection ended within a frame")
		}
		return
	}
	if _, ok := c.flush(now); ok {
		c.linger()
	}
}

// linger waits a little for the peer to close, reading and throwing away what still comes.
func (c *conn) linger() {
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.nc, lingerBytes)
}
