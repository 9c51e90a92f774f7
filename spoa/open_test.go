package spoa

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/core/window"
)

func arriveArgs() []arg {
	return []arg{{"id", "3af8b9dc-37fa-4c6d-ae75-b9cd2ea78cb3"}, {"boot", "1795302633168830"}, {"be", "app"}, {"conn", 5}, {"q", 1}}
}

// arrivals is a sink that keeps copies of arrivals too.
type arrivals struct {
	spy
	list []Arrival
}

func (s *arrivals) Arrive(_ time.Time, a *Arrival) {
	c := *a
	c.ID = bytes.Clone(a.ID)
	s.list = append(s.list, c)
}

func TestArriveMessages(t *testing.T) {
	tests := map[string]struct {
		args   []arg
		taken  int
		reason string
	}{
		"as HAProxy sends it":   {arriveArgs(), 1, ""},
		"with a new argument":   {with(arriveArgs(), arg{"new", "x"}), 1, ""},
		"without gauges":        {with(arriveArgs(), arg{"conn", nil}, arg{"q", nil}), 1, ""},
		"a gauge below zero":    {with(arriveArgs(), arg{"conn", -5}), 1, "gauge"},
		"without an id":         {with(arriveArgs(), arg{"id", nil}), 0, "name"},
		"with a number for id":  {with(arriveArgs(), arg{"id", 5}), 0, "type"},
		"without a backend":     {with(arriveArgs(), arg{"be", nil}), 0, "name"},
		"with a bad backend":    {with(arriveArgs(), arg{"be", "a b"}), 0, "name"},
		"with a number for be":  {with(arriveArgs(), arg{"be", 7}), 0, "type"},
		"with a bad boot":       {with(arriveArgs(), arg{"boot", "a b"}), 0, "name"},
		"with no argument":      {nil, 0, "name"},
		"with an id of 5000":    {with(arriveArgs(), arg{"id", strings.Repeat("x", 5000)}), 1, ""},
		"with a number, not be": {with(arriveArgs(), arg{"conn", "five"}), 1, "type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink, count := &arrivals{}, newTally()
			d := &decoder{names: newNames(newNameTable()), sink: sink, count: count}
			// What follows the message must be read all the same.
			d.notify(time.Unix(1000, 0), append(message(messageArrive, tt.args...), message(messageDone, doneArgs()...)...))
			if len(sink.list) != tt.taken || d.arrivals != tt.taken || len(sink.dones) != 1 || (tt.reason != "") != (count.bad[tt.reason] == 1) {
				t.Fatalf("%d arrivals, %d samples, malformed %v; want %d and %q", len(sink.list), len(sink.dones), count.bad, tt.taken, tt.reason)
			}
			if tt.taken == 1 && (sink.list[0].Backend != "app" || sink.list[0].Boot != "1795302633168830" || len(sink.list[0].ID) > maxID || len(sink.list[0].ID) < 36) {
				t.Errorf("took %+v", sink.list[0])
			}
		})
	}
	whole := message(messageArrive, arriveArgs()...)
	for i := range whole {
		sink := &arrivals{}
		d := &decoder{names: newNames(newNameTable()), sink: sink, count: newTally()}
		if d.notify(time.Unix(1000, 0), whole[:i]); len(sink.list) != 0 {
			t.Errorf("%d of %d bytes were taken for a whole message", i, len(whole))
		}
	}
	// A sink that does not want them: the message is read and counted.
	plain := &spy{}
	d := &decoder{names: newNames(newNameTable()), sink: plain, count: newTally()}
	if d.notify(time.Unix(1000, 0), append(whole, message(messageDone, doneArgs()...)...)); len(plain.dones) != 1 || d.arrivals != 1 {
		t.Errorf("a sink without arrivals got %d samples, %d arrivals were counted", len(plain.dones), d.arrivals)
	}
}

// came is an arrival as HAProxy tells it.
func came(name, boot, id string, conns int) *Arrival {
	return &Arrival{ID: []byte(id), Boot: boot, Backend: name, BackendConns: conns, Queued: 0}
}

func TestOpenRequests(t *testing.T) {
	at := func(d time.Duration) time.Time { return began.Add(d) }
	const s = time.Second
	id, next := boot(0), boot(30*s)
	answered := func(name string) *Sample {
		d := done("app", "s1", 200, s)
		d.ID, d.Boot = []byte(name), id
		return d
	}
	tests := map[string]struct {
		options MeterOptions
		do      func(m *Meter)
		now     time.Duration
		open    int
		oldest  time.Duration
	}{
		"no arrival was ever told": {MeterOptions{}, func(m *Meter) {
			m.Heartbeat(at(s), beat("app", id, 5, 5))
		}, 2 * s, Absent, 0},
		"all hang and the age grows": {MeterOptions{}, func(m *Meter) {
			for i := range 5 {
				m.Arrive(at(time.Duration(i)*s), came("app", id, fmt.Sprint(i), i+1))
			}
			for i := range 50 {
				m.Heartbeat(at(5*s+time.Duration(i)*s/2), beat("app", id, 5, 5))
			}
		}, 30 * s, 5, 30 * s},
		"an answer closes": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Arrive(at(2*s), came("app", id, "b", 2))
			m.Done(at(3*s), answered("a"))
			m.Done(at(3*s), answered("never heard of"))
			m.Heartbeat(at(4*s), beat("app", id, 2, 1))
		}, 5 * s, 1, 3 * s},
		"an id twice is one request, as old as the first": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Arrive(at(2*s), came("app", id, "a", 2))
			m.Heartbeat(at(4*s), beat("app", id, 2, 2))
		}, 5 * s, 1, 4 * s},
		"the oldest go when fewer are open than were told": {MeterOptions{}, func(m *Meter) {
			for i := range 10 {
				m.Arrive(at(time.Duration(i)*s), came("app", id, fmt.Sprint(i), i+1))
			}
			m.Heartbeat(at(10*s), beat("app", id, 10, 3))
		}, 11 * s, 3, 4 * s},
		"none is open, so all go": {MeterOptions{}, func(m *Meter) {
			for i := range 200 {
				m.Arrive(at(s), came("app", id, fmt.Sprint(i), i+1))
			}
			m.Heartbeat(at(2*s), beat("app", id, 200, 0))
		}, 3 * s, 0, 0},
		"a heartbeat from just before an arrival does not end it": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "old", 1))
			m.Arrive(at(9*s), came("app", id, "new", 2))
			m.Heartbeat(at(9*s+time.Millisecond), beat("app", id, 1, 1))
			m.Heartbeat(at(10*s), beat("app", id, 2, 2))
		}, 10 * s, 2, 9 * s},
		"never more than the last heartbeat says": {MeterOptions{}, func(m *Meter) {
			m.Heartbeat(at(s), beat("app", id, 1, 1))
			for i := range 5 {
				m.Arrive(at(s+100*time.Millisecond), came("app", id, fmt.Sprint(i), i+1))
			}
		}, s + 200*time.Millisecond, 1, 100 * time.Millisecond},
		"without heartbeats the arrivals tell": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Arrive(at(s), came("app", id, "b", 2))
		}, 3 * s, 2, 2 * s},
		"what is too old is given up": {MeterOptions{OpenExpire: 10 * s}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Arrive(at(6*s), came("app", id, "b", 2))
			m.Heartbeat(at(11*s), beat("app", id, 2, 2))
		}, 12 * s, 1, 6 * s},
		"two minutes are not too old": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(0), came("app", id, "a", 1))
			m.Heartbeat(at(100*s), beat("app", id, 1, 1))
		}, 119 * s, 1, 119 * s},
		"but more are": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(0), came("app", id, "a", 1))
			m.Heartbeat(at(100*s), beat("app", id, 1, 1))
		}, 121 * s, 0, 0},
		"after a reload the new process counts": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Heartbeat(at(2*s), beat("app", id, 1, 1))
			m.Heartbeat(at(31*s), beat("app", next, 0, 0))
			m.Arrive(at(32*s), came("app", next, "b", 1))
			m.Heartbeat(at(33*s), beat("app", next, 1, 1))
		}, 34 * s, 1, 2 * s},
		"what another process says is no news of this one": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Heartbeat(at(2*s), beat("app", next, 0, 0))
			m.Heartbeat(at(3*s), beat("app", id, 1, 1))
		}, 4 * s, 1, 3 * s},
		"a process without arrivals tells nothing of them": {MeterOptions{}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Heartbeat(at(31*s), beat("app", next, 1, 1))
		}, 32 * s, Absent, 0},
		"there is no memory": {MeterOptions{Memory: 1}, func(m *Meter) {
			m.Arrive(at(s), came("app", id, "a", 1))
			m.Heartbeat(at(2*s), beat("app", id, 1, 1))
		}, 3 * s, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.options.Began = began
			m := NewMeter(tt.options)
			tt.do(m)
			r := m.Take(at(tt.now))[0]
			if r.Open != tt.open || r.OldestOpen != tt.oldest {
				t.Errorf("%d open, the oldest for %v; want %d and %v", r.Open, r.OldestOpen, tt.open, tt.oldest)
			}
		})
	}
}

// A flood of arrivals nobody ends takes a bounded memory, is counted, and gives all back.
func TestOpenRequestsAreBounded(t *testing.T) {
	set := metrics.NewSet()
	m := NewMeter(MeterOptions{Began: began, Metrics: set, Memory: 64 << 20})
	id := boot(0)
	for i := range maxOpen + 1000 {
		m.Arrive(began.Add(time.Second), came("app", id, fmt.Sprint(i), 1))
	}
	r := m.Take(began.Add(2 * time.Second))[0]
	if r.Arrivals != maxOpen+1000 || r.Open != maxOpen {
		t.Errorf("%d arrivals, %d open; want %d and %d", r.Arrivals, r.Open, maxOpen+1000, maxOpen)
	}
	if n := m.untracked.Get(); n != 1000 {
		t.Errorf("%d arrivals counted as dropped, want 1000", n)
	}
	if used := m.shared.budget.Used(); used < maxOpen*openBytes {
		t.Errorf("the budget knows of %d bytes, want %d and more", used, maxOpen*openBytes)
	}
	m.Heartbeat(began.Add(3*time.Second), beat("app", id, maxOpen+1000, 0))
	if used := m.shared.budget.Used(); used >= openBlock*openBytes {
		t.Errorf("%d bytes are still taken with no request open", used)
	}
	m.Arrive(began.Add(4*time.Second), came("app", id, "one more", 1))
	if r := m.Take(began.Add(2 * time.Hour)); len(r) != 0 {
		t.Errorf("a backend of two hours ago is still there: %+v", r)
	}
	if used := m.shared.budget.Used(); used != 0 {
		t.Errorf("a forgotten backend has left %d bytes taken", used)
	}
}

// Whatever ends untold, what is claimed after a heartbeat is true: no more requests than are open, none older than the
// oldest of them.
func TestOpenRequestsAreALowerBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newOpenSet(window.NewBudget(1<<20, nil), time.Hour)
		now, number := int64(0), 0
		type request struct {
			id string
			at int64
		}
		var truth []request
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 2000).Draw(t, "ms")) * int64(time.Millisecond)
			switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case kind == 0 || len(truth) == 0:
				number++
				truth = append(truth, request{fmt.Sprint(number), now})
				s.open(now, "b", []byte(truth[len(truth)-1].id))
			case kind <= 2:
				i := rapid.IntRange(0, len(truth)-1).Draw(t, "which")
				if kind == 1 {
					s.close([]byte(truth[i].id))
				}
				truth = append(truth[:i], truth[i+1:]...)
			default:
				now += int64(openSlack)
				s.reconcile(now, "b", len(truth))
				n, oldest := s.report(now, "b", len(truth))
				real := time.Duration(0)
				if len(truth) > 0 {
					real = time.Duration(now - truth[0].at)
				}
				if n > len(truth) || oldest > real {
					t.Fatalf("%d open, the oldest for %v; in truth %d and %v", n, oldest, len(truth), real)
				}
			}
		}
	})
}

func TestArrivalsDoNotAllocate(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0)})
	s := newSession(m, newTally(), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	in := append(notifyFrame(7, message(messageArrive, arriveArgs()...)), notifyFrame(9, message(messageDone, doneArgs()...))...)
	step := func() {
		s.out = s.out[:0]
		now = now.Add(time.Millisecond)
		if used, _ := s.feed(now, in); used != len(in) {
			t.Fatal("not all was taken")
		}
	}
	for range keptTimings {
		step()
	}
	if allocs := testing.AllocsPerRun(1000, step); allocs != 0 {
		t.Errorf("%v allocations for an arrival and its answer, want 0", allocs)
	}
}

func TestOpenRequestsInTheMetrics(t *testing.T) {
	set := metrics.NewSet()
	m := NewMeter(MeterOptions{Began: time.Now().Add(-time.Minute), Metrics: set})
	id := fmt.Sprint(time.Now().Add(-time.Hour).UnixMicro())
	m.Heartbeat(time.Now().Add(-30*time.Second), beat("quiet", id, 1, 1))
	m.Heartbeat(time.Now(), beat("quiet", id, 1, 1))
	text := func() string {
		var b bytes.Buffer
		set.WritePrometheus(&b)
		return b.String()
	}
	if got := text(); strings.Contains(got, "open_requests") {
		t.Errorf("a number is shown though no arrival was told:\n%s", got)
	}
	m.Arrive(time.Now().Add(-20*time.Second), came("app", id, "a", 1))
	m.Heartbeat(time.Now(), beat("app", id, 1, 1))
	got := text()
	for backend, least := range map[string]float64{"app": 20, "quiet": 27} {
		name, age := fmt.Sprintf("tidegate_spoa_backend_oldest_open_seconds{backend=%q} ", backend), 0.0
		_, value, _ := strings.Cut(got, name)
		if _, err := fmt.Sscanf(value, "%g", &age); err != nil || age < least || age > 60 {
			t.Errorf("%s: %v s, %v; want %v or a little more\n%s", backend, age, err, least, got)
		}
	}
	if !strings.Contains(got, `tidegate_spoa_backend_open_requests{backend="app"} 1`) || strings.Contains(got, `open_requests{backend="quiet"}`) {
		t.Errorf("the metrics are\n%s", got)
	}
}
