package control

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// fakeNode reports, or fails, as a test says.
type fakeNode struct {
	report NodeReport
	err    error
}

func (n *fakeNode) Report(context.Context) (NodeReport, error) { return n.report, n.err }

func (n *fakeNode) SetWorkers(context.Context, string, int, uint64) error { return n.err }

// fakeTraffic hands over what it was given, once.
type fakeTraffic struct {
	Traffic
	report TrafficReport
}

func (f *fakeTraffic) Take(time.Time) map[string]TrafficReport {
	out := map[string]TrafficReport{"shop": f.report}
	f.report.Seconds, f.report.Responses = nil, nil
	return out
}

func TestObservationCarriesEverything(t *testing.T) {
	setup := sizedSetup()
	setup.Apps = setup.Apps[:1]
	now := time.Unix(5000, 0)
	traffic := &fakeTraffic{report: TrafficReport{
		Last: now.Add(-2 * time.Second), Rate: 9, P50: 1, P95: 2, P99: 3, InFlight: 4, Queued: 1, Seconds: []sizing.Second{{At: 4997, Arrivals: 9}, {At: 4998, Arrivals: 8}},
	}}
	setup.Traffic = traffic
	pool := core.PoolObs{Known: true, Age: 300 * time.Millisecond, Total: 2, Ready: 2}
	a := &fakeNode{report: NodeReport{Capacity: 16, CPU: 0.5, Memory: 0.25, Pools: map[string]core.PoolObs{"shop": pool}}}
	b := &fakeNode{err: errors.New("connection refused")}
	setup.Nodes = map[string]Node{"na": a, "nb": b}
	proxy := setup.Proxies[0].Proxy.(*faulty)
	l := newTestLoop(t, setup, nil)
	look := func(at time.Time) core.Observation { return l.observation(l.observe(t.Context(), at), at) }

	shop := proxy.state.Backends["shop"]
	shop.Answers = map[string]int{"a": 70}
	proxy.state.Backends["shop"] = shop
	o := look(now)
	if a, b := o.Apps[0].Servers[0], o.Apps[0].Servers[1]; a.Answers != 70 || !a.AnswersKnown || b.AnswersKnown {
		t.Errorf("good answers: %+v %+v", a, b)
	}
	got := o.Apps[0].Traffic
	if !got.Known || got.Age != 2*time.Second || got.P99 != 3 || got.InFlight != 4 || got.Queued != 1 || len(got.Seconds) != 2 || got.Seconds[1].At != 4998 {
		t.Errorf("traffic %+v", got)
	}
	if len(look(now).Apps[0].Traffic.Seconds) != 0 {
		t.Error("the same seconds came twice")
	}
	want := []core.NodeObs{{Name: "na", Up: true, Capacity: 16, CPU: 0.5, Memory: 0.25}, {Name: "nb", Up: true, CPU: -1, Memory: -1}}
	if len(o.Nodes) != 2 || o.Nodes[0] != want[0] || o.Nodes[1] != want[1] {
		t.Errorf("nodes %+v, want %+v", o.Nodes, want)
	}
	if p := o.Apps[0].Servers[0].Pool; p.Age != 300*time.Millisecond || !p.Known {
		t.Errorf("pool %+v", p)
	}

	// Four seconds on, na's agent is silent: its report ages, its load is unknown, its capacity is not.
	a.err = errors.New("time-out")
	o = look(now.Add(4 * time.Second))
	if p := o.Apps[0].Servers[0].Pool; p.Age != 4300*time.Millisecond {
		t.Errorf("an old report: %+v", p)
	}
	if n := o.Nodes[0]; !n.Up || n.CPU != -1 || n.Capacity != 16 {
		t.Errorf("a silent agent: %+v", n)
	}

	// HAProxy finds the server on nb down: only now is the node lost. That one is in maintenance later does not bring it back.
	set := func(name string, admin core.AdminState, up bool) {
		proxy.mu.Lock()
		defer proxy.mu.Unlock()
		proxy.state.Backends["shop"].Servers[name] = core.ProxyServerObs{Known: true, Admin: admin, Up: up, Checked: true}
	}
	for i, step := range []struct {
		admin core.AdminState
		up    bool
		agent error
		want  bool
	}{
		{core.AdminMaint, false, b.err, true},
		{core.AdminReady, false, b.err, false},
		{core.AdminMaint, false, b.err, false},
		{core.AdminReady, true, b.err, true},
		{core.AdminReady, false, b.err, false},
		{core.AdminReady, false, nil, true},
	} {
		set("b", step.admin, step.up)
		b.err = step.agent
		if o = look(now.Add(time.Duration(5+i) * time.Second)); o.Nodes[1].Up != step.want || !o.Nodes[0].Up {
			t.Errorf("step %d: %+v", i, o.Nodes)
		}
	}
}
