package sim

import (
	"context"
	"reflect"
	"runtime"
	"testing"
)

func TestTheOraclesPlanLooksAheadByTheWarmUp(t *testing.T) {
	p := DefaultParams()
	p.MinWorkers, p.WarmUp = 1, 5
	tr := level(40, 12.5) // one erlang
	for s := 20; s < 23; s++ {
		tr.Rate[s] = 125 // ten
	}
	tr.Rate[27] = 125
	plan := oraclePlan(p, tr, 0)
	for s, want := range map[int]int{0: 1, 14: 1, 15: 10, 22: 10, 24: 10, 27: 10, 28: 1, 39: 1} {
		if plan[s] != want {
			t.Errorf("at %d s the plan has %d workers, want %d: %v", s, plan[s], want, plan)
		}
	}
}

func TestTheOracleIsTheCheapestOfItsKind(t *testing.T) {
	long(t)
	p := DefaultParams()
	p.Unmeasured = 60
	tr := level(1500, 200)
	for s := 500; s < 700; s++ {
		tr.Rate[s] = 600
	}
	best, err := Oracle(p, tr, 1, Fine)
	if err != nil {
		t.Fatal(err)
	}
	if best.SlowPart > oracleSlow || best.Policy != OracleName {
		t.Fatalf("%s has %v slow requests", best.Policy, best.SlowPart)
	}
	cheaper := 0
	for step := range int(mostBeta / Fine.Step) {
		beta := float64(step) * Fine.Step
		r := mustRun(t, p, tr, 1, oraclePolicy(beta))
		if r.WorkerHours < best.WorkerHours {
			cheaper++
			if r.SlowPart <= oracleSlow {
				t.Errorf("beta %v is cheaper and has only %v slow requests", beta, r.SlowPart)
			}
		}
	}
	if cheaper == 0 {
		t.Error("the smallest beta would do; the test shows nothing")
	}
}

func TestTheOracleOfAHopelessTrace(t *testing.T) {
	p := DefaultParams()
	p.Unmeasured, p.MaxWorkers = 60, 24
	best, err := Oracle(p, level(600, 400), 1, Fine)
	if err != nil {
		t.Fatal(err)
	}
	if best.SlowPart < 0.1 || best.WorkerHours == 0 {
		t.Errorf("%v slow for %v worker-hours", best.SlowPart, best.WorkerHours)
	}
}

// What a dependency lets through is not more with more workers: the fine oracle has as few as do nearly as well, the coarse one the most.
func TestTheYardsticksDifferWhereNothingHelps(t *testing.T) {
	long(t)
	p := DefaultParams()
	p.Unmeasured = 60
	tr := level(900, 300)
	tr.Cap = make([]float64, 900)
	for s := range tr.Cap {
		tr.Cap[s] = 240
	}
	fine, err := Oracle(p, tr, 1, Fine)
	if err != nil {
		t.Fatal(err)
	}
	coarse, err := Oracle(p, tr, 1, Coarse)
	if err != nil {
		t.Fatal(err)
	}
	most := mustRun(t, p, tr, 1, oraclePolicy(mostBeta))
	if coarse.WorkerHours != most.WorkerHours || fine.WorkerHours >= coarse.WorkerHours || fine.SlowPart > coarse.SlowPart+0.001 {
		t.Errorf("fine %v slow for %v worker-hours, coarse %v for %v, the largest beta %v for %v", fine.SlowPart, fine.WorkerHours,
			coarse.SlowPart, coarse.WorkerHours, most.SlowPart, most.WorkerHours)
	}
}

func TestASuiteDoesNotDependOnTheProcessors(t *testing.T) {
	p := DefaultParams()
	p.Unmeasured = 60
	source := func(name string, rate float64) Source {
		return Source{name, func(seed uint64) (*Trace, error) {
			tr := level(300, rate)
			tr.Name = name
			return tr, nil
		}}
	}
	s := Suite{Params: p, Traces: []Source{source("a", 100), source("b", 300)}, Seeds: []uint64{1, 2}, Policies: []Policy{follow(), always(60)}, Oracle: &Fine}
	s.Policies[0].Name, s.Policies[1].Name = "follow", "always"
	calls := 0
	s.Done = func(done, all int) {
		if calls++; done != calls || all != 12 {
			t.Errorf("call %d says %d of %d", calls, done, all)
		}
	}
	many, err := s.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s.Done = nil
	one, err := s.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(one, many) {
		t.Error("the outcome differs")
	}
	for i, want := range []string{"follow a 1", "always a 1", "oracle a 1", "follow a 2"} {
		r := one.Runs[i]
		if got := r.Policy + " " + r.Trace + " " + string(rune('0'+r.Seed)); got != want {
			t.Errorf("run %d is %s, want %s", i, got, want)
		}
	}
	if m := one.Mean("always", "a", nil); m.Runs != 2 || m.OracleRatio < 2 || m.SlowShare > 0.01 {
		t.Errorf("the mean of always on a is %+v", m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Run(ctx); err == nil {
		t.Error("a cancelled suite has an outcome")
	}
	s.Params.Unmeasured = 300
	if _, err := s.Run(context.Background()); err == nil {
		t.Error("a trace that is not measured at all is accepted")
	}
}

func TestQuantiles(t *testing.T) {
	var q times
	if q.quantile(0.5) != 0 {
		t.Error("nothing has a quantile")
	}
	for i := 1; i <= 1000; i++ {
		q.add(float64(i) / 1000)
	}
	for p, want := range map[float64]float64{0.5: 0.5, 0.95: 0.95, 0.99: 0.99} {
		if got := q.quantile(p); got < 0.985*want || got > 1.015*want {
			t.Errorf("p%v is %v, want %v", 100*p, got, want)
		}
	}
	q.add(0)
	q.add(1e9)
}
