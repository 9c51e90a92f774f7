package sizing

import (
	"slices"
	"testing"
)

// hourOf is an hour's samples: the given ones and nothing else that grew.
func hourOf(grown ...float32) *Growth {
	g := &Growth{Samples: slices.Repeat([]float32{1.01}, hourTens-len(grown))}
	g.Samples = append(g.Samples, grown...)
	return g
}

// The reserve is what would have cost least within the hour: what a single great jump would have needed is too dear to keep for an
// hour, and a part of it would have helped nobody.
func TestTheReserveIsWhatWouldHaveCostLeast(t *testing.T) {
	jump := func(factor float32, times int) []float32 {
		// A jump is seen for one lead time.
		return slices.Repeat([]float32{factor}, 5*times)
	}
	for _, c := range []struct {
		name  string
		grown []float32
		want  float64
	}{
		{"nothing", nil, 1.06},
		{"one jump to four times", jump(4, 1), 1.06},
		{"one jump to a third more", jump(1.33, 1), 1.33},
		{"three jumps to twice", jump(2, 3), 2},
		{"six jumps to four times", jump(4, 6), 4},
		{"a great jump beside small ones", append(jump(4, 1), jump(1.5, 2)...), 1.5},
		{"jumps beyond all measure", jump(9, 6), 1.06},
	} {
		if got := hourOf(c.grown...).cheapest(1.06); got < c.want-1e-3 || got > c.want+1e-3 {
			t.Errorf("%s: a reserve of %v, wanted %v", c.name, got, c.want)
		}
	}
	few := &Growth{Samples: []float32{1, 1, 1}}
	if got := few.cheapest(1.06); got != priorGrowth {
		t.Errorf("with three samples: %v, wanted %v", got, priorGrowth)
	}
}

// What comes back after a collapse was there before: the guard provides for it, and it is no growth.
func TestTheReturnFromACollapseIsNoGrowth(t *testing.T) {
	w := newWorld(t, 250)
	w.run(3600)
	w.rate = func(int) float64 { return 8 }
	w.run(600)
	if !w.alarms(CodeGuard) {
		t.Fatal("no collapse was seen")
	}
	w.rate = func(int) float64 { return 250 }
	w.run(300)
	if !w.has(CodeGuardOver) {
		t.Fatal("the guard did not end")
	}
	if most := slices.Max(w.m.Growth.Samples); most > 1.3 {
		t.Errorf("a sample of %v was learned", most)
	}
}

// A rise beyond what the ready workers can serve fills the queue before others are there: what serves the queue is part of the first
// order, not of one some seconds later.
func TestTheFirstOrderProvidesForTheQueueToCome(t *testing.T) {
	p, m := Default(), Memory{Service: Service{Base: 0.08}}
	s := &State{Policy: &p, Memory: &m, Ready: 26, Service: 0.08, Lead: 45, load: load{level: 1000, burst: true}}
	// Five seconds of 1000 requests will wait, and are served within the square root of 5 x (45 + 10)/40 seconds.
	if more := s.backlog(); more != 153 {
		t.Errorf("a rise to 80 erlangs with 26 workers: %v more for the queue, wanted 153", more)
	}
	s.Service = 0.2
	if more := s.backlog(); more != 153 {
		t.Errorf("requests have become slow: %v more, wanted 153 by the usual time", more)
	}
	s.Service, s.Ready = 0.08, 90
	if more := s.backlog(); more != 0 {
		t.Errorf("90 workers do for 80 erlangs: %v more", more)
	}
	s.Ready, s.load.burst = 26, false
	if more := s.backlog(); more != 0 {
		t.Errorf("without a rise and a queue: %v more", more)
	}
}

// The reserve for growth is an estimate. As long as the workers do for what is there, a slightly higher one changes nothing; what
// is needed for sure is followed at once.
func TestAReserveAloneIsNotFollowedByOnesAndTwos(t *testing.T) {
	p, m := Default(), Memory{Workers: 100}
	for _, c := range []struct {
		name         string
		sure, queued float64
		target, want int
	}{
		{"the reserve alone", 80, 0, 112, 100},
		{"much more of it", 80, 0, 118, 118},
		{"a sure need", 104, 0, 112, 112},
		{"requests wait", 80, 1, 112, 112},
	} {
		s := &State{Policy: &p, Memory: &m, Now: 1000, sure: c.sure, Queued: c.queued}
		if got, _ := s.grow(100, c.target); got != c.want {
			t.Errorf("%s: %d of %d, wanted %d", c.name, got, c.target, c.want)
		}
	}
}

// What an operator announced is no estimate, however little it is more than there is.
func TestAReservationIsGivenWithinTheBandOfTheReserve(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1200)
	want := w.last.Workers + 2
	w.orders = []Order{{ID: "r", Kind: OrderReserve, From: w.now, Until: w.now.Add(1e12), Workers: want}}
	w.run(5)
	if w.last.Workers != want {
		t.Errorf("%d workers, %d were announced", w.last.Workers, want)
	}
}

// Few workers do not wait long for a dependency: that requests are quick while all workers are busy ends no cap, but the cap follows
// what arrives.
func TestACapDoesNotEndWhileAllWorkersAreBusy(t *testing.T) {
	p := Default()
	m := Memory{Workers: 20, Service: Service{Base: 0.08}, Futile: Futile{Cap: 20, Probe: 1 << 40}}
	for sec := int64(1000); sec < 1010; sec++ {
		m.History.push(Fine{At: sec, X: 240, A: 300, B: 20})
	}
	var r Result
	s := &State{Policy: &p, Obs: &Observation{}, Memory: &m, Now: 1010, Ready: 20, Busy: 20, BusyKnown: true, Service: 0.083, trusted: true, load: load{rate: 300}}
	if limit := s.futility(&r); limit != 30 || len(r.Events) > 0 {
		t.Errorf("all busy: a cap of %d, events %v; wanted 300 x 0.08 / 0.8 = 30", limit, r.Events)
	}
	s.Busy = 12
	if limit := s.futility(&r); limit != 0 || len(r.Events) != 1 {
		t.Errorf("at ease: a cap of %d, events %v", limit, r.Events)
	}
}

// Who leaves and has to start again costs a lead time: nothing leaves that was needed within half of one, however short the window is.
func TestNothingLeavesThatWasNeededWithinHalfALeadTime(t *testing.T) {
	w := newWorld(t, 500)
	w.p.Down.Window, w.p.LeadTime, w.lead = 10e9, 300e9, 300
	w.run(1800)
	before := w.last.Workers
	w.rate = func(int) float64 { return 250 }
	w.run(140)
	if w.last.Workers != before {
		t.Errorf("%d workers of %d, 140 s after the load fell, with a lead time of 300 s", w.last.Workers, before)
	}
	w.run(300)
	if w.last.Workers >= before {
		t.Errorf("still %d workers", w.last.Workers)
	}
}
