package core

import "testing"

// grown is three nodes under more load than one holds, after the time it takes to serve it.
func grown(t *testing.T, change func(*world)) *world {
	w := newWorld(t, policy(BusyRatio, managed("a"), managed("b"), managed("c")))
	w.serving("a", 3)
	change(w)
	for range 80 {
		for name, f := range w.servers {
			if f.busy = 0; w.phase(name).InService() {
				f.busy = float64(f.ready)
			}
		}
		w.turn()
	}
	return w
}

// An agent says what its server can do. The world fails the test at an order beyond that.
func TestPlansStayWithinWhatAgentsCanDo(t *testing.T) {
	w := grown(t, func(w *world) {
		w.servers["a"].pool.Max = 3
		w.servers["b"].pool = PoolObs{Min: 2, Max: 6}
		w.servers["c"].pool = PoolObs{Max: 2}
	})
	if got := w.servers["a"]; got.ready != 3 {
		t.Errorf("a has %d workers, want 3, the most it can have", got.ready)
	}
	if w.inService() != 3 {
		t.Errorf("%d servers are in service, want all 3: none holds as many as the policy says", w.inService())
	}
	if got := w.servers["b"].target; got < 2 {
		t.Errorf("b was told %d workers, and does not go below 2", got)
	}
}

// Workers that come and go together, as the threads of a process do, are ordered together.
func TestWorkersAreOrderedInWholeProcesses(t *testing.T) {
	w := grown(t, func(w *world) {
		for i := range w.p.Servers {
			w.p.Servers[i].MinWorkers, w.p.Servers[i].MaxWorkers, w.p.Servers[i].ParkedWorkers = 3, 11, 3
		}
		w.p.MaxWorkers = 33
		for _, f := range w.servers {
			f.pool.Step, f.ready = 3, 3
		}
		w.servers["a"].ready = 9
	})
	orders := 0
	for _, a := range w.log {
		if a.Kind == SetWorkers {
			orders++
			if a.Value%3 != 0 || a.Value > 11 {
				t.Errorf("%s was told %d workers, which is not a number of whole processes of 3 within 11", a.Server, a.Value)
			}
		}
	}
	if orders == 0 {
		t.Error("nothing was ordered")
	}
}

// A parked server whose agent can do with no worker has none, and gets some before it serves.
func TestParkedWithoutAnyWorker(t *testing.T) {
	w := newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
	for i := range w.p.Servers {
		w.p.Servers[i].ParkedWorkers = 0
	}
	w.serving("a", 4)
	w.servers["b"].ready = 2
	w.servers["a"].busy = 1
	w.turns(10)
	if f := w.servers["b"]; !f.told || f.target != 0 || f.ready != 0 || w.phase("b") != PhaseParked {
		t.Fatalf("parked: told %v, target %d, %d ready, %s; want 0 workers", f.told, f.target, f.ready, w.phase("b"))
	}
	w.servers["a"].busy = 4
	w.turns(40)
	if f := w.servers["b"]; f.ready < 1 || w.phase("b") != PhaseServing {
		t.Fatalf("under load: %d ready, %s; want it to serve", f.ready, w.phase("b"))
	}
	// One that cannot do with none is left what it can have.
	w = newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
	w.p.Servers[1].ParkedWorkers = 0
	w.serving("a", 4)
	w.servers["b"].pool.Min, w.servers["b"].ready = 1, 3
	w.turns(10)
	if f := w.servers["b"]; f.target != 1 {
		t.Errorf("b has to have one worker at least, and was told %d", f.target)
	}
}

// A person on a node takes an app out of service there: it leaves as any other server does, another one comes, and it is not
// taken in again before the person says so. The last server stays.
func TestDrainedByThePersonOnTheNode(t *testing.T) {
	w := newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
	w.serving("a", 2)
	w.servers["a"].busy = 1
	w.turns(5)
	w.servers["a"].pool.Drained = true
	w.turns(120)
	if w.phase("a") != PhaseParked || w.phase("b") != PhaseServing || !w.has(CodeDrained) {
		t.Fatalf("a is %s and b %s; want a parked, b serving, and the reason told: %v", w.phase("a"), w.phase("b"), w.reasons)
	}
	for _, a := range w.log {
		if a.Server == "a" && a.Kind == Drain {
			t.Fatal("a drained before b was ready")
		}
		if a.Server == "b" && a.Kind == Ready {
			break
		}
	}
	w.servers["b"].pool.Drained = true
	w.turns(120)
	if w.inService() != 1 {
		t.Fatalf("%d servers are in service, want the last one to stay", w.inService())
	}
	w.servers["a"].pool.Drained = false
	w.turns(120)
	if w.phase("a") != PhaseServing || w.phase("b") != PhaseParked {
		t.Errorf("a is %s and b %s; want a serving again, b out", w.phase("a"), w.phase("b"))
	}
}

// With HAProxy's agent-check the weights are not tidegate's: none is ordered but with a state, none is taken for a human's,
// also not that of a parked server, which the check goes on setting; a human's maintenance is still one.
func TestWeightsOfTheAgentCheck(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.WeightsElsewhere = true
	w := newWorld(t, p)
	w.serving("a", 2)
	w.servers["b"].fromConfig, w.servers["b"].weight = true, 100
	weigh := func(n int) {
		for range n {
			for name, f := range w.servers {
				f.weight = 40 + (f.weight+len(name)*7)%50
			}
			w.turn()
		}
	}
	w.servers["a"].busy = 1
	weigh(10)
	w.servers["a"].ready, w.servers["a"].busy = 4, 4
	weigh(40)
	if w.phase("b") != PhaseServing || w.has(CodeForeign) {
		t.Fatalf("b is %s, want serving, and nothing a human's: %v", w.phase("b"), w.reasons)
	}
	w.servers["a"].busy, w.servers["b"].busy = 0, 0
	weigh(120)
	if w.inService() != 1 || w.has(CodeForeign) {
		t.Fatalf("%d in service, want 1, and nothing a human's: %v", w.inService(), w.reasons)
	}
	for _, a := range w.log {
		if a.Kind == SetWeight {
			t.Errorf("a weight was ordered: %+v", a)
		}
	}
	serving := "a"
	if w.phase("b") == PhaseServing {
		serving = "b"
	}
	w.servers[serving].admin = AdminMaint
	weigh(3)
	if w.phase(serving) != PhaseForeign {
		t.Errorf("%s was put into maintenance by a human and is %s", serving, w.phase(serving))
	}
}
