package sizing

import (
	"math"
	"testing"
	"time"
)

func TestSteadyLoadSettlesNearErlangC(t *testing.T) {
	w := newWorld(t, 250)
	w.ready = 60
	w.run(3600)
	// 20 erlangs; some 23 workers are what Erlang C wants for 10 % waiting longer than 100 ms, and growth learned adds a little.
	if w.last.Workers < 23 || w.last.Workers > 29 {
		t.Fatalf("20 erlangs have %d workers: %+v", w.last.Workers, w.last.Trace)
	}
	if w.m.Flaps.Turns != nil {
		t.Fatalf("steady load reversed at %v", w.m.Flaps.Turns)
	}
}

func TestStepIsSeenAtOnceAndOrderedInOneGo(t *testing.T) {
	w := newWorld(t, 250)
	w.tick = 1
	w.run(1800)
	w.rate = func(sec int) float64 {
		if sec < 1800 {
			return 250
		}
		return 1000
	}
	w.run(4)
	if w.last.Workers < 80 {
		t.Fatalf("four seconds into a step from 20 to 80 erlangs %d workers are wanted: %+v", w.last.Workers, w.last.Trace)
	}
	w.run(120)
	if w.queue > 0 {
		t.Fatalf("%g requests still wait two minutes after the step", w.queue)
	}
}

func TestTraceTellsInputsStepsLimitAndCounterfactual(t *testing.T) {
	w := newWorld(t, 250)
	w.p.MaxWorkers = 30
	w.run(1200)
	w.rate = func(int) float64 { return 1000 }
	w.run(60)
	tr := w.last.Trace
	if tr.Strategy != Erlang || tr.Inputs["arrivals"] < 900 || tr.Inputs["service_s"] < 0.07 || len(tr.Steps) < 3 {
		t.Errorf("trace %+v", tr)
	}
	if tr.Limit != StepMax || tr.Without < 80 || !w.has(CodeAtMax) || !w.alarms(CodeAtMax) || w.count(CodeAtMax) != 1 {
		t.Errorf("limit %q without %d, events %+v", tr.Limit, tr.Without, w.events)
	}
}

func TestServiceThatBecomesSlowerBringsMoreWorkers(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	before := w.last.Workers
	w.service = func(int) float64 { return 0.16 }
	w.run(240)
	if w.last.Workers < 40 || w.has(CodeFutile) || w.queue > 0 {
		t.Fatalf("%d -> %d workers for twice the service time, %g wait, futile %v", before, w.last.Workers, w.queue, w.has(CodeFutile))
	}
}

func TestFutilityCapsAndProbesAndEnds(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	before := w.last.Workers
	w.most = 200
	alarmed := -1
	for i := range 60 {
		w.run(5)
		if alarmed < 0 && w.alarms(CodeFutile) {
			alarmed = 5 * i
		}
	}
	if alarmed < 0 || alarmed > 120 {
		t.Fatalf("a dependency that lets 200 of 250 through: alarm after %d s", alarmed)
	}
	w.run(240)
	if w.last.Workers > before+before/3 {
		t.Fatalf("%d workers while they are of no use, %d before", w.last.Workers, before)
	}
	w.run(600)
	if !w.has(CodeFutileProbe) {
		t.Fatal("never tried again")
	}
	w.most = 0
	w.run(900)
	if w.alarms(CodeFutile) || !w.has(CodeFutileOver) {
		t.Fatalf("the alarm stays: %+v", w.m.Futile)
	}
}

func TestCollapseIsHeldAndEnds(t *testing.T) {
	w := newWorld(t, 250)
	w.run(3600)
	before := w.last.Workers
	w.rate = func(int) float64 { return 8 }
	w.run(120)
	if !w.alarms(CodeGuard) || w.last.Workers < before {
		t.Fatalf("two minutes into a collapse: %d workers of %d, alarms %v", w.last.Workers, before, w.last.Alarms)
	}
	w.run(600)
	if w.last.Workers < before {
		t.Fatalf("shrank to %d of %d during the hold", w.last.Workers, before)
	}
	w.rate = func(int) float64 { return 350 }
	w.run(300)
	if w.alarms(CodeGuard) || !w.has(CodeGuardOver) {
		t.Fatal("traffic is back and the hold goes on")
	}
	w.rate = func(int) float64 { return 80 }
	w.run(7200)
	if w.last.Workers > 20 {
		t.Fatalf("a lower level for two hours still has %d workers", w.last.Workers)
	}
}

func TestErrorsExtendTheHold(t *testing.T) {
	w := newWorld(t, 250)
	w.run(3600)
	before := w.last.Workers
	w.rate = func(int) float64 { return 8 }
	w.change = func(o *Observation) {
		for i := range o.Seconds {
			o.Seconds[i].Errors = o.Seconds[i].Completions / 2
		}
	}
	w.run(2400)
	if w.last.Workers < before || !w.has(CodeGuardLonger) {
		t.Fatalf("%d workers of %d after 40 minutes of errors, extended %v", w.last.Workers, before, w.has(CodeGuardLonger))
	}
}

func TestBadDataNeverShrinks(t *testing.T) {
	nan, negative := math.NaN(), -1.0
	cases := map[string]struct {
		spoil func(o *Observation)
		code  Code
	}{
		"no traffic":         {func(o *Observation) { o.Traffic, o.Seconds = false, nil }, CodeNoData},
		"seconds stop":       {func(o *Observation) { o.Seconds = nil }, CodeNoData},
		"zero with sessions": {func(o *Observation) { zero(o); o.InFlight = 20 }, CodeZeroData},
		"zero with busy":     {func(o *Observation) { zero(o); o.Nodes[0].Busy = 7 }, CodeZeroData},
		"NaN":                {func(o *Observation) { o.Seconds[0].Arrivals = nan }, CodeAbsurdData},
		"infinite":           {func(o *Observation) { o.Seconds[0].Service = math.Inf(1) }, CodeAbsurdData},
		"negative busy":      {func(o *Observation) { o.Seconds[0].Busy = &negative }, CodeAbsurdData},
		"from the future":    {func(o *Observation) { o.Seconds[0].At += 3600 }, CodeAbsurdData},
		"an agent is silent": {func(o *Observation) { o.Nodes[1] = Node{Name: "b", Up: true, Max: 32} }, CodeNoData},
		"an agent is absurd": {func(o *Observation) { o.Nodes[1].Ready = -5 }, CodeAbsurdData},
		"the caller says so": {func(o *Observation) { o.Bad = "hold_errors" }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 250)
			w.run(1800)
			before := w.last.Workers
			w.rate = func(int) float64 { return 25 }
			w.change = c.spoil
			w.run(1200)
			if w.last.Workers < before || w.last.Frozen == "" {
				t.Errorf("%d workers of %d, frozen %q", w.last.Workers, before, w.last.Frozen)
			}
			if c.code != "" && (w.count(c.code) != 1 || !w.alarms(CodeNoDataLong)) {
				t.Errorf("%d events %s, alarms %v", w.count(c.code), c.code, w.last.Alarms)
			}
			w.change = nil
			w.run(2400)
			if c.code != "" && !w.has(CodeDataBack) || w.last.Workers >= before {
				t.Errorf("with good data again %d workers of %d, data back %v, frozen %q", w.last.Workers, before, w.has(CodeDataBack), w.last.Frozen)
			}
		})
	}
}

func zero(o *Observation) {
	for i := range o.Seconds {
		busy := 0.0
		o.Seconds[i] = Second{At: o.Seconds[i].At, Busy: &busy}
	}
	o.InFlight, o.Queued = 0, 0
}

func TestSaturatedWorkersRaiseTheNumberWithoutTraffic(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1200)
	before := w.last.Workers
	w.change = func(o *Observation) {
		o.Traffic, o.Seconds = false, nil
		for i := range o.Nodes {
			o.Nodes[i].Busy = float64(o.Nodes[i].Ready)
		}
	}
	w.run(10)
	if w.last.Workers < before*14/10 {
		t.Fatalf("all busy, no timing: %d workers of %d", w.last.Workers, before)
	}
}

func TestReservationIsPulledUpHeldAndReleased(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	w.orders = []Order{{ID: "r1", Kind: OrderReserve, Owner: "mail", Rate: 1000, From: w.now.Add(3 * time.Minute), Until: w.now.Add(time.Hour)}}
	w.run(170)
	if w.last.Workers < 85 || w.ready < 85 {
		t.Fatalf("ten seconds before the announced push: %d wanted, %d ready", w.last.Workers, w.ready)
	}
	if got := w.last.Orders["r1"]; got.State != "active" || got.Workers < 85 {
		t.Fatalf("order %+v", got)
	}
	w.rate = func(int) float64 { return 1000 }
	w.run(600)
	w.rate = func(int) float64 { return 250 }
	w.run(330)
	if got := w.last.Orders["r1"]; got.State != "released" || !w.has(CodeReserveDone) {
		t.Fatalf("the push came and went: %+v", got)
	}
	w.run(1800)
	if w.last.Workers > 40 {
		t.Fatalf("%d workers half an hour after the release", w.last.Workers)
	}
}

func TestReservationsThatCannotBeGivenAreRefusedWithAReason(t *testing.T) {
	w := newWorld(t, 250)
	w.run(600)
	later := w.now.Add(time.Hour)
	w.orders = []Order{
		{ID: "huge", Kind: OrderReserve, Workers: 500, From: w.now, Until: later},
		{ID: "endless", Kind: OrderReserve, Workers: 50, From: w.now},
		{ID: "empty", Kind: OrderReserve, From: w.now, Until: later},
		{ID: "nan", Kind: OrderReserve, Rate: math.NaN(), From: w.now, Until: later},
		{ID: "long", Kind: OrderReserve, Workers: 50, From: w.now, Until: w.now.Add(48 * time.Hour)},
		{ID: "odd", Kind: "please", From: w.now, Until: later},
	}
	before := w.last.Workers
	w.run(300)
	for _, o := range w.orders {
		if got := w.last.Orders[o.ID]; got.State != "refused" || got.Why == "" {
			t.Errorf("%s: %+v", o.ID, got)
		}
	}
	if w.last.Workers > before+5 || w.count(CodeReserveNo) != 5 {
		t.Errorf("%d workers of %d, %d refusals reported", w.last.Workers, before, w.count(CodeReserveNo))
	}
}

func TestHoldAndPin(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1200)
	before := w.last.Workers
	w.orders = []Order{{ID: "h", Kind: OrderHold, From: w.now}}
	w.rate = func(int) float64 { return 1000 }
	w.run(300)
	if w.last.Workers != before || w.last.Trace.Limit != StepHold || w.last.Trace.Without < 80 {
		t.Fatalf("held at %d, now %d, trace %+v", before, w.last.Workers, w.last.Trace)
	}
	w.orders = []Order{{ID: "p", Kind: OrderPin, Workers: 12, From: w.now}}
	w.run(5)
	if w.last.Workers != 12 || w.last.Trace.Limit != StepPin {
		t.Fatalf("pinned at 12: %d", w.last.Workers)
	}
	w.orders[0].Workers = 5000
	w.run(5)
	if w.last.Workers != w.p.MaxWorkers {
		t.Fatalf("pinned beyond the maximum: %d", w.last.Workers)
	}
	w.orders[0].Until = w.now
	w.run(5)
	if got := w.last.Orders["p"]; got.State != "expired" {
		t.Fatalf("order %+v", got)
	}
}

func TestShrinkingIsSlowAndLooksBack(t *testing.T) {
	w := newWorld(t, 500)
	w.run(1800)
	before := w.last.Workers
	w.rate = func(int) float64 { return 300 }
	w.run(25)
	if w.last.Workers != before {
		t.Fatalf("shrank to %d of %d within the window", w.last.Workers, before)
	}
	w.run(1200)
	if w.last.Workers > 38 {
		t.Fatalf("24 erlangs have %d workers after 23 minutes", w.last.Workers)
	}
	for i := 6; i < len(w.series); i++ {
		if w.series[i] < int(0.49*float64(w.series[i-6])) {
			t.Fatalf("%d -> %d within half a minute", w.series[i-6], w.series[i])
		}
	}
}

func TestARestartHoldsThePresentNumber(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1200)
	w.m = Memory{}
	w.ready = 60
	w.run(110)
	if w.last.Workers < 60 || !w.has(CodeStart) {
		t.Fatalf("after a start without memory: %d of 60", w.last.Workers)
	}
	w.run(1200)
	if w.last.Workers > 35 {
		t.Fatalf("20 minutes later still %d", w.last.Workers)
	}
}

func TestGrowthIsLimitedByPolicy(t *testing.T) {
	w := newWorld(t, 250)
	w.p.Up = UpPolicy{Every: 30 * time.Second, Share: 0.1, Step: 2, Tolerance: 0.03}
	w.run(1200)
	w.rate = func(int) float64 { return 1000 }
	before := w.last.Workers
	w.run(25)
	if w.last.Workers > before+max(2, before/10+1) || w.last.Trace.Limit != StepUpLimit {
		t.Fatalf("%d -> %d within 25 s, limit %q", before, w.last.Workers, w.last.Trace.Limit)
	}
}

func TestLeadTimeIsLearned(t *testing.T) {
	w := newWorld(t, 100)
	w.lead = 120
	w.rate = func(sec int) float64 { return 100 + 400*math.Abs(math.Sin(float64(sec)/1500)) }
	w.run(7200)
	if lead := w.m.Lead.seconds(45); lead < 110 || lead > 140 {
		t.Fatalf("lead time learned %g, is 120: %v", lead, w.m.Lead.Samples)
	}
}

func TestFlappingRaisesAnAlarm(t *testing.T) {
	w := newWorld(t, 250)
	w.p.FlapBudget = 2
	w.p.Down = DownPolicy{Window: 10 * time.Second, Every: 5 * time.Second, Share: 0.5}
	w.p.LeadTime, w.lead = 5*time.Second, 5
	w.rate = func(sec int) float64 {
		if sec/200%2 == 0 {
			return 400
		}
		return 100
	}
	w.run(3600)
	if !w.alarms(CodeFlapping) || w.count(CodeFlapping) != 1 {
		t.Fatalf("%d reversals, alarms %v", len(w.m.Flaps.Turns), w.last.Alarms)
	}
}

func TestDayProfileIsAFloorOnly(t *testing.T) {
	w := newWorld(t, 100)
	w.p.Profile = ProfilePolicy{On: true, Days: 3}
	w.tick = 10
	day := func(sec int) float64 {
		// A step at eight every morning.
		if h := sec % 86400 / 3600; h >= 8 && h < 20 {
			return 500
		}
		return 100
	}
	w.rate = day
	// From Monday on; the fourth morning is foreseen.
	w.run(3*86400 + 8*3600 - 60)
	if w.last.Workers < 15 {
		t.Fatalf("a minute before the usual step: %d workers: %+v", w.last.Workers, w.last.Trace)
	}
	if w.last.Workers > 30 {
		t.Fatalf("more than twice the present need: %d", w.last.Workers)
	}
}

func TestLostNodeIsReportedOnceAndDoesNotFreeze(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1200)
	w.change = func(o *Observation) { o.Nodes[1] = Node{Name: "b", Max: 32} }
	w.run(600)
	if w.count(CodeNodeLost) != 1 || w.last.Frozen != "" {
		t.Fatalf("%d reports, frozen %q", w.count(CodeNodeLost), w.last.Frozen)
	}
}

func TestLoseNodeProvidesForTheLargest(t *testing.T) {
	w := newWorld(t, 250)
	w.nodes = 3
	w.run(1800)
	plain := w.last.Workers
	w.p.Erlang.LoseNode = true
	w.run(600)
	if w.last.Workers <= plain || float64(w.last.Workers)*2/3 < 20 {
		t.Fatalf("%d workers on three nodes with N-1, %d without: 20 erlangs must fit on two", w.last.Workers, plain)
	}
}

func TestADateSetBackStopsNothing(t *testing.T) {
	w := newWorld(t, 250)
	w.run(1800)
	tens := len(w.m.History.Tens)
	w.now = w.now.Add(-20 * time.Minute)
	w.rate = func(int) float64 { return 1000 }
	w.run(60)
	if w.last.Workers < 80 || w.last.Frozen != "" || len(w.m.History.Tens) < tens {
		t.Fatalf("a minute after the date was set back %d workers, frozen %q, %d tens of %d", w.last.Workers, w.last.Frozen, len(w.m.History.Tens), tens)
	}
}

func TestAReservationOnceGivenIsNotTakenBack(t *testing.T) {
	w := newWorld(t, 250)
	w.p.MaxWorkers = 100
	w.run(1200)
	w.orders = []Order{{ID: "r", Kind: OrderReserve, Rate: 900, From: w.now, Until: w.now.Add(time.Hour)}}
	w.run(60)
	w.service = func(int) float64 { return 0.12 }
	w.run(120)
	if got := w.last.Orders["r"]; got.State != "active" || got.Workers != 100 || w.has(CodeReserveNo) {
		t.Fatalf("the service became slower: %+v", got)
	}
}
