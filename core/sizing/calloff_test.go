package sizing

import (
	"slices"
	"testing"
)

// A rise is provided for as if it went on. When it does not, what is still on its way is called off, before it is paid for longer.
func TestWorkersOnTheirWayAreCalledOff(t *testing.T) {
	jump := func(oldFirst bool) *world {
		w := newWorld(t, 250)
		w.run(1800)
		w.change = func(o *Observation) {
			for i := range o.Nodes {
				o.Nodes[i].OldFirst = oldFirst
			}
		}
		w.tick = 2
		w.rate = func(int) float64 { return 320 }
		w.run(4)
		w.rate = func(int) float64 { return 250 }
		return w
	}
	w := jump(false)
	ordered, before := w.last.Workers, w.ready
	if ordered < 2*before {
		t.Fatalf("%d workers were ordered with %d ready", ordered, before)
	}
	w.run(4)
	if w.last.Workers < ordered {
		t.Errorf("%d -> %d workers four seconds after the end of a rise: nobody knows yet that it is over", ordered, w.last.Workers)
	}
	called := false
	for range 15 {
		w.run(2)
		called = called || slices.ContainsFunc(w.last.Trace.Steps, func(s Step) bool { return s.Rule == StepCallOff })
		if w.last.Workers < before {
			t.Fatalf("%d workers, fewer than the %d that were ready: none of these may be called off", w.last.Workers, before)
		}
	}
	if !called || w.last.Workers > ordered/2 || w.ready != before {
		t.Errorf("%d -> %d workers, %d ready (%d before), a step says so: %v", ordered, w.last.Workers, w.ready, before, called)
	}
	// Where the oldest leave first, those that serve would go in place of those that start.
	w = jump(true)
	ordered = w.last.Workers
	w.run(30)
	if w.last.Workers < ordered {
		t.Errorf("%d -> %d workers, although the oldest leave first", ordered, w.last.Workers)
	}
}

func TestNothingIsCalledOffOnBadData(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	w.rate = func(int) float64 { return 700 }
	w.run(10)
	ordered := w.last.Workers
	w.rate = func(int) float64 { return 250 }
	w.change = func(o *Observation) { o.Bad = "hold_self" }
	w.run(40)
	if w.last.Workers < ordered {
		t.Errorf("%d -> %d workers", ordered, w.last.Workers)
	}
}

// Traffic that comes back after a collapse has a size that is about known.
func TestTheReturnFromACollapseIsNotCarriedOn(t *testing.T) {
	g := Guard{Until: 100, Level: 400}
	l := load{level: 300, ahead: 900}
	if g.returning(&l); l.ahead != 600 {
		t.Errorf("ahead %v, wanted one and a half times the level before the collapse, 600", l.ahead)
	}
	l = load{level: 800, ahead: 900}
	if g.returning(&l); l.ahead != 800 {
		t.Errorf("ahead %v, wanted the present level, 800", l.ahead)
	}
	l = load{level: 300, ahead: 900}
	if (&Guard{}).returning(&l); l.ahead != 900 {
		t.Errorf("ahead %v without a collapse, wanted 900", l.ahead)
	}
}

// Requests that end in errors come all the same: nothing shrinks and nothing is learned, but what is needed is ordered.
func TestAnErrorStormStopsNoGrowth(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	before, base, samples := w.last.Workers, w.m.Service.Base, len(w.m.Growth.Samples)
	w.change = func(o *Observation) { o.Bad = CodeErrorStorm }
	w.rate = func(int) float64 { return 700 }
	// Half as many again would be wanted without any data, since all are busy.
	w.run(10)
	if w.last.Workers < 2*before || w.last.Frozen != CodeErrorStorm {
		t.Errorf("%d -> %d workers for 2.8 times the load, frozen %q", before, w.last.Workers, w.last.Frozen)
	}
	w.run(110)
	most := w.last.Workers
	w.rate = func(int) float64 { return 50 }
	w.run(600)
	if w.last.Workers < most {
		t.Errorf("%d -> %d workers while errors last", most, w.last.Workers)
	}
	if w.m.Service.Base != base || len(w.m.Growth.Samples) != samples {
		t.Error("something was learned from an error storm")
	}
}

// Workers above the cap leave slowly. As long as they are there they are the probe, and they do not raise the cap.
func TestAProbeInVainDoesNotRaiseTheCap(t *testing.T) {
	p, m := Default(), Memory{Workers: 29, Service: Service{Base: 0.08}}
	m.Futile = Futile{Cap: 29, Since: 1, Probe: 900}
	m.History.push(Fine{At: 999, X: 200, A: 280, B: 35})
	s := &State{Policy: &p, Obs: &Observation{}, Memory: &m, Now: 1000, Ready: 35, Busy: 35, BusyKnown: true, Queued: 500, Service: 0.15, trusted: true}
	var r Result
	if limit := s.futility(&r); limit != 29 || m.Futile.Probing {
		t.Errorf("with 35 of 29 workers: limit %d, probing %v", limit, m.Futile.Probing)
	}
	s.Ready, s.Busy = 29, 29
	if limit := s.futility(&r); limit != 36 || !m.Futile.Probing {
		t.Errorf("with 29 workers: limit %d, probing %v, wanted a quarter more", limit, m.Futile.Probing)
	}
	m.Futile.Workers, m.Futile.Throughput, m.Futile.Arrived = 31, 200, 970
	s.Ready, s.Busy = 36, 36
	if limit := s.futility(&r); limit != 29 || m.Futile.Tries != 1 {
		t.Errorf("after the probe: limit %d, %d tries", limit, m.Futile.Tries)
	}
}
