package spoa

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/negasus/haproxy-spoe-go/frame"
	"pgregory.net/rapid"
)

// oneByOne hands every sample to a meter on its own.
type oneByOne struct{ *Meter }

// drawDone is a message about one of few servers. started moves on, and sometimes back or far ahead. Once there was a long pause, all tell the
// counters: the arrivals of a pause are spread over it as far as the window is not yet in the present, where a sample without
// counters brings it.
func drawDone(t *rapid.T, started *uint32, paused bool) []byte {
	*started += rapid.SampledFrom([]uint32{0, 1, 1, 1, 2, 3, 1<<32 - 5, 70_000, 2_000_000}).Draw(t, "step")
	args := doneArgs()
	if rapid.Bool().Draw(t, "3.0") {
		args = sampledArgs()
		if rapid.Bool().Draw(t, "answers") {
			args = with(args, arg{"answered", int(*started) / 2})
		} else {
			args = with(args, arg{"answered", nil})
		}
	}
	name := func(kind string, n int) string { return fmt.Sprint(kind, rapid.IntRange(0, n).Draw(t, kind)) }
	// Often the same backend and process.
	backend, boot := "b1", 900_000_000
	switch rapid.IntRange(0, 5).Draw(t, "other") {
	case 0:
		backend = name("b", 4)
	case 1:
		backend = name("b", 4) + "-that-ends-as-the-others-do"
	case 2:
		boot = rapid.SampledFrom([]int{950_000_000, 899_000_000}).Draw(t, "boot")
	}
	args = with(args,
		arg{"id", name("id-", 20)}, arg{"be", backend}, arg{"srv", name("s", 4)},
		arg{"boot", fmt.Sprint(boot)},
		arg{"st", rapid.SampledFrom([]int{200, 404, 503, 99}).Draw(t, "status")},
		arg{"t2", 1795302633168830 + rapid.IntRange(0, 90_000_000).Draw(t, "response")},
		arg{"conn", rapid.IntRange(0, 5).Draw(t, "conn")}, arg{"q", rapid.IntRange(0, 5).Draw(t, "q")},
		arg{"started", int(*started)}, arg{"cur", rapid.IntRange(0, 5).Draw(t, "cur")}, arg{"noresp", int(*started) / 10})
	if rapid.IntRange(0, 9).Draw(t, "left out") == 0 {
		names := []string{"srv", "t2", "id", "boot", "started"}
		if paused {
			names = names[:3]
		}
		args = with(args, arg{rapid.SampledFrom(names).Draw(t, "what"), nil})
	}
	return message(messageDone, args...)
}

// What connections hand over in portions, with decoders they share, is in the end what it is one sample at a time: all totals,
// seconds, minutes, percentiles and timings.
func TestPortionsAreRecordedAsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Ten backends of five servers, with and without room for all. None is forgotten: that has no promise of order.
		o := MeterOptions{Began: time.Unix(900, 0), MaxServers: 4, Memory: 1 << 30, Forget: 1000 * time.Hour}
		if rapid.Bool().Draw(t, "full") {
			o.MaxBackends = 7
		}
		together, apart := NewMeter(o), NewMeter(o)
		count, apartCount, table := newTally(), newTally(), newNameTable()
		decs := newDecoders(together, count, table)
		single := decoder{names: newNames(table), sink: oneByOne{apart}, count: apartCount}
		sessions := []*session{decs.session(16380, nil), decs.session(16380, nil)}
		now := time.Unix(1000, 0)
		for _, s := range sessions {
			s.feed(now, goodHello())
		}
		started := rapid.SampledFrom([]uint32{0, 1000, 1<<32 - 10}).Draw(t, "start")
		paused := false
		for range rapid.IntRange(1, 12).Draw(t, "portions") {
			if rapid.IntRange(0, 4).Draw(t, "look") == 0 {
				compareMeters(t, apart, together, now)
			}
			pause := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 3 * time.Second, 40 * time.Second, 2 * time.Hour}).Draw(t, "pause")
			now, paused = now.Add(pause), paused || pause > 10*time.Second
			var in []byte
			for range rapid.SampledFrom([]int{1, 2, 5, 20, 100}).Draw(t, "frames") {
				payload := drawDone(t, &started, paused)
				if rapid.IntRange(0, 30).Draw(t, "heartbeat") == 0 {
					payload = message(messageHeartbeat+"-1", with(heartbeatArgs(), arg{"be", "b1"}, arg{"started", int(started)})...)
				}
				in = append(in, notifyFrame(1, payload)...)
				single.notify(now, append(make([]byte, 0, len(payload)+slack), payload...))
			}
			s := rapid.SampledFrom(sessions).Draw(t, "connection")
			if used, _ := s.feed(now, append(make([]byte, 0, len(in)+slack), in...)); used != len(in) {
				t.Fatalf("%d of %d bytes were taken", used, len(in))
			}
		}
		compareMeters(t, apart, together, now.Add(time.Second))
		if d := cmp.Diff(apartCount.bad, count.bad); d != "" {
			t.Fatalf("malformed (-one by one +in portions):\n%s", d)
		}
	})
}

// compareMeters takes the reports of both and compares all that they know.
func compareMeters(t *rapid.T, want, got *Meter, at time.Time) {
	reports := want.Take(at)
	if d := cmp.Diff(reports, got.Take(at)); d != "" {
		t.Fatalf("reports (-one by one +in portions):\n%s", d)
	}
	for _, r := range reports {
		for _, n := range []int{10, 3600} {
			a, covered, _ := want.Sum(at, r.Name, n)
			if b, c, _ := got.Sum(at, r.Name, n); a != b || covered != c {
				t.Fatalf("%s, the last %d s: %+v of %d s, want %+v of %d", r.Name, n, b, c, a, covered)
			}
			for _, v := range r.Servers {
				a, covered, _ := want.SumServer(at, r.Name, v.Name, n)
				if b, c, _ := got.SumServer(at, r.Name, v.Name, n); a != b || covered != c {
					t.Fatalf("%s/%s, the last %d s: %+v of %d s, want %+v of %d", r.Name, v.Name, n, b, c, a, covered)
				}
			}
		}
	}
}

// diary notes what a server does in which order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) take() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines, d.lines = d.lines, nil
	return lines
}

func (d *diary) Done(time.Time, *Sample)      { d.note("done") }
func (d *diary) Heartbeat(time.Time, *Gauges) { d.note("heartbeat") }
func (d *diary) Arrive(time.Time, *Arrival)   { d.note("arrival") }

// notedConn notes writes.
type notedConn struct {
	net.Conn
	*diary
}

func (c notedConn) Write(b []byte) (int, error) {
	c.note("answer")
	return c.Conn.Write(b)
}

// A request that has been answered waits for nothing but the ACK. What must be known before HAProxy goes on is taken first.
func TestAnswersComeFirst(t *testing.T) {
	ours, theirs := net.Pipe()
	d := &diary{}
	l := &oneConn{conn: notedConn{ours, d}, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(Options{Sink: d}).Serve(ctx, l) }()
	p := (&peer{t, theirs}).greet()
	d.take()
	done := notifyFrame(1, message(messageDone, doneArgs()...))
	beat := notifyFrame(2, message(messageHeartbeat+"-1", heartbeatArgs()...))
	arrival := notifyFrame(3, message(messageArrive, arg{"id", "x"}, arg{"boot", "1795302633168830"}, arg{"be", "app"}, arg{"conn", 1}, arg{"q", 0}))
	for name, tt := range map[string]struct {
		in   [][]byte
		want []string
	}{
		"answered requests":             {[][]byte{done, done}, []string{"answer", "done", "done"}},
		"a heartbeat":                   {[][]byte{beat}, []string{"heartbeat", "answer"}},
		"an arrival":                    {[][]byte{arrival}, []string{"arrival", "answer"}},
		"an arrival among other things": {[][]byte{done, arrival, done}, []string{"done", "arrival", "done", "answer"}},
	} {
		var in []byte
		for _, f := range tt.in {
			in = append(in, f...)
		}
		p.send(in)
		for range tt.in {
			p.expect(frame.TypeAgentAck)
		}
		var got []string
		within(t, name, func() bool { got = append(got, d.take()...); return len(got) >= len(tt.want) })
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	cancel()
	p.gone(statusNormal)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
