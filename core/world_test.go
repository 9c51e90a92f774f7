package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// world is a fake of what Decide observes, so that whole lives of servers can be walked in a table test. Whether the steps
// work on the real programs is decided by tests/e2e, not here.
type world struct {
	t       *testing.T
	p       AppPolicy
	m       Memory
	now     time.Time
	tick    time.Duration
	process string
	proxyOK bool
	// deaf: HAProxy takes no orders.
	deaf    bool
	traffic TrafficObs
	orders  []sizing.Order
	queued  int
	web     map[string]int
	webOK   bool
	servers map[string]*fakeServer
	// lbs are several HAProxy instances; then HAProxy's side of servers means nothing.
	lbs []*fakeLB
	// log is every action in order, "kind server value".
	log     []Action
	reasons []Reason
	last    AppPlan
}

type fakeServer struct {
	admin      AdminState
	fromConfig bool
	up         bool
	checked    bool
	weight     int
	current    int
	agentOK    bool
	marksGone  bool
	ready      int
	target     int
	busy       float64
	warm       WarmState
	warmFails  bool
	maxconn    int
	address    string
	missing    bool
	// pool is what the agent says beyond the counts.
	pool PoolObs
	// told: the agent has a target, which may be 0.
	told bool
}

// fakeLB is one of several HAProxy instances.
type fakeLB struct {
	name, process string
	// silent: it does not answer. gone: nobody listens.
	silent, gone bool
	servers      map[string]*fakeServer
}

// restart gives it a new process, with all servers as its configuration has them: disabled, with a weight.
func (b *fakeLB) restart(process string) {
	b.process, b.silent, b.gone = process, false, false
	for _, f := range b.servers {
		f.admin, f.fromConfig, f.weight, f.up, f.current = AdminMaint, true, 100, false, 0
	}
}

// on puts the world's servers behind several instances, each in the state that the world has it in.
func (w *world) on(names ...string) *world {
	for i, name := range names {
		b := &fakeLB{name: name, process: fmt.Sprint(i+1, ":1"), servers: map[string]*fakeServer{}}
		for server, f := range w.servers {
			c := *f
			b.servers[server] = &c
		}
		w.lbs = append(w.lbs, b)
	}
	return w
}

func (w *world) lb(name string) *fakeLB {
	for _, b := range w.lbs {
		if b.name == name {
			return b
		}
	}
	return nil
}

func (f *fakeServer) seen() ProxyServerObs {
	return ProxyServerObs{Known: !f.missing, MaxConn: f.maxconn, Address: f.address, Admin: f.admin, FromConfig: f.fromConfig, Up: f.up && f.admin != AdminMaint, Checked: f.checked, Weight: f.weight, Current: f.current}
}

// proxies is what several instances say.
func (w *world) proxies() []InstanceObs {
	var out []InstanceObs
	for _, b := range w.lbs {
		o := InstanceObs{Name: b.name, ProxyObs: ProxyObs{Known: !b.silent && !b.gone, Gone: b.gone}}
		if o.Known {
			o.Process, o.Servers = b.process, map[string]ProxyServerObs{}
			for name, f := range b.servers {
				o.Servers[name] = f.seen()
				o.Current += f.current
			}
		}
		out = append(out, o)
	}
	return out
}

func newWorld(t *testing.T, p AppPolicy) *world {
	w := &world{
		t: t, p: p, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), tick: time.Second, process: "1:1", proxyOK: true, webOK: p.Web,
		traffic: TrafficObs{Known: true}, servers: map[string]*fakeServer{}, web: map[string]int{},
	}
	for _, s := range p.Servers {
		w.servers[s.Name] = &fakeServer{admin: AdminMaint, checked: true, agentOK: true, ready: s.ParkedWorkers}
	}
	return w
}

// serving puts a server into service before the first turn.
func (w *world) serving(name string, workers int) *fakeServer {
	s := w.servers[name]
	s.admin, s.up, s.weight, s.ready = AdminReady, true, w.p.Weight, workers
	w.web[name] = workers
	return s
}

func (w *world) observe() Observation {
	o := AppObs{Name: w.p.Name, Traffic: w.traffic, Orders: w.orders, Proxies: w.proxies()}
	if w.p.Proxied && w.proxyOK && len(w.lbs) == 0 {
		o.Proxy = ProxyObs{Known: true, Process: w.process, Queued: w.queued}
	}
	if w.p.Web && w.webOK {
		o.Web = WebObs{Known: true, Weights: map[string]int{}}
		for k, v := range w.web {
			o.Web.Weights[k] = v
		}
	}
	for _, sp := range w.p.Servers {
		f := w.servers[sp.Name]
		so := ServerObs{Name: sp.Name, Warm: f.warm}
		if o.Proxy.Known {
			so.Proxy = f.seen()
			o.Proxy.Current += f.current
		}
		if sp.Managed && f.agentOK {
			so.Pool = f.pool
			so.Pool.Known, so.Pool.BusyKnown, so.Pool.Total, so.Pool.Ready, so.Pool.Busy, so.Pool.Target, so.Pool.Ordered = true, !f.marksGone, f.ready, f.ready, f.busy, f.target, f.told
		}
		o.Servers = append(o.Servers, so)
	}
	for _, added := range w.m.Apps[w.p.Name].Added {
		if !slices.ContainsFunc(w.p.Servers, func(sp ServerPolicy) bool { return sp.Name == added.Server }) {
			o.Servers = append(o.Servers, ServerObs{Name: added.Server, Proxy: w.servers[added.Server].seen()})
		}
	}
	return Observation{Now: w.now, Apps: []AppObs{o}}
}

// turn decides once and makes what was ordered come true: workers one a turn, warm-ups and checks by the next turn.
func (w *world) turn() AppPlan {
	w.t.Helper()
	plan, m := Decide(Policy{Apps: []AppPolicy{w.p}}, w.m, w.observe())
	w.m = m
	w.last = plan.Apps[0]
	w.reasons = append(w.reasons, w.last.Reasons...)
	for name, f := range w.servers {
		if f.warm == WarmRunning {
			f.warm = WarmOK
			if f.warmFails {
				f.warm = WarmFailed
			}
		}
		if f.admin == AdminDrain {
			f.up = true
		}
		for _, b := range w.lbs {
			if b.servers[name].admin == AdminDrain {
				b.servers[name].up = true
			}
		}
		switch {
		case f.target > f.ready:
			f.ready++
		case (f.target > 0 || f.told) && f.target < f.ready:
			f.ready--
		}
	}
	for _, a := range w.last.Actions {
		w.do(a)
	}
	if w.last.Web != nil && w.webOK {
		for _, s := range w.last.Web {
			w.web[s.Server] = s.Weight
		}
	}
	w.now = w.now.Add(w.tick)
	return w.last
}

func (w *world) do(a Action) {
	w.log = append(w.log, a)
	f := w.servers[a.Server]
	if b := w.lb(a.Proxy); b != nil {
		if b.silent || b.gone {
			w.t.Errorf("%s of %s was ordered from %s, which does not answer", a.Kind, a.Server, a.Proxy)
		}
		f = b.servers[a.Server]
	}
	if w.deaf && a.Kind != SetWorkers && a.Kind != Warm {
		return
	}
	switch a.Kind {
	case SetWorkers:
		if p := &f.pool; a.Value < p.Min || p.Max > 0 && a.Value > p.Max {
			w.t.Errorf("%d workers were ordered of %s, whose agent takes %d to %d", a.Value, a.Server, p.Min, p.Max)
		}
		f.target, f.told = a.Value, true
	case Warm:
		f.warm = WarmRunning
	case Enter:
		f.weight, f.admin, f.up = a.Value, AdminDrain, false
	case Ready:
		f.weight, f.admin, f.up = a.Value, AdminReady, true
	case SetWeight:
		f.weight = a.Value
	case SetMaxConn:
		f.maxconn = a.Value
	case SetAddress:
		f.address = w.address(a.Server)
	case Add:
		f.missing, f.weight, f.admin, f.up, f.address = false, 0, AdminMaint, false, w.address(a.Server)
	case Delete:
		f.missing = true
	case Cut:
		f.current = 0
	case Drain:
		f.admin = AdminDrain
	case Park:
		f.weight, f.admin, f.up = 0, AdminMaint, false
	}
}

func (w *world) turns(n int) {
	w.t.Helper()
	for range n {
		w.turn()
	}
}

// kinds lists the kinds of the actions for one server, repeats folded.
func (w *world) kinds(server string) []ActionKind {
	var out []ActionKind
	for _, a := range w.log {
		if a.Server == server && (len(out) == 0 || out[len(out)-1] != a.Kind) {
			out = append(out, a.Kind)
		}
	}
	return out
}

func (w *world) phase(server string) Phase {
	return w.m.Apps[w.p.Name].Servers.Of(server).Phase
}

func (w *world) has(code Code) bool {
	for _, r := range w.reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}

// inService counts servers that get traffic.
func (w *world) inService() int {
	n := 0
	for _, f := range w.servers {
		if f.admin == AdminReady && f.up && f.weight > 0 {
			n++
		}
	}
	return n
}

func policy(strategy Strategy, servers ...ServerPolicy) AppPolicy {
	p := AppPolicy{
		Name: "shop", Strategy: strategy, Proxied: true, Servers: servers, MinServers: 1, MinWorkers: 1, Weight: 100, Ramp: []int{10, 50, 100},
		DrainDeadline: time.Minute, StartDeadline: 10 * time.Second, RetryAfter: 30 * time.Second, MaxOut: 1, ErrorStorm: 0.5,
		Latency: LatencyPolicy{Requests: 5, Threshold: 500 * time.Millisecond, Breaches: 3, Quiet: 60 * time.Second},
		Sizing:  sizing.Default(), Fill: 1,
	}
	p.Sizing.Busy = sizing.BusyPolicy{Target: 0.7, Window: 3 * time.Second}
	p.Sizing.LeadTime = 5 * time.Second
	p.Sizing.Down = sizing.DownPolicy{Window: 15 * time.Second, Every: 5 * time.Second, Share: 0.25, Tolerance: 0.06}
	for _, s := range servers {
		p.MaxWorkers += s.MaxWorkers
	}
	return p
}

func server(name string) ServerPolicy {
	return ServerPolicy{Name: name, Warm: true, MinWorkers: 1, MaxWorkers: 4, ParkedWorkers: 1}
}

func managed(name string) ServerPolicy {
	s := server(name)
	s.Managed = true
	return s
}

// address is where the policy has a server.
func (w *world) address(name string) string {
	for _, sp := range w.p.Servers {
		if sp.Name == name {
			return sp.Address
		}
	}
	return ""
}
