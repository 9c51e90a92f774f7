package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// actor is an actuator of a few workers that counts what it is asked.
type actor struct {
	adapter.NoActuator
	workers          adapter.Workers
	err              error
	draining         proc.ID
	step             int
	observed, steers int
}

func (a *actor) Patience() time.Duration { return time.Second }
func (a *actor) Observe(time.Time) (adapter.Workers, error) {
	a.observed++
	return a.workers, a.err
}
func (a *actor) Steer(time.Time, int, func(proc.ID) adapter.Work) (int, error) {
	a.steers++
	return a.step, nil
}
func (a *actor) Draining(p proc.ID) bool { return p == a.draining }

// restless is one that is no adapter.Patient.
type restless struct{ adapter.Actuator }

func TestPace(t *testing.T) {
	id := func(n int) proc.ID { return proc.ID{PID: n, Start: 1} }
	now := time.Unix(1000, 0)
	a := &actor{workers: adapter.Workers{Master: id(1), Children: []proc.ID{id(2), id(3)}}}
	var p pace
	target := adapter.NoTarget
	// run scans for a while and returns how often the workers were looked at.
	run := func(long time.Duration, act adapter.Actuator) (looks int) {
		before := a.observed
		for range long / (100 * time.Millisecond) {
			now = now.Add(100 * time.Millisecond)
			w, err := p.observe(now, act, target)
			if err == nil && len(w.Children) != len(a.workers.Children) {
				t.Errorf("the workers are %v", w)
			}
			if err == nil {
				_, _ = p.steer(now, act, target, nil)
			}
		}
		return a.observed - before
	}
	calm := func() {
		t.Helper()
		run(3*time.Second, a)
		if n := run(10*time.Second, a); n != 10 {
			t.Errorf("%d looks in 10 quiet seconds, want 10", n)
		}
	}
	busy := func(why string, want least) {
		t.Helper()
		if n := run(2*time.Second, a); n < int(want) {
			t.Errorf("%s: %d looks in 2 s, want %d at least", why, n, want)
		}
	}
	busy("at first", 20)
	calm()
	target = 3
	busy("a target that is not reached", 20)
	busy("and later", 20)
	a.workers.Children = append(a.workers.Children, id(4))
	busy("one more worker", 20)
	calm()
	p.counted(now, adapter.Count{Booted: map[proc.ID]bool{id(3): true}}, &adapter.Family{Master: id(1), Workers: map[proc.ID]bool{id(3): true}})
	if n := run(time.Second, a); n != 1 {
		t.Errorf("a known worker: %d looks", n)
	}
	p.counted(now, adapter.Count{Booted: map[proc.ID]bool{id(9): true}}, &adapter.Family{Master: id(1)})
	busy("an unknown worker", 19)
	calm()
	a.draining = id(2)
	run(time.Second, a)
	busy("a draining worker", 20)
	a.draining = proc.ID{}
	calm()
	a.workers.Starting = map[proc.ID]bool{id(4): true}
	run(time.Second, a)
	busy("a starting worker", 20)
	a.workers.Starting = nil
	calm()
	a.err = errors.New("gone")
	run(time.Second, a)
	busy("an error", 20)
	a.err = nil
	calm()
	a.step = 1
	run(time.Second, a)
	busy("a step", 20)
	a.step = 0
	calm()
	a.workers.Master = id(7)
	run(time.Second, a)
	busy("another master", 10)
	calm()
	if n := run(10*time.Second, restless{a}); n != 100 {
		t.Errorf("one that is not patient: %d looks in 10 s, want 100", n)
	}
	if a.steers < 100 {
		t.Errorf("%d steers", a.steers)
	}
}

type least int
