package spoa

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// within polls cond.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s in vain", what)
		}
	}
}

// serve runs a server on a socket of its own and returns it, a dialler and what ends it.
func serve(t *testing.T, o Options) (s *Server, dial func() *peer, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	s = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket file is still there")
		}
	})
	t.Cleanup(stop)
	dial = func() *peer {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return &peer{t, c}
	}
	return s, dial, stop
}

// peer is the HAProxy end of a connection.
type peer struct {
	t *testing.T
	net.Conn
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next reads one frame; ok is false at the end of the connection.
func (p *peer) next() (h header, ok bool) {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(p, size[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("neither a frame nor the end within 10 s")
		}
		return h, false
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p, body); err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	if h, ok = splitHeader(body); !ok {
		p.t.Fatalf("unreadable frame %x", body)
	}
	return h, true
}

func (p *peer) expect(kind frame.Type) header {
	p.t.Helper()
	h, ok := p.next()
	if !ok || h.kind != kind {
		p.t.Fatalf("got frame type %d (%v), want %d", h.kind, ok, kind)
	}
	return h
}

// gone expects an AGENT-DISCONNECT of that status, then the end.
func (p *peer) gone(status int) {
	p.t.Helper()
	if got := pairs(p.expect(frame.TypeAgentDisconnect).payload)["status-code"]; got != status {
		p.t.Errorf("disconnected with status %v, want %d", got, status)
	}
	if _, ok := p.next(); ok {
		p.t.Error("a frame after the disconnect")
	}
}

func (p *peer) greet() *peer {
	p.t.Helper()
	p.send(goodHello())
	p.expect(frame.TypeAgentHello)
	return p
}

// ask sends a request and waits for its ACK.
func (p *peer) ask(stream uint64) {
	p.t.Helper()
	p.send(notifyFrame(stream, message(messageDone, doneArgs()...)))
	if h := p.expect(frame.TypeAgentAck); !bytes.HasPrefix(h.ids, putVarint(nil, stream)) {
		p.t.Errorf("the ACK is for %x, want stream %d", h.ids, stream)
	}
}

// Whatever one connection sends, it alone ends, it is counted, and another one never notices.
func TestBadPeersDisturbNobody(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	sink := &spy{}
	s, dial, stop := serve(t, Options{Sink: sink, HandshakeTimeout: 200 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))})
	good := dial().greet()
	good.ask(1)
	done := message(messageDone, doneArgs()...)
	tests := map[string]struct {
		greet  bool
		in     []byte
		status int // -1: no disconnect frame
		reason string
	}{
		"four gigabytes":             {false, []byte{0xff, 0xff, 0xff, 0xff, 3}, statusTooBig, "frame_too_big"},
		"four gigabytes, later":      {true, []byte{0xff, 0xff, 0xff, 0xff, 3}, statusTooBig, "frame_too_big"},
		"length zero":                {true, []byte{0, 0, 0, 0}, statusInvalid, "frame_too_small"},
		"length one":                 {true, []byte{0, 0, 0, 1, 3}, statusInvalid, "frame_too_small"},
		"garbage":                    {false, []byte("\x00\x00\x00\x20abcdefghijklmnopqrstuvwxyz0123456789"), statusInvalid, "frame"},
		"HTTP":                       {false, []byte("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), statusTooBig, "frame_too_big"},
		"a request before the hello": {false, notifyFrame(1, done), statusInvalid, "order"},
		"a hello that ends early":    {false, goodHello()[:20], statusTimeout, "truncated"},
		"nothing at all":             {false, nil, statusTimeout, "truncated"},
	}
	for name, tt := range tests {
		before := s.Stats().Malformed[tt.reason]
		p := dial()
		if tt.greet {
			p.greet()
		}
		p.send(tt.in)
		if p.gone(tt.status); t.Failed() {
			t.Fatalf("failed at %q", name)
		}
		if got := s.Stats().Malformed[tt.reason]; got != before+1 {
			t.Errorf("%s: %q counted %d times, want once", name, tt.reason, got-before)
		}
		good.ask(2)
	}
	// A frame cut off by the peer's end.
	p := dial().greet()
	p.send(notifyFrame(1, done)[:50])
	p.Close()
	within(t, "the truncated frame to be counted", func() bool { return s.Stats().Malformed["truncated"] == 3 })
	good.ask(3)
	good.send(frameOf(frame.TypeHaproxyDisconnect, 0, 0, nil))
	good.gone(statusNormal)
	within(t, "no connection to be left", func() bool { return s.Stats().Connections == 0 })
	if st := s.Stats(); st.Frames != uint64(len(tests)+2) || st.Done != st.Frames || st.AckCount != st.Frames || st.AckP99 <= 0 {
		t.Errorf("stats: %+v", st)
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "frame_too_big"); n != 1 {
		t.Errorf("three frames too big gave %d log lines, want one:\n%s", n, log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestHealthCheckIsAnsweredAndClosed(t *testing.T) {
	s, dial, _ := serve(t, Options{})
	p := dial()
	p.send(goodHello(arg{"healthcheck", true}))
	p.expect(frame.TypeAgentHello)
	if _, ok := p.next(); ok {
		t.Error("a frame after the answer to a health check")
	}
	if st := s.Stats(); len(st.Malformed) != 0 {
		t.Errorf("malformed: %v", st.Malformed)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	s, dial, stop := serve(t, Options{})
	ready, waiting := dial().greet(), dial()
	ready.ask(1)
	// One that still stands in the listener's queue gets no goodbye.
	within(t, "both connections to be accepted", func() bool { return s.Stats().Connections == 2 })
	ended := make(chan struct{})
	go func() { stop(); close(ended) }()
	ready.gone(statusNormal)
	waiting.gone(statusNormal)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("Serve has not returned")
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	_, dial, _ := serve(t, Options{IdleTimeout: 100 * time.Millisecond})
	p := dial().greet()
	p.ask(1)
	p.gone(statusTimeout)
	// Half a frame every now and then does not keep a connection.
	p = dial().greet()
	go func() {
		for _, b := range notifyFrame(1, message(messageDone, doneArgs()...)) {
			if _, err := p.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	p.gone(statusTimeout)
}

func TestPeerThatReadsNothingIsLeft(t *testing.T) {
	s, dial, _ := serve(t, Options{WriteTimeout: 100 * time.Millisecond})
	p := dial().greet()
	in := bytes.Repeat(notifyFrame(1, message("x")), 1000)
	within(t, "the connection to be given up", func() bool {
		_ = p.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = p.Write(in)
		return s.Stats().Connections == 0
	})
}

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	s, dial, _ := serve(t, Options{MaxConns: 2})
	one, two := dial().greet(), dial().greet()
	three := dial()
	three.send(goodHello())
	one.ask(1)
	two.ask(1)
	if n := s.Stats().ConnectionsTotal; n != 2 {
		t.Errorf("%d connections were accepted, want 2", n)
	}
	one.Close()
	three.expect(frame.TypeAgentHello)
	three.ask(1)
}

// panicky is a sink with a bug.
type panicky struct{ spy }

func (p *panicky) Done(now time.Time, s *Sample) {
	if s.Backend == "bug" {
		panic("a bug")
	}
	p.spy.Done(now, s)
}

func TestPanicEndsOneConnection(t *testing.T) {
	s, dial, _ := serve(t, Options{Sink: &panicky{}})
	good, bad := dial().greet(), dial().greet()
	bad.send(notifyFrame(1, message(messageDone, with(doneArgs(), arg{"be", "bug"})...)))
	// The answer has gone before the panic.
	bad.expect(frame.TypeAgentAck)
	if _, ok := bad.next(); ok {
		t.Error("the connection goes on after a panic")
	}
	good.ask(1)
	if n := s.Stats().Malformed["panic"]; n != 1 {
		t.Errorf("%d panics counted, want one", n)
	}
}

// All frames of one read are answered by one write, and no write is anything but whole frames.
func TestOneWritePerDrainedInput(t *testing.T) {
	ours, theirs := net.Pipe()
	c := &writeLog{Conn: ours}
	l := &oneConn{conn: c, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(Options{}).Serve(ctx, l) }()
	p := &peer{t, theirs}
	p.greet()
	n := 20
	// A pipe hands over at most what the reader's buffer holds: 20 frames of 240 bytes fit.
	go func() {
		_, _ = theirs.Write(bytes.Repeat(notifyFrame(5, message(messageDone, doneArgs()...)), n))
	}()
	for range n {
		p.expect(frame.TypeAgentAck)
	}
	cancel()
	p.gone(statusNormal)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.writes) != 3 {
		t.Errorf("%d writes, want three: the HELLO, the ACKs, the goodbye", len(c.writes))
	}
	for _, w := range c.writes {
		if frames, ok := readFrames(w); !ok || len(frames) == 0 {
			t.Errorf("a write that is not made of whole frames: %x", w)
		}
	}
}

type writeLog struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (c *writeLog) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, bytes.Clone(b))
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// oneConn is a listener with one connection; failures come first, as from a system without file descriptors.
type oneConn struct {
	conn     net.Conn
	failures int
	accepts  int
	given    bool
	once     sync.Once
	done     chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	l.accepts++
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	if !l.given {
		l.given = true
		return l.conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "test", Net: "unix"} }

func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	ours, theirs := net.Pipe()
	l := &oneConn{conn: ours, failures: 4, done: make(chan struct{})}
	s := New(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- s.Serve(ctx, l) }()
	p := &peer{t, theirs}
	p.greet()
	// 5 + 10 + 20 + 40 ms.
	if d := time.Since(start); d < 75*time.Millisecond {
		t.Errorf("four failures were retried within %v", d)
	}
	cancel()
	p.gone(statusNormal)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListenerThatFailsForGoodIsAnError(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := New(Options{}).Serve(context.Background(), ln); err == nil {
		t.Error("Serve on a closed listener must fail")
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"", "unix:", "unix:relative", "unix:" + file, "unix:/" + strings.Repeat("x", 110), "unix:" + dir + "/none/s",
		"0.0.0.0:0", "[::]:0", "192.0.2.1:9000", ":9000", "localhost:9000", "127.0.0.1", "/run/s", "tcp:127.0.0.1:1"} {
		if ln, err := Listen(addr); err == nil {
			ln.Close()
			t.Errorf("Listen(%q) must be refused", addr)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("Listen(%q): %v: want one sentence", addr, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Error("a file that is no socket was touched")
	}
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()

	path := filepath.Join(dir, "s")
	first, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket's mode is %v (%v), want 0660", info.Mode(), err)
	}
	if first.Addr().String() != path {
		t.Errorf("the address is %s, want %s", first.Addr(), path)
	}
	// What becomes of stale sockets is internal/unixsock's to prove.
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process serves") {
		t.Errorf("a socket in use: %v, want a refusal", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func ExampleServer() {
	meter := NewMeter(MeterOptions{})
	server := New(Options{Sink: meter})
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fmt.Println(server.Serve(ctx, ln), len(meter.Take(time.Now())))
	// Output: <nil> 0
}
