package ours

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/sim"
	"github.com/tidegate/tidegate/sim/traces"
)

func builtin(t *testing.T, name string, seed uint64) *sim.Trace {
	t.Helper()
	tr, err := traces.Builtin(name, seed)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func run(t *testing.T, p sim.Params, tr *sim.Trace, app core.AppPolicy) *sim.Result {
	t.Helper()
	return runEvery(t, p, tr, app, 2)
}

// runEvery plays a trace with decisions every so many seconds.
func runEvery(t *testing.T, p sim.Params, tr *sim.Trace, app core.AppPolicy, tick int) *sim.Result {
	t.Helper()
	if testing.Short() || raced && tr.Seconds() > 1000 {
		t.Skip("takes long; it runs without -short and -race")
	}
	r, err := sim.Run(p, tr, 1, Policy("tidegate", app, tick))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %.2f %% slow, %.1f worker-hours, %d killed, alarms %v", tr.Name, 100*r.SlowPart, r.WorkerHours, r.Killed, r.Alarms)
	return r
}

func scalerFor(t *testing.T, p sim.Params) *scaler {
	t.Helper()
	p.PerNode = []int{10, 10}
	p.Nodes = 2
	s, err := Policy("tidegate", App(p), 2).New(sim.Setup{Params: p})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*scaler)
}

func TestTheCoreSeesWhatTheModelShows(t *testing.T) {
	s := scalerFor(t, sim.DefaultParams())
	o := &sim.Observation{
		Now: 4, InFlight: 9, Queued: 2, Responses: []float64{0.3}, Services: []float64{0.2},
		Seconds: []sim.Second{{At: 2, Arrivals: 100, Completions: 90, Errors: 10, Queue: 3, Service: 7, Busy: 7}, {At: 3, Arrivals: 50, Completions: 60}},
		Nodes:   []sim.NodeState{{Up: true, Max: 10, Target: 7, Ready: 5, Starting: 2, Draining: 1, Busy: 4.5, Answered: 70}, {Max: 10}},
		Announced: []sim.Announcement{
			{ID: "sale", Told: 1, From: 100, To: 200, Rate: 800},
		},
	}
	got := s.observation(o)
	if want := at(4); !got.Now.Equal(want) || want.Unix() != epoch.Unix()+4 {
		t.Errorf("it is %v, want %v", got.Now, want)
	}
	app := got.Apps[0]
	wantTraffic := core.TrafficObs{
		Known: true, Rate: 75, Errors: 10.0 / 160, InFlight: 9, Queued: 2, Responses: []time.Duration{200 * time.Millisecond},
		Seconds: []sizing.Second{
			{At: epoch.Unix() + 2, Arrivals: 100, Completions: 90, Timed: 90, Queue: 3, Service: 7},
			{At: epoch.Unix() + 3, Arrivals: 50, Completions: 60, Timed: 60},
		},
	}
	if !reflect.DeepEqual(app.Traffic, wantTraffic) {
		t.Errorf("traffic is\n%+v, want\n%+v", app.Traffic, wantTraffic)
	}
	want := core.PoolObs{Known: true, Total: 8, Ready: 5, Starting: 2, Draining: 1, BusyKnown: true, Busy: 4.5, Target: 7}
	if pool := app.Servers[0].Pool; pool != want {
		t.Errorf("the pool is %+v, want %+v", pool, want)
	}
	if a, b := app.Servers[0], app.Servers[1]; a.Answers != 70 || !a.AnswersKnown || b.AnswersKnown {
		t.Errorf("good answers: %+v %+v", a, b)
	}
	if pool := app.Servers[1].Pool; pool.Known || pool.BusyKnown || got.Nodes[1].Up || !got.Nodes[0].Up {
		t.Errorf("a lost node's pool is %+v, the nodes are %+v", pool, got.Nodes)
	}
	order := sizing.Order{ID: "sale", Kind: sizing.OrderReserve, Owner: "trace", From: at(100), Until: at(200), Rate: 800}
	if !reflect.DeepEqual(app.Orders, []sizing.Order{order}) {
		t.Errorf("the orders are %+v", app.Orders)
	}
	o.Missing = true
	if app := s.observation(o).Apps[0]; !reflect.DeepEqual(app.Traffic, core.TrafficObs{}) || app.Servers[0].Pool.BusyKnown || !app.Servers[0].Pool.Known {
		t.Errorf("without metrics it sees %+v", app)
	}
}

func TestOrdersGoToTheirNodes(t *testing.T) {
	s := scalerFor(t, sim.DefaultParams())
	o := &sim.Observation{Nodes: make([]sim.NodeState, 2)}
	d := s.decision(o, core.AppPlan{
		Sizing:  &sizing.Result{Workers: 12, Alarms: []sizing.Code{sizing.CodeFutile}},
		Targets: []core.ServerTarget{{Server: "node-1", Serve: true, Workers: 6, Phase: core.PhaseServing}, {Server: "node-2", Phase: core.PhaseParked}},
		Actions: []core.Action{{Server: "node-2", Kind: core.SetWorkers, Value: 5}},
		Reasons: []core.Reason{{Sentence: "this"}, {Sentence: "that"}},
	})
	want := sim.Decision{Workers: 12, PerNode: []int{-1, 5}, Out: []bool{false, true}, Why: "this; that", Alarms: []string{"futile"}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("the decision is %+v, want %+v", d, want)
	}
}

func TestTheLoopIsDeterministic(t *testing.T) {
	p := sim.DefaultParams()
	tr := builtin(t, "quick", 3)
	tr.Rate = tr.Rate[:1000]
	if a, b := run(t, p, tr, App(p)), run(t, p, tr, App(p)); !reflect.DeepEqual(a, b) {
		t.Error("two runs differ")
	}
}

// The closed loop with the default policy: figures that any sound policy reaches, so that a broken adapter shows.
func TestTheLoopHoldsTheGoalOnEasyTraces(t *testing.T) {
	for _, name := range []string{"slow", "drop"} {
		p := sim.DefaultParams()
		tr := builtin(t, name, 1)
		r := run(t, p, tr, App(p))
		if r.SlowPart > 0.01 || r.Killed+r.TimedOut > 0 {
			t.Errorf("%s: %.2f %% slow, %d gave up", name, 100*r.SlowPart, r.TimedOut)
		}
		if len(r.Changes) < 3 {
			t.Errorf("%s: only %d decisions", name, len(r.Changes))
		}
		for _, c := range r.Changes {
			if c.Why == "" {
				t.Errorf("%s: no reason for %+v", name, c)
			}
		}
	}
}

// Who decides seldom sees less, and is not to be more restless for it: calm traffic that falls once took 13 reversals an hour
// when every count of busy workers that was high by chance was taken for slow service.
func TestALongerTickIsNoUnrest(t *testing.T) {
	for _, tick := range []int{1, 5, 10} {
		p := sim.DefaultParams()
		r := runEvery(t, p, builtin(t, "drop", 1), App(p), tick)
		if f := r.PerHour(r.Flaps); f > 3 || r.SlowPart > 0.01 {
			t.Errorf("a decision every %d s: %.1f reversals within ten minutes an hour, %.2f %% slow", tick, f, 100*r.SlowPart)
		}
	}
}

func TestALostNodeIsReplaced(t *testing.T) {
	p := sim.DefaultParams()
	tr := builtin(t, "nodeloss", 1)
	r := run(t, p, tr, App(p))
	lost := int(tr.Lost[0].From)
	if r.Killed == 0 {
		t.Error("no request was on the lost node")
	}
	before, after := r.Series.Ready[lost-5], r.Series.Ready[lost+int(p.WarmUp)+60]
	if during := r.Series.Ready[lost+2]; during >= before || float64(after) < 0.95*float64(before) {
		t.Errorf("%d workers before the loss, %d during, %d a minute after the warm-up", before, during, after)
	}
}

func TestAnAnnouncedPushIsMet(t *testing.T) {
	p := sim.DefaultParams()
	tr := builtin(t, "push", 1)
	share := func(r *sim.Result) float64 {
		arrived, slow := 0, 0
		for s := int(tr.Announced[0].From); s < int(tr.Announced[0].From)+300; s++ {
			arrived, slow = arrived+int(r.Series.Arrivals[s]), slow+int(r.Series.Slow[s])
		}
		return float64(slow) / float64(arrived)
	}
	told := share(run(t, p, tr, App(p)))
	silent := *tr
	silent.Announced = nil
	if untold := share(run(t, p, &silent, App(p))); told > 0.01 || untold < 0.05 {
		t.Errorf("%.2f %% are slow in the five minutes of an announced push, %.2f %% unannounced", 100*told, 100*untold)
	}
}

func TestMetricsOutagesShrinkNothing(t *testing.T) {
	for _, name := range []string{"zero", "missing"} {
		p := sim.DefaultParams()
		tr := builtin(t, "zerometrics", 1)
		out := tr.Zero[0]
		if name == "missing" {
			tr.Missing, tr.Zero = tr.Zero, nil
		}
		r := run(t, p, tr, App(p))
		if before, end := r.Series.Ready[int(out.From)], r.Series.Ready[int(out.To)-1]; end < before {
			t.Errorf("%s: %d workers before, %d at the end of the outage", name, before, end)
		}
	}
}

func TestPoliciesThatCannotBePlayed(t *testing.T) {
	p := sim.DefaultParams()
	tr := builtin(t, "spike", 1)
	noop := App(p)
	noop.Strategy = core.Noop
	if _, err := sim.Run(p, tr, 1, Policy("x", noop, 2)); err == nil || !strings.Contains(err.Error(), "noop") {
		t.Errorf("noop: %v", err)
	}
	if _, err := sim.Run(p, tr, 1, Policy("x", App(p), 0)); err == nil {
		t.Error("a tick of 0 s is accepted")
	}
}

// A user's servers keep their own bounds, and a trace that replaces the nodes gets equal ones.
func TestAnAppsServersAreFitted(t *testing.T) {
	p := sim.DefaultParams()
	p.Nodes, p.PerNode, p.MaxWorkers = 2, []int{4, 12}, 16
	app := App(p)
	app.Proxied, app.MinServers = true, 1
	app.Servers = []core.ServerPolicy{{Name: "a", MinWorkers: 2, MaxWorkers: 4, ParkedWorkers: 1, Warm: true}, {Name: "b", MinWorkers: 3, MaxWorkers: 12, ParkedWorkers: 2}}
	got := fit(app, p)
	if got.Proxied || got.MinServers != 1 || got.Servers[1].MinWorkers != 3 || got.Servers[0].Warm || got.Servers[0].Name != "node-1" {
		t.Errorf("fitted: %+v", got)
	}
	p.Nodes, p.PerNode = 5, []int{4, 4, 4, 4, 4}
	if got := fit(app, p); len(got.Servers) != 5 || got.Servers[4].MaxWorkers != 4 {
		t.Errorf("fitted to other nodes: %+v", got)
	}
}

// What the decision core promises in the cases that it knows of beforehand, or must not be fooled by.
func TestTheLoopKeepsItsPromises(t *testing.T) {
	for _, c := range []struct {
		trace    string
		loseNode bool
		// most is the largest share of slow requests, from second from on, for so many seconds; 0 is the whole run.
		most  float64
		from  func(tr *sim.Trace) int
		span  int
		alarm string
	}{
		{trace: "outage", most: 0.005, alarm: "collapse"},
		{trace: "zerometrics", most: 0.005, alarm: "collapse"},
		{trace: "nodeloss", loseNode: true, most: 0.005},
		{trace: "push", most: 0.005, from: func(tr *sim.Trace) int { return int(tr.Announced[0].From) }, span: 300},
		{trace: "depcap", most: 1, alarm: "futile"},
	} {
		p := sim.DefaultParams()
		tr := builtin(t, c.trace, 7)
		app := App(p)
		app.Sizing.Erlang.LoseNode = c.loseNode
		r := run(t, p, tr, app)
		slow := r.SlowPart
		if c.from != nil {
			all, late := int32(0), int32(0)
			for i := c.from(tr); i < c.from(tr)+c.span; i++ {
				all, late = all+r.Series.Arrivals[i], late+r.Series.Slow[i]
			}
			slow = float64(late) / float64(all)
		}
		if slow > c.most {
			t.Errorf("%s: %.2f %% slow, at most %.2f %% were promised", c.trace, 100*slow, 100*c.most)
		}
		seen := c.alarm == ""
		for _, a := range r.Alarms {
			seen = seen || a.Name == c.alarm && a.After <= 120
		}
		if !seen {
			t.Errorf("%s: no alarm %s within 120 s: %v", c.trace, c.alarm, r.Alarms)
		}
	}
}

// A queue that was just worked off leaves throughput at what arrives, which is no sign that the new workers are of no use. Seed 303
// was once taken for one.
func TestAServiceThatMoreWorkersHelpIsNotCalledFutile(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes long; it runs without -short and -race")
	}
	for seed := uint64(301); seed <= 304; seed++ {
		p := sim.DefaultParams()
		r, err := sim.Run(p, builtin(t, "slowsvc", seed), seed, Policy("tidegate", App(p), 2))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range r.Alarms {
			if a.Name == string(sizing.CodeFutile) {
				t.Errorf("seed %d: the alarm came %.0f s after the service became slower; %.1f %% of the requests were slow", seed, a.After, 100*r.SlowPart)
			}
		}
	}
}
