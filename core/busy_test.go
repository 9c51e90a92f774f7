package core

import (
	"testing"
)

func TestBusyRatioGrowsFastAndShrinksSlowly(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	w := newWorld(t, p)
	w.serving("a", 2)
	w.turn()
	total := func() int {
		n := 0
		for _, f := range w.servers {
			if f.admin == AdminReady {
				n += f.ready
			}
		}
		return n
	}
	w.servers["a"].busy = 2
	w.queued = 5
	w.turns(15)
	if total() < 7 {
		t.Fatalf("demand 7 at a target of 0.7 wants 10 workers, %d are in service", total())
	}
	up := total()
	w.queued = 0
	for _, f := range w.servers {
		f.busy = 0.1
	}
	w.turns(15)
	if total() < up {
		t.Fatalf("shrank from %d to %d within the window", up, total())
	}
	w.turns(120)
	if total() > 2 || w.inService() != 1 {
		t.Fatalf("%d workers on %d servers are left", total(), w.inService())
	}
	for n, f := range w.servers {
		if f.admin == AdminMaint && f.ready != 1 {
			t.Errorf("parked %s keeps %d workers", n, f.ready)
		}
	}
}

func TestWorkersStayUntilThoseThatReplaceThemAreReady(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.Fill = 0.75
	w := newWorld(t, p)
	a := w.serving("a", 3)
	w.turn()
	// Four workers are needed: two and two, so one of a's three is to go, but not before b's two are in service.
	a.busy = 2.5
	for range 90 {
		before := a.ready
		w.turn()
		if b := w.servers["b"]; a.ready < before && (b.admin != AdminReady || b.ready < 2) {
			t.Fatalf("a went from %d to %d workers while b is %s with %d", before, a.ready, b.admin, b.ready)
		}
	}
	if a.ready != 2 || w.servers["b"].ready != 2 || w.inService() != 2 {
		t.Fatalf("a %d, b %d, %d in service", a.ready, w.servers["b"].ready, w.inService())
	}
}

func TestWhenAllAreBusyHalfAsManyAgainAreAskedFor(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	p.Sizing.Busy.Target = 0.9
	w := newWorld(t, p)
	w.serving("a", 4).busy = 4
	w.serving("b", 4).busy = 4
	w.turn()
	if got := w.m.Apps["shop"].Sizing.Workers; got != 12 {
		t.Fatalf("8 of 8 busy at a target of 0.9: %d workers are wanted, want 12", got)
	}
}
