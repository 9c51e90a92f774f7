package spoa

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

func plainServer() error { return serveUntilInputEnds(New(Options{}), func() {}) }

// fewDescriptors serves with so few descriptors that some of the connections that come cannot be accepted.
func fewDescriptors() error {
	limit := syscall.Rlimit{Cur: 24, Max: 24}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	return plainServer()
}

// With all descriptors used up, those who are connected are served, the processor is left alone, and once descriptors are
// free the others are served too.
func TestDescriptorsUsedUp(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := startChild(t, "descriptors", socket)
	if line := c.line(); line != "ready" {
		t.Fatal(line)
	}
	dial := func() net.Conn {
		nc, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	first := dial()
	converse(t, first, goodHello())
	var more []net.Conn
	for range 40 {
		more = append(more, dial())
	}
	before := cpuOf(t, c.cmd.Process.Pid)
	start := time.Now()
	for time.Since(start) < 500*time.Millisecond {
		converse(t, first, notifyFrame(1, message(messageDone, doneArgs()...)))
		time.Sleep(20 * time.Millisecond)
	}
	if used := cpuOf(t, c.cmd.Process.Pid) - before; used > time.Since(start)/2 {
		t.Errorf("%v of processor time in %v: accepting is retried without a pause", used, time.Since(start))
	}
	last := more[len(more)-1]
	for _, nc := range more[:len(more)-1] {
		nc.Close()
	}
	converse(t, last, goodHello())
	converse(t, first, notifyFrame(1, message(messageDone, doneArgs()...)))
	c.stop()
}

// cpuOf is the processor time that a process has taken.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	// Fields 14 and 15, counted behind the name in parentheses, are ticks of 10 ms.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	ticks := 0
	for _, f := range fields[11:13] {
		n := 0
		for _, c := range f {
			n = n*10 + int(c-'0')
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// HAProxy 2.6 can reconnect thousands of times a second: none of that may stay.
func TestManyReconnectsLeaveNothing(t *testing.T) {
	reconnects := 10_000
	if testing.Short() {
		reconnects = 500
	}
	set := newPrivateSet()
	meter := NewMeter(MeterOptions{Metrics: set})
	s, dial, _ := serve(t, Options{Sink: meter, Metrics: set})
	good := dial().greet()
	good.ask(1)
	// The socket was made under another name before it was moved into place.
	path := strings.TrimSuffix(good.RemoteAddr().String(), ".new")
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	heap := func() uint64 {
		runtime.GC()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	fds, goroutines, bytesBefore := descriptors(), runtime.NumGoroutine(), heap()
	request := append(goodHello(), notifyFrame(1, message(messageDone, doneArgs()...))...)
	answer := make([]byte, 512)
	for i := range reconnects {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0: // no word
		case 1: // half a frame
			_, _ = c.Write(request[:30])
		case 2: // garbage
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		case 3:
			_, _ = c.Write(request)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(answer); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	within(t, "all connections to be gone", func() bool { return s.Stats().Connections == 1 })
	good.ask(2)
	within(t, "goroutines and descriptors to be as before", func() bool { return descriptors() <= fds && runtime.NumGoroutine() <= goroutines })
	if after := heap(); after > bytesBefore+1<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", bytesBefore, after)
	}
	if st := s.Stats(); st.ConnectionsTotal != uint64(reconnects+1) {
		t.Errorf("%d connections were counted, want %d", st.ConnectionsTotal, reconnects+1)
	}
}

// A peer that sends and never reads is stopped by its own socket: what waits for it is bounded, and it is closed in time.
func TestPeerThatNeverReadsIsBounded(t *testing.T) {
	s, dial, _ := serve(t, Options{WriteTimeout: 300 * time.Millisecond})
	p := dial().greet()
	in := bytes.Repeat(notifyFrame(1, message("x")), 5000)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, goroutines := uint64(0), runtime.NumGoroutine()
	within(t, "the connection to be given up", func() bool {
		_ = p.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = p.Write(in)
		runtime.GC()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc)
		if n := runtime.NumGoroutine(); n > goroutines+2 {
			t.Fatalf("%d goroutines, %d before", n, goroutines)
		}
		return s.Stats().Connections == 0
	})
	if most > before.HeapAlloc+1<<20 {
		t.Errorf("the heap has grown by %d bytes", most-before.HeapAlloc)
	}
}

// Connections that say nothing, before or after their HELLO, are closed, and are not counted as open any more.
func TestHalfOpenConnectionsAreReaped(t *testing.T) {
	s, dial, _ := serve(t, Options{HandshakeTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond})
	for i := range 50 {
		if p := dial(); i%2 == 0 {
			p.send(goodHello()[:i])
		} else {
			p.greet()
		}
	}
	within(t, "all to be closed", func() bool { return s.Stats().ConnectionsTotal == 50 && s.Stats().Connections == 0 })
}

// A fragment is refused with the status the protocol has for it, first or following; ABORT without FIN as well.
func TestFragmentsAreRefused(t *testing.T) {
	payload := message(messageDone, doneArgs()...)
	flagged := func(kind frame.Type, flags byte) []byte {
		b := frameOf(kind, 1, 1, payload)
		b[8] = flags
		return b
	}
	for name, in := range map[string][]byte{
		"a first fragment": flagged(frame.TypeNotify, 0), "a following one": flagged(frame.TypeUnset, 0), "an aborted one": flagged(frame.TypeNotify, 2),
	} {
		s, dial, _ := serve(t, Options{})
		p := dial().greet()
		p.ask(1)
		p.send(in)
		if p.gone(statusFragmented); s.Stats().Malformed["fragment"] != 1 || s.Stats().Done != 1 {
			t.Errorf("%s: %+v", name, s.Stats())
		}
	}
}

func TestConnectionsAreCountedByEngine(t *testing.T) {
	set := newPrivateSet()
	s, dial, _ := serve(t, Options{Metrics: set})
	series := func() string {
		var b bytes.Buffer
		set.WritePrometheus(&b)
		return b.String()
	}
	count := func() int { return bytes.Count([]byte(series()), []byte("tidegate_spoa_engine_connections{")) }
	one, two := dial().greet(), dial().greet()
	if count() != 1 || !bytes.Contains([]byte(series()), []byte("} 2\n")) {
		t.Errorf("two connections of one engine:\n%s", series())
	}
	for i := range maxEngines + 10 {
		p := dial()
		p.send(helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(16380)}, arg{"capabilities", ""}, arg{"engine-id", "engine\"\n" + strconv.Itoa(i)}))
		p.expect(frame.TypeAgentHello)
	}
	if n := count(); n > maxEngines+1 {
		t.Errorf("%d series of engines", n)
	}
	one.Close()
	two.Close()
	within(t, "the first two to be gone", func() bool { return s.Stats().Connections == maxEngines+10 })
}

// An ack time lands in the right bucket, and the series are what Prometheus takes for a histogram.
func TestAckHistogram(t *testing.T) {
	set := newPrivateSet()
	m := newMeters(set)
	m.acked(3, 15*time.Microsecond)
	m.acked(1, time.Second)
	var b bytes.Buffer
	set.WritePrometheus(&b)
	for _, want := range []string{`ack_seconds_bucket{le="1e-05"} 0`, `ack_seconds_bucket{le="2e-05"} 3`, `ack_seconds_bucket{le="0.05"} 3`,
		`ack_seconds_bucket{le="+Inf"} 4`, "ack_seconds_sum 1.000045", "ack_seconds_count 4"} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// The clock of a process's last message is there while it speaks and goes when it is silent for long.
func TestLastMessageByProcess(t *testing.T) {
	set := newPrivateSet()
	m := NewMeter(MeterOptions{Began: began, Metrics: set, Forget: time.Minute})
	series := func(id string) bool {
		var b bytes.Buffer
		set.WritePrometheus(&b)
		return bytes.Contains(b.Bytes(), []byte(bootSeriesName(id)))
	}
	m.Heartbeat(began.Add(time.Second), beat("app", boot(0), 1, 1))
	for i := range 3 * maxBootSeries {
		m.Heartbeat(began.Add(2*time.Second), beat("b"+strconv.Itoa(i), boot(time.Duration(i)*time.Millisecond), 1, 1))
	}
	if m.Take(began.Add(3 * time.Second)); len(m.boots.last) != maxBootSeries {
		t.Errorf("%d processes have series, want %d", len(m.boots.last), maxBootSeries)
	}
	m.Heartbeat(began.Add(58*time.Second), beat("app", boot(time.Second), 1, 1))
	m.Take(began.Add(63 * time.Second))
	if !series(boot(time.Second)) || len(m.boots.last) != 1 {
		t.Errorf("series: %v", m.boots.last)
	}
}
