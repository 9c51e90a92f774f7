package signals

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// fakeMaster does what a master does with its signals, in simulated time, with the faults that a real one does not show on
// demand: signals that are lost or taken late. The rules are those of gunicorn 20.1's arbiter.py (handle_ttin, handle_ttou,
// manage_workers, spawn_workers, reload), of Unicorn 6.0's http_server.rb (maintain_worker_count, spawn_missing_workers,
// load_config!) and of Puma 5.6's cluster.rb (spawn_workers, cull_workers). The real programs are steered in
// agent/gunicorn_test.go, unicorn_test.go and agent/puma.
type fakeMaster struct {
	kind    kind
	now     time.Time
	proc    proc.ID
	file    proc.FileID
	num     int
	conf    int
	workers []*fakeWorker // oldest first
	nextPID int
	signals []fakeSignal
	spawnAt time.Time // the arbiter sleeps until then after a fork
	busy    func() time.Duration
}

type fakeWorker struct {
	proc      proc.ID
	number    int
	busyUntil time.Time
	begun     uint64
	told      bool
}

type fakeSignal struct {
	at   time.Time
	what int
}

func newFakeMaster(conf int) *fakeMaster {
	return newFake(gunicornKind, conf)
}

func newFake(k kind, conf int) *fakeMaster {
	m := &fakeMaster{kind: k, now: time.Unix(1000, 0), nextPID: 100, conf: conf, busy: func() time.Duration { return 0 }}
	m.restart()
	return m
}

// restart is a new master with the configured count, whose workers are forked one by one.
func (m *fakeMaster) restart() {
	m.nextPID++
	m.proc, m.num, m.workers, m.signals = proc.ID{PID: m.nextPID, Start: uint64(m.nextPID)}, m.conf, nil, nil
	m.file.MTime++
}

// reload is a HUP: the configured number is forked, and all older ones are told to leave. gunicorn makes the pid file anew and
// forks first; Unicorn keeps the file and forks when they are gone. Puma's restart ends all first.
func (m *fakeMaster) reload() {
	m.num = m.conf
	switch m.kind.name {
	case "Unicorn":
		for _, w := range m.workers {
			w.told = true
		}
		return
	case "Puma":
		m.workers, m.signals = nil, nil
	}
	m.file.MTime++
	for range m.conf {
		m.fork()
	}
}

func (m *fakeMaster) fork() {
	m.nextPID++
	number := 0
	for slices.ContainsFunc(m.workers, func(w *fakeWorker) bool { return w.number == number }) {
		number++
	}
	m.workers = append(m.workers, &fakeWorker{proc: proc.ID{PID: m.nextPID, Start: uint64(m.nextPID)}, number: number})
}

// leaving are the workers in the order in which they are told to leave.
func (m *fakeMaster) leaving() []*fakeWorker {
	var order []worker
	for _, w := range m.workers {
		order = append(order, worker{w.proc, w.number})
	}
	m.kind.leaving(order)
	var out []*fakeWorker
	for _, o := range order {
		out = append(out, m.workers[slices.IndexFunc(m.workers, func(w *fakeWorker) bool { return w.proc == o.id })])
	}
	return out
}

// cull tells workers to leave: Unicorn all with a number that is too high, the others as many as there are too many.
func (m *fakeMaster) cull() {
	over := len(m.workers) - m.num
	for i, w := range m.leaving() {
		if i < over || (m.kind.name == "Unicorn" && over > 0 && w.number >= m.num) {
			w.told = true
		}
	}
}

// advance lets d pass in steps of 20 ms.
func (m *fakeMaster) advance(d time.Duration) {
	for end := m.now.Add(d); m.now.Before(end); {
		m.now = m.now.Add(20 * time.Millisecond)
		for len(m.signals) > 0 && !m.signals[0].at.After(m.now) {
			m.num = max(m.num+m.signals[0].what, m.kind.floor)
			m.signals = m.signals[1:]
		}
		m.workers = slices.DeleteFunc(m.workers, func(w *fakeWorker) bool { return w.told && !w.busyUntil.After(m.now) })
		if len(m.workers) < m.num && !m.spawnAt.After(m.now) {
			m.fork()
			m.spawnAt = m.now.Add(60 * time.Millisecond)
		}
		m.cull()
		for _, w := range m.workers {
			if !w.told && !w.busyUntil.After(m.now) {
				if d := m.busy(); d > 0 {
					w.busyUntil = m.now.Add(d)
					w.begun++
				}
			}
		}
	}
}

func (m *fakeMaster) view() view {
	v := view{master: m.proc, file: m.file, work: func(p proc.ID) adapter.Work {
		for _, w := range m.workers {
			if w.proc == p && w.busyUntil.After(m.now) {
				return adapter.Work{Busy: 1, Newest: w.begun}
			}
		}
		return adapter.Work{}
	}}
	for _, w := range m.leaving() {
		v.children = append(v.children, w.proc)
	}
	return v
}

// drive runs the loop for d towards goal and returns the signals sent.
func drive(t interface{ Fatalf(string, ...any) }, m *fakeMaster, s *steer, goal int, d time.Duration, fate func() (lost bool, late time.Duration)) (sent int) {
	for end := m.now.Add(d); m.now.Before(end); m.advance(100 * time.Millisecond) {
		v := m.view()
		if len(v.children) == 0 && m.kind.floor > 0 {
			s.blind()
			continue
		}
		s.observe(m.now, v)
		step := s.next(m.now, goal)
		if step == 0 {
			continue
		}
		if m.now.Sub(s.lastSignal) < 100*time.Millisecond {
			t.Fatalf("two signals %v apart, want at least 100ms", m.now.Sub(s.lastSignal))
		}
		sent++
		s.sent(m.now, step)
		lost, late := false, time.Duration(0)
		if fate != nil {
			lost, late = fate()
		}
		if !lost {
			m.signals = append(m.signals, fakeSignal{m.now.Add(late), step})
		}
	}
	return sent
}

func TestSteerReachesTheTargetWithTheFewestSignals(t *testing.T) {
	for _, c := range []struct {
		name       string
		conf, goal int
		busy       time.Duration
		want       int
	}{
		{"no target", 3, adapter.NoTarget, 0, 0},
		{"already there", 3, 3, 0, 0},
		{"up", 1, 5, 0, 4},
		{"down, idle", 5, 2, 0, 3},
		{"down, all busy for 20 s", 5, 2, 20 * time.Second, 3},
		{"up from busy", 2, 6, 3 * time.Second, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFakeMaster(c.conf)
			m.busy = func() time.Duration { return c.busy }
			s := &steer{min: 1, max: 10}
			if n := drive(t, m, s, adapter.NoTarget, 3*time.Second, nil); n != 0 {
				t.Fatalf("%d signals without a target", n)
			}
			if n := drive(t, m, s, c.goal, 30*time.Second, nil); n != c.want {
				t.Errorf("%d signals, want %d", n, c.want)
			}
			if c.goal > 0 && (m.num != c.goal || len(m.workers) != c.goal) {
				t.Errorf("the master wants %d and has %d, want %d", m.num, len(m.workers), c.goal)
			}
		})
	}
}

func TestSteerGoesOnWhileOldWorkersFinish(t *testing.T) {
	m := newFakeMaster(5)
	m.busy = func() time.Duration { return time.Minute }
	s := &steer{min: 1, max: 10}
	drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
	drive(t, m, s, 2, 3*time.Second, nil)
	if m.num != 2 || s.draining() != 3 || len(m.workers) != 5 {
		t.Fatalf("after 3 s: the master wants %d of %d, %d drain; want 2 of 5, 3", m.num, len(m.workers), s.draining())
	}
	// The load comes back before they have gone: gunicorn forks nobody while it has five, and we must not count signals
	// without a visible effect as lost.
	if n := drive(t, m, s, 4, 10*time.Second, nil); n != 2 || m.num != 4 {
		t.Fatalf("%d signals, the master wants %d; want 2 and 4", n, m.num)
	}
	drive(t, m, s, 4, 2*time.Minute, nil)
	if m.num != 4 || len(m.workers) != 4 || s.draining() != 0 {
		t.Fatalf("in the end the master wants %d and has %d, %d drain; want 4, 4, 0", m.num, len(m.workers), s.draining())
	}
}

func TestSteerAfterEvents(t *testing.T) {
	for _, c := range []struct {
		name  string
		event func(*fakeMaster)
		busy  time.Duration
		// most is the most signals it may take to get back to 4 of the configured 2.
		most int
	}{
		{"reload", (*fakeMaster).reload, 0, 2},
		{"reload with busy workers", (*fakeMaster).reload, 10 * time.Second, 2},
		{"new master", (*fakeMaster).restart, 0, 2},
		{"killed worker", func(m *fakeMaster) { m.workers = m.workers[1:] }, 0, 0},
		{"two killed workers", func(m *fakeMaster) { m.workers = m.workers[2:] }, 0, 0},
		{"someone else's TTIN", func(m *fakeMaster) { m.num++ }, 0, 1},
		{"someone else's TTOU", func(m *fakeMaster) { m.num-- }, 0, 1},
		{"pid file written again by a person", func(m *fakeMaster) { m.file.MTime++ }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFakeMaster(2)
			m.busy = func() time.Duration { return c.busy }
			s := &steer{min: 1, max: 10}
			drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
			drive(t, m, s, 4, 5*time.Second, nil)
			if m.num != 4 {
				t.Fatalf("before the event the master wants %d, want 4", m.num)
			}
			c.event(m)
			n := drive(t, m, s, 4, 40*time.Second, nil)
			if n > c.most {
				t.Errorf("%d signals, want at most %d", n, c.most)
			}
			if m.num != 4 || len(m.workers) != 4 || s.draining() != 0 {
				t.Errorf("in the end the master wants %d and has %d, %d drain; want 4, 4, 0", m.num, len(m.workers), s.draining())
			}
		})
	}
}

func TestSteerSendsNothingWhileASignalIsPending(t *testing.T) {
	for _, goal := range []int{1, 8} {
		m := newFakeMaster(4)
		m.busy = func() time.Duration { return time.Hour }
		s := &steer{min: 1, max: 10}
		drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
		s.observe(m.now, m.view())
		step := s.next(m.now, goal)
		if step == 0 {
			t.Fatal("no first step")
		}
		s.sent(m.now, step)
		for range 100 {
			m.advance(100 * time.Millisecond)
			v := m.view()
			v.pending = true
			s.observe(m.now, v)
			if s.next(m.now, goal) != 0 {
				t.Fatalf("towards %d: a second signal while the first was pending: they merge", goal)
			}
		}
	}
}

func TestSteerReadsBackBeforeTheNextStep(t *testing.T) {
	m := newFakeMaster(1)
	s := &steer{min: 1, max: 10}
	drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
	have := 1
	n := drive(t, m, s, 5, 10*time.Second, func() (bool, time.Duration) {
		if len(m.workers) != have {
			t.Errorf("with %d workers the step from %d is made", len(m.workers), have)
		}
		have++
		return false, 700 * time.Millisecond // the master is slow to take it
	})
	if n != 4 || m.num != 5 {
		t.Errorf("%d signals, the master wants %d; want 4 and 5", n, m.num)
	}
	// Down: an idle worker that was told to leave is waited for.
	n = drive(t, m, s, 2, 10*time.Second, func() (bool, time.Duration) {
		if len(m.workers) != have {
			t.Errorf("with %d workers the step from %d is made", len(m.workers), have)
		}
		have--
		return false, 700 * time.Millisecond
	})
	if n != 3 || m.num != 2 {
		t.Errorf("%d signals, the master wants %d; want 3 and 2", n, m.num)
	}
}

func TestSteerSpacesSignalsHoweverOftenItLooks(t *testing.T) {
	m := newFakeMaster(6)
	m.busy = func() time.Duration { return time.Hour } // nothing to wait for but the time
	s := &steer{min: 1, max: 10}
	drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
	var last time.Time
	for range 100 {
		m.advance(20 * time.Millisecond)
		s.observe(m.now, m.view())
		if step := s.next(m.now, 1); step != 0 {
			if m.now.Sub(last) < 100*time.Millisecond {
				t.Fatalf("two signals %v apart, want at least 100ms", m.now.Sub(last))
			}
			last = m.now
			s.sent(m.now, step)
			m.signals = append(m.signals, fakeSignal{m.now, step})
		}
	}
	if m.num != 1 {
		t.Errorf("the master wants %d after 2 s, want 1", m.num)
	}
}

// However workers behave and signals fare, the loop ends at the goal and then rests; and as long as nothing is lost, late or
// done by others, the master's own count never leaves the span between where it was and where it should be.
func TestSteerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom([]kind{gunicornKind, unicornKind, pumaKind}).Draw(t, "kind")
		m := newFake(k, rapid.IntRange(1, 8).Draw(t, "conf"))
		s := &steer{min: rapid.IntRange(k.floor, 3).Draw(t, "min"), max: rapid.IntRange(4, 8).Draw(t, "max"), floor: k.floor}
		busyMS := rapid.IntRange(0, 8000).Draw(t, "busy ms")
		m.busy = func() time.Duration { return time.Duration(busyMS) * time.Millisecond }
		drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
		clean := true
		goal := adapter.NoTarget
		for range rapid.IntRange(1, 6).Draw(t, "phases") {
			goal = rapid.IntRange(s.min, s.max).Draw(t, "goal")
			fate := func() (bool, time.Duration) { return false, 0 }
			switch rapid.SampledFrom([]string{"", "", "", "hup", "restart", "kill", "lost", "late"}).Draw(t, "event") {
			case "hup":
				clean = false
				m.reload()
			case "restart":
				clean = false
				m.restart()
			case "kill":
				if len(m.workers) > 0 { // it comes again
					m.workers = m.workers[1:]
				}
			case "lost":
				clean = false
				fate = func() (bool, time.Duration) { return rapid.Bool().Draw(t, "lost"), 0 }
			case "late":
				clean = false
				fate = func() (bool, time.Duration) {
					return false, time.Duration(rapid.IntRange(0, 4000).Draw(t, "late ms")) * time.Millisecond
				}
			}
			before := m.num
			drive(t, m, s, goal, time.Duration(rapid.IntRange(100, 15000).Draw(t, "phase ms"))*time.Millisecond, fate)
			if clean && (m.num < min(before, goal) || m.num > max(before, goal)) {
				t.Fatalf("the master wants %d on the way from %d to %d", m.num, before, goal)
			}
		}
		drive(t, m, s, goal, 3*time.Minute, nil)
		if n := drive(t, m, s, goal, time.Minute, nil); n != 0 {
			t.Fatalf("%d signals in a minute of rest", n)
		}
		if m.num != goal || len(m.workers) != goal || s.draining() != 0 {
			t.Fatalf("the master wants %d and has %d, %d drain; want %d", m.num, len(m.workers), s.draining(), goal)
		}
	})
}

// Who drains already counts against the master's number: after one more and one less nobody else was told to leave.
func TestSteerTellsNobodyTwice(t *testing.T) {
	for _, k := range []kind{gunicornKind, unicornKind, pumaKind} {
		t.Run(k.name, func(t *testing.T) {
			m := newFake(k, 3)
			m.busy = func() time.Duration { return time.Minute }
			s := &steer{min: 1, max: 10, floor: k.floor}
			drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
			for _, goal := range []int{2, 3, 2} {
				drive(t, m, s, goal, 3*time.Second, nil)
				if m.num != goal {
					t.Fatalf("the master wants %d, want %d", m.num, goal)
				}
				told := 0
				for _, w := range m.workers {
					if w.told != s.drains(w.proc) {
						t.Errorf("towards %d: the worker %v was told %v and is believed %v", goal, w.proc, w.told, s.drains(w.proc))
					}
					if w.told {
						told++
					}
				}
				if told != 1 || s.draining() != 1 {
					t.Errorf("towards %d: %d were told to leave, %d are believed to, want 1", goal, told, s.draining())
				}
			}
		})
	}
}

func TestSteerGoesToZeroWhereTheServerDoes(t *testing.T) {
	for _, c := range []struct {
		kind      kind
		min, want int
	}{{unicornKind, 0, 0}, {unicornKind, 1, 1}, {gunicornKind, 0, 1}, {pumaKind, 0, 1}} {
		m := newFake(c.kind, 3)
		s := &steer{min: c.min, max: 10, floor: c.kind.floor}
		drive(t, m, s, adapter.NoTarget, 3*time.Second, nil)
		drive(t, m, s, 0, 10*time.Second, nil)
		if m.num != c.want || len(m.workers) != c.want {
			t.Errorf("%s with min %d: the master wants %d and has %d, want %d", c.kind.name, c.min, m.num, len(m.workers), c.want)
		}
		if n := drive(t, m, s, 2, 10*time.Second, nil); n != 2-c.want || len(m.workers) != 2 {
			t.Errorf("%s: %d signals and %d workers on the way back, want %d and 2", c.kind.name, n, len(m.workers), 2-c.want)
		}
	}
}

func TestTitles(t *testing.T) {
	for _, c := range []struct {
		kind   kind
		title  string
		number int
		ok     bool
	}{
		{unicornKind, "unicorn worker[0] -c /etc/unicorn.rb", 0, true},
		{unicornKind, "unicorn_rails worker[12]", 12, true},
		{unicornKind, "unicorn master -c /etc/unicorn.rb", 0, false},
		{unicornKind, "unicorn master (old) -c worker[1]", 0, false},
		{unicornKind, "ruby /usr/bin/unicorn -c worker[1]", 0, false},
		{unicornKind, "unicorn worker[-1]", 0, false},
		{unicornKind, "unicorn worker[99999999]", 0, false},
		{unicornKind, "", 0, false},
		{pumaKind, "puma: cluster worker 3: 4711 [app]", 0, true},
		{pumaKind, "puma 5.6.5 (tcp://127.0.0.1:9292) [app]", 0, false},
	} {
		if n, ok := c.kind.worker(c.title); n != c.number && ok || ok != c.ok {
			t.Errorf("%s, %q: %d, %v; want %d, %v", c.kind.name, c.title, n, ok, c.number, c.ok)
		}
	}
	for title, want := range map[string]bool{"unicorn master -c x": true, "unicorn master (old)": true, "/usr/bin/ruby /usr/bin/unicorn -c x": false, "": false} {
		if got := unicornKind.started(title); got != want {
			t.Errorf("%q is a started master: %v, want %v", title, got, want)
		}
	}
}
