package uwsgi

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/agent/proc"
)

// fakeMaster does what uWSGI 2.0.21's master does with its orders (master_utils.c, uwsgi_calc_cheaper), in simulated time:
// once in a second what was ordered is done; a "-" without an idle worker stays, a "+" without a free slot is forgotten. The
// real program is steered in uwsgi_test.go.
type fakeMaster struct {
	now     time.Time
	proc    proc.ID
	slots   []fakeSlot
	initial int
	delta   int
	cycle   time.Time
	busy    func() time.Duration
}

type fakeSlot struct {
	alive, draining bool
	respawns        int64
	born            time.Time
	busyUntil       time.Time
}

func newFake(initial, processes int) *fakeMaster {
	m := &fakeMaster{now: time.Unix(1000, 0), proc: proc.ID{PID: 9, Start: 9}, slots: make([]fakeSlot, processes), initial: initial,
		busy: func() time.Duration { return 0 }}
	m.cycle = m.now
	m.restart()
	return m
}

// restart is a reload: the same process, the initial count, what was ordered is forgotten.
func (m *fakeMaster) restart() {
	m.delta = 0
	for i := range m.slots {
		m.slots[i] = fakeSlot{}
		if i < m.initial {
			m.slots[i] = fakeSlot{alive: true, respawns: 1, born: m.now}
		}
	}
}

func (m *fakeMaster) alive() (n int) {
	for _, s := range m.slots {
		if s.alive {
			n++
		}
	}
	return n
}

// advance lets d pass in steps of 50 ms.
func (m *fakeMaster) advance(d time.Duration) {
	for end := m.now.Add(d); m.now.Before(end); {
		m.now = m.now.Add(50 * time.Millisecond)
		for i := range m.slots {
			s := &m.slots[i]
			if s.busyUntil.After(m.now) {
				continue
			}
			s.draining = false
			if d := m.busy(); s.alive && d > 0 {
				s.busyUntil = m.now.Add(d)
			}
		}
		if m.now.Sub(m.cycle) >= time.Second {
			m.cycle = m.now
			m.calc()
		}
	}
}

// calc is one cycle.
func (m *fakeMaster) calc() {
	needed := m.delta
	m.delta = 0
	for i := range m.slots {
		if s := &m.slots[i]; needed > 0 && !s.alive && !s.draining {
			*s = fakeSlot{alive: true, respawns: s.respawns + 1, born: m.now}
			needed--
		}
	}
	for ; needed < 0; needed++ {
		oldest := -1
		for i, s := range m.slots {
			if s.alive && !s.busyUntil.After(m.now) && (oldest < 0 || s.born.Before(m.slots[oldest].born)) {
				oldest = i
			}
		}
		if oldest < 0 {
			m.delta--
			continue
		}
		m.slots[oldest].alive = false
		m.slots[oldest].draining = true
	}
}

func (m *fakeMaster) view() view {
	v := view{master: m.proc, alive: m.alive()}
	for _, s := range m.slots {
		v.respawns = append(v.respawns, s.respawns)
		v.idle = v.idle || s.alive && !s.busyUntil.After(m.now)
		if !s.alive && !s.draining {
			v.free++
		}
	}
	return v
}

// drive runs the loop for d towards goal and returns how often it ordered and the steps.
func drive(t interface{ Fatalf(string, ...any) }, m *fakeMaster, s *steer, goal int, d time.Duration, lose func() bool) (steps []int) {
	for end := m.now.Add(d); m.now.Before(end); m.advance(100 * time.Millisecond) {
		s.observe(m.now, m.view())
		step := s.next(m.now, goal)
		if step == 0 {
			continue
		}
		steps = append(steps, step)
		s.sent(m.now, step)
		if lose == nil || !lose() {
			m.delta += step
		}
		if left := m.alive() + m.delta; lose == nil && left < 1 {
			t.Fatalf("the master would come to %d workers: a debt", left)
		}
	}
	return steps
}

func TestSteerReachesTheTargetInOneOrder(t *testing.T) {
	for _, c := range []struct {
		name          string
		initial, goal int
		busy          time.Duration
		want          []int
		end           int
	}{
		{"no target", 3, -1, 0, nil, 3},
		{"already there", 3, 3, 0, nil, 3},
		{"up", 1, 5, 0, []int{4}, 5},
		{"up beyond its processes", 2, 9, 0, []int{4}, 6},
		{"down", 5, 2, 0, []int{-3}, 2},
		{"down to none is down to one", 5, 0, 0, []int{-4}, 1},
		{"down, busy for 10 s", 5, 2, 10 * time.Second, []int{-3}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFake(c.initial, 6)
			until := m.now.Add(c.busy + time.Second)
			m.busy = func() time.Duration { return min(c.busy, max(until.Sub(m.now), 0)) }
			s := &steer{min: 1, max: 8}
			if steps := drive(t, m, s, -1, 4*time.Second, nil); steps != nil {
				t.Fatalf("ordered %v without a target", steps)
			}
			if steps := drive(t, m, s, c.goal, 40*time.Second, nil); !slices.Equal(steps, c.want) || m.alive() != c.end {
				t.Errorf("ordered %v and came to %d, want %v and %d", steps, m.alive(), c.want, c.end)
			}
			if s.ignored() || s.fought() {
				t.Error("a complaint although all went well")
			}
		})
	}
}

// While all are busy the order to leave waits in the master. It can be taken back, and is no debt.
func TestSteerTakesBackWhatWaits(t *testing.T) {
	m := newFake(4, 6)
	m.busy = func() time.Duration { return time.Minute }
	s := &steer{min: 1, max: 8}
	drive(t, m, s, -1, 4*time.Second, nil)
	if steps := drive(t, m, s, 1, 20*time.Second, nil); !slices.Equal(steps, []int{-3}) || m.alive() != 4 || m.delta != -3 {
		t.Fatalf("ordered %v, %d alive, %d wait; want -3 once, 4 alive, and all of it waiting", steps, m.alive(), m.delta)
	}
	if steps := drive(t, m, s, 4, 10*time.Second, nil); !slices.Equal(steps, []int{3}) || m.delta != 0 {
		t.Errorf("ordered %v, %d wait; want 3, and nothing waiting", steps, m.delta)
	}
	if steps := drive(t, m, s, 6, 10*time.Second, nil); !slices.Equal(steps, []int{2}) || m.alive() != 6 {
		t.Errorf("ordered %v, %d alive; want 2 and 6", steps, m.alive())
	}
}

func TestSteerAfterEvents(t *testing.T) {
	for _, c := range []struct {
		name    string
		event   func(*fakeMaster)
		changes uint64
		fought  bool
	}{
		{"reload", (*fakeMaster).restart, 2, false},
		{"new master", func(m *fakeMaster) { m.proc.Start++; m.restart() }, 2, false},
		{"a debt of three", func(m *fakeMaster) { m.delta = -7 }, 1, false},
		{"a person's +", func(m *fakeMaster) { m.delta = 1 }, 1, false},
		{"a person's -", func(m *fakeMaster) { m.delta = -1 }, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFake(2, 6)
			s := &steer{min: 1, max: 8}
			drive(t, m, s, -1, 4*time.Second, nil)
			drive(t, m, s, 4, 10*time.Second, nil)
			c.event(m)
			// Of someone else's debt nothing is known: let it come about by itself.
			drive(t, m, s, 4, 60*time.Second, func() bool { return false })
			if m.alive() != 4 || s.resets != c.changes || s.fought() != c.fought {
				t.Errorf("%d alive, %d changes, fought %v; want 4, %d, %v", m.alive(), s.resets, s.fought(), c.changes, c.fought)
			}
		})
	}
}

// An algorithm that takes back what was ordered is noticed, and so is a FIFO that nobody heeds.
func TestSteerComplains(t *testing.T) {
	m := newFake(2, 6)
	s := &steer{min: 1, max: 8}
	drive(t, m, s, -1, 4*time.Second, nil)
	for range 4 {
		drive(t, m, s, 4, 8*time.Second, func() bool { return false })
		m.delta = 2 - m.alive()
	}
	m.advance(2 * time.Second)
	if !s.fought() || s.ignored() {
		t.Errorf("undone again and again: fought %v, ignored %v", s.fought(), s.ignored())
	}
	if drive(t, m, s, 2, 90*time.Second, nil); s.fought() {
		t.Error("still a complaint after a quiet minute")
	}
	lost := func() bool { return true }
	if drive(t, m, s, 5, 30*time.Second, lost); !s.ignored() || s.fought() {
		t.Errorf("nobody heeds the FIFO: ignored %v, fought %v", s.ignored(), s.fought())
	}
	if drive(t, m, s, 5, 30*time.Second, nil); s.ignored() || m.alive() != 5 {
		t.Errorf("heeded again: ignored %v, %d alive", s.ignored(), m.alive())
	}
}

// However busy the workers are and whatever happens, the loop ends at the goal and then rests; and as long as no order is
// lost, the master is never asked for less than one worker.
func TestSteerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		processes := rapid.IntRange(1, 8).Draw(t, "processes")
		m := newFake(rapid.IntRange(1, processes).Draw(t, "initial"), processes)
		s := &steer{min: rapid.IntRange(1, processes).Draw(t, "min"), max: processes}
		busyMS := rapid.IntRange(0, 6000).Draw(t, "busy ms")
		m.busy = func() time.Duration { return time.Duration(busyMS) * time.Millisecond }
		drive(t, m, s, -1, 4*time.Second, nil)
		var lose func() bool
		goal := -1
		for range rapid.IntRange(1, 6).Draw(t, "phases") {
			goal = rapid.IntRange(s.min, processes).Draw(t, "goal")
			switch rapid.SampledFrom([]string{"", "", "reload", "lost", "person"}).Draw(t, "event") {
			case "reload":
				m.restart()
			case "lost":
				lose = func() bool { return rapid.Bool().Draw(t, "lost") }
			case "person":
				lose = func() bool { return false }
				m.delta += rapid.IntRange(-4, 4).Draw(t, "person's orders")
			}
			drive(t, m, s, goal, time.Duration(rapid.IntRange(100, 15000).Draw(t, "phase ms"))*time.Millisecond, lose)
		}
		m.busy = func() time.Duration { return 0 }
		none := func() bool { return false }
		drive(t, m, s, goal, 3*time.Minute, none)
		if steps := drive(t, m, s, goal, time.Minute, none); len(steps) != 0 {
			t.Fatalf("ordered %v in a minute of rest", steps)
		}
		if m.alive() != goal || m.delta != 0 {
			t.Fatalf("%d alive and %d waiting, want %d", m.alive(), m.delta, goal)
		}
	})
}
