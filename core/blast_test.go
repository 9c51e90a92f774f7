package core_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// TestBlastRadius makes random plans in random worlds, in which servers die, agents fall silent, HAProxy restarts, people
// interfere, orders get lost and the memory, too, and holds each plan against an account of its own, made of nothing but what was
// observed and what was ordered: never the last ready server, never below the floor, never more than the share of the
// capacity (or one server) within a minute. TIDEGATE_PLANS says how many (make promises: a million).
func TestBlastRadius(t *testing.T) {
	plans := 20_000
	if text := os.Getenv("TIDEGATE_PLANS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("TIDEGATE_PLANS=%q: %v", text, err)
		}
		plans = n
	}
	var total tally
	for life := uint64(0); total.plans < plans; life++ {
		w := newFleet(life)
		for turn := range 300 {
			w.happen()
			if err := w.turn(&total); err != nil {
				t.Fatalf("life %d, turn %d: %v\n%s", life, turn, err, w)
			}
		}
	}
	t.Logf("%d plans: %+v", total.plans, total)
	// A test in which nothing ever leaves would prove nothing.
	if least := plans / 1000; total.leaves < least || total.workers < least || total.limited < least || total.web < least/10 || total.floor < least/10 {
		t.Errorf("too little happened in %d plans: %+v", plans, total)
	}
}

// tally counts what happened, to know that the worlds are lively.
type tally struct {
	plans, leaves, workers, web, limited int
	// floor counts plans with no more servers than the floor in service.
	floor int
}

// balancers is the number of HAProxy instances. An app is on the first, or on all.
const balancers = 2

// site is a world of one to three apps that share a clock, a memory and HAProxy instances.
type site struct {
	r       *rand.Rand
	now     time.Time
	process [balancers]int
	known   [balancers]bool
	policy  core.Policy
	memory  core.Memory
	apps    []*appWorld
	story   []event
}

type appWorld struct {
	policy   *core.AppPolicy
	servers  []*machine
	traffic  core.TrafficObs
	webKnown bool
	on       int // HAProxy instances
	// Of the last minute: what was carried out by each HAProxy and the agents, by nginx, and what was ordered.
	out           [balancers][]outEvent
	webOut, asked []outEvent
}

// machine is a server with its workers.
type machine struct {
	policy        *core.ServerPolicy
	seats         [balancers]seat
	silent        bool
	ready, target int
	busy          int
	web           int
	warm          core.WarmState
}

// seat is a machine on a HAProxy instance.
type seat struct {
	admin           core.AdminState
	fromConfig, up  bool
	weight, current int
}

// outEvent is capacity that was taken from a machine that had so much.
type outEvent struct {
	at          time.Time
	server      string
	amount, had float64
}

func newFleet(seed uint64) *site {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &site{r: r, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), known: [balancers]bool{true, true}}
	for a := range 1 + r.IntN(3) {
		p := core.AppPolicy{
			Name: fmt.Sprint("app", a), Strategy: pick(r, core.Latency, core.BusyRatio, core.BusyRatio), Proxied: r.IntN(4) > 0, MinServers: 1 + r.IntN(2),
			MinWorkers: 1, Fill: 1, Weight: 100, Ramp: pick(r, []int{100}, []int{10, 100}), DrainDeadline: 5 * time.Second, StartDeadline: 10 * time.Second,
			RetryAfter: 10 * time.Second, MaxOut: pick(r, 0.05, 0.2, 0.2, 0.5, 1), ErrorStorm: 0.5,
			Latency: core.LatencyPolicy{Requests: 2, Threshold: 500 * time.Millisecond, Breaches: 2, Quiet: time.Duration(r.IntN(10)) * time.Second},
			Sizing:  sizing.Default(),
		}
		p.Web = !p.Proxied || r.IntN(2) == 0
		p.Sizing.Busy = sizing.BusyPolicy{Target: 0.7, Window: 3 * time.Second}
		p.Sizing.LeadTime = 2 * time.Second
		p.Sizing.Down = sizing.DownPolicy{Window: 5 * time.Second, Every: time.Second, Share: pick(r, 0.25, 1), Tolerance: 0.06}
		managed := p.Strategy != core.Latency || r.IntN(2) == 0
		for i := range 1 + r.IntN(8) {
			s := core.ServerPolicy{Name: fmt.Sprint("s", i), Managed: managed, Node: fmt.Sprint("n", i), MinWorkers: 1, MaxWorkers: 1 + r.IntN(8), ParkedWorkers: 1,
				AlwaysUp: r.IntN(8) == 0, Initial: pick(r, "", "", "up", "down"), Warm: r.IntN(2) == 0}
			p.MaxWorkers += s.MaxWorkers
			p.Servers = append(p.Servers, s)
		}
		w.policy.Apps = append(w.policy.Apps, p)
	}
	for i := range w.policy.Apps {
		a := &appWorld{policy: &w.policy.Apps[i], on: 1 + r.IntN(balancers), webKnown: true, traffic: core.TrafficObs{Known: true}}
		for k := range a.policy.Servers {
			m := &machine{policy: &a.policy.Servers[k], seats: [balancers]seat{{admin: core.AdminMaint}, {admin: core.AdminMaint}}, ready: 1}
			if r.IntN(4) > 0 {
				m.ready, m.web = m.policy.MaxWorkers, m.policy.MaxWorkers
				for k := range m.seats {
					m.seats[k] = seat{admin: core.AdminReady, up: true, weight: 100}
				}
			}
			a.servers = append(a.servers, m)
		}
		w.apps = append(w.apps, a)
	}
	return w
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// happen lets time pass and things go wrong.
func (w *site) happen() {
	r := w.r
	w.now = w.now.Add(time.Duration(500+r.IntN(4000)) * time.Millisecond)
	if r.IntN(50) == 0 {
		w.now = w.now.Add(time.Duration(r.IntN(90)) * time.Second)
	}
	for k := range balancers {
		if r.IntN(80) == 0 {
			w.process[k]++
			w.note("HAProxy %d starts anew", k)
			for _, a := range w.apps {
				for _, m := range a.servers {
					m.seats[k] = seat{admin: core.AdminMaint, fromConfig: true, weight: 100}
					if m.policy.AlwaysUp {
						m.seats[k] = seat{admin: core.AdminReady, up: true, weight: 100}
					}
				}
			}
		}
		if w.known[k] = w.known[k] || r.IntN(3) == 0; r.IntN(60) == 0 {
			w.known[k] = false
		}
	}
	if r.IntN(150) == 0 {
		w.memory = core.Memory{}
		w.note("the memory is lost")
	}
	for _, a := range w.apps {
		// A tidegate that starts without a memory reads what nginx has; a new site, of which nothing is known, has nothing to lose.
		if a.webKnown = a.webKnown || w.memory.Apps == nil || r.IntN(3) == 0; r.IntN(40) == 0 && w.memory.Apps != nil {
			a.webKnown = false
		}
		a.traffic.Responses = nil
		if r.IntN(15) == 0 {
			a.traffic.Responses = []time.Duration{time.Second, time.Second, time.Second}
		}
		m := a.servers[r.IntN(len(a.servers))]
		w.strike(a, m)
		for _, m := range a.servers {
			m.follow()
		}
	}
}

// strike hurts or heals one machine.
func (w *site) strike(a *appWorld, m *machine) {
	r := w.r
	k := r.IntN(a.on)
	at := &m.seats[k]
	switch r.IntN(22) {
	case 0, 1:
		for i := range m.seats {
			// Sometimes only one HAProxy finds it so.
			m.seats[i].up = m.seats[i].up && i != k && r.IntN(2) == 0
		}
		w.note("%s/%s dies", a.policy.Name, m.policy.Name)
	case 2, 3, 4, 5:
		for i := range m.seats {
			m.seats[i].up = m.seats[i].admin != core.AdminMaint
		}
	case 6:
		m.silent = true
	case 7, 8, 9:
		m.silent = false
	case 10:
		m.ready = r.IntN(m.ready + 1)
		w.note("%s/%s has %d workers left", a.policy.Name, m.policy.Name, m.ready)
	case 11, 12, 13:
		for _, m := range a.servers {
			m.busy = r.IntN(m.policy.MaxWorkers + 1)
		}
	case 14, 15, 16:
		for _, m := range a.servers {
			m.busy = 0
		}
	case 17:
		at.current = r.IntN(3)
	case 18:
		at.current = 0
	case 19:
		at.admin, at.up = pick(r, core.AdminMaint, core.AdminDrain, core.AdminReady), true
		w.note("a human sets %s/%s on %d to %s", a.policy.Name, m.policy.Name, k, at.admin)
	case 20:
		at.weight = pick(r, 0, 50)
		w.note("a human gives %s/%s on %d weight %d", a.policy.Name, m.policy.Name, k, at.weight)
	}
}

// follow lets workers come and go as ordered, one at a time, checks pass and warm-ups end.
func (m *machine) follow() {
	switch {
	case m.target > m.ready:
		m.ready++
	case m.target > 0 && m.target < m.ready:
		m.ready--
	}
	for k := range m.seats {
		if at := &m.seats[k]; at.admin == core.AdminDrain {
			at.up = true
		}
	}
	if m.warm == core.WarmRunning {
		m.warm = core.WarmOK
	}
}

func (w *site) observe() core.Observation {
	o := core.Observation{Now: w.now}
	for _, a := range w.apps {
		ao := core.AppObs{Name: a.policy.Name, Traffic: a.traffic}
		for k := range balancers {
			if !a.policy.Proxied || k >= a.on {
				break
			}
			at := core.InstanceObs{Name: instance(k), Servers: map[string]core.ProxyServerObs{}}
			if w.known[k] {
				at.ProxyObs = core.ProxyObs{Known: true, Process: fmt.Sprint(k, ":", w.process[k])}
				for _, m := range a.servers {
					s := m.seats[k]
					at.Servers[m.policy.Name] = core.ProxyServerObs{Known: true, Admin: s.admin, FromConfig: s.fromConfig, Up: s.up && s.admin != core.AdminMaint,
						Checked: true, Weight: s.weight, Current: s.current}
					at.Current += s.current
				}
			}
			if a.on == 1 {
				ao.Proxy = at.ProxyObs
			}
			ao.Proxies = append(ao.Proxies, at)
		}
		if a.policy.Web && a.webKnown {
			ao.Web = core.WebObs{Known: true, Weights: map[string]int{}}
		}
		for _, m := range a.servers {
			so := core.ServerObs{Name: m.policy.Name, Warm: m.warm}
			if a.on == 1 && ao.Proxy.Known {
				so.Proxy = ao.Proxies[0].Servers[m.policy.Name]
			}
			if m.policy.Managed && !m.silent {
				so.Pool = core.PoolObs{Known: true, BusyKnown: true, Total: m.ready, Ready: m.ready, Busy: float64(min(m.busy, m.ready)), Target: m.target}
			}
			if ao.Web.Known {
				ao.Web.Weights[m.policy.Name] = m.web
			}
			ao.Servers = append(ao.Servers, so)
		}
		if a.on == 1 {
			ao.Proxies = nil // how one HAProxy is told of
		}
		o.Apps = append(o.Apps, ao)
	}
	return o
}

func instance(k int) string { return fmt.Sprint("lb", k) }

// turn makes one plan, holds it against the account and carries it out, unless HAProxy or nginx is deaf this time.
func (w *site) turn(total *tally) error {
	o := w.observe()
	plan, memory := core.Decide(w.policy, w.memory, o)
	w.memory = memory
	total.plans++
	for i, a := range w.apps {
		ap := plan.Apps[i]
		for _, reason := range ap.Reasons {
			if reason.Code == core.CodeLimited {
				total.limited++
			}
		}
		deaf, webDeaf := w.r.IntN(20) == 0, !a.webKnown || w.r.IntN(5) == 0
		done := ap
		if deaf {
			done.Actions = nil
		}
		if webDeaf {
			done.Web = nil
		}
		for _, act := range done.Actions {
			w.note("%s/%s: %s %s %d", a.policy.Name, act.Server, act.Proxy, act.Kind, act.Value)
		}
		if err := a.judge(w.now, &o.Apps[i], ap, done, total); err != nil {
			return fmt.Errorf("%s: %w", a.policy.Name, err)
		}
		a.carryOut(done)
	}
	return nil
}

// event is a line of the story, written out when it is needed.
type event struct {
	at     time.Time
	format string
	args   []any
}

func (w *site) note(format string, args ...any) {
	w.story = append(w.story, event{w.now, format, args})
}

// String tells the end of the story and how things stand, for a failure.
func (w *site) String() string {
	text := ""
	for _, line := range w.story[max(0, len(w.story)-60):] {
		text += line.at.Format("04:05.0 ") + fmt.Sprintf(line.format, line.args...) + "\n"
	}
	for _, a := range w.apps {
		text += fmt.Sprintf("%s: on %d, proxied %v, web %v, max out %v, floor %d, strategy %s\n", a.policy.Name, a.on, a.policy.Proxied, a.policy.Web, a.policy.MaxOut, a.policy.MinServers, a.policy.Strategy)
		for _, m := range a.servers {
			text += fmt.Sprintf("    %+v\n", *m)
		}
	}
	return text
}

func (a *appWorld) carryOut(plan core.AppPlan) {
	for _, act := range plan.Actions {
		for _, m := range a.servers {
			if m.policy.Name != act.Server {
				continue
			}
			switch act.Kind {
			case core.SetWorkers:
				if !m.silent {
					m.target = act.Value
				}
				continue
			case core.Warm:
				m.warm = core.WarmRunning
				continue
			}
			for k := range a.on {
				if a.on == 1 || act.Proxy == instance(k) {
					m.seats[k].take(act)
				}
			}
		}
	}
	for _, ws := range plan.Web {
		for _, m := range a.servers {
			if m.policy.Name == ws.Server {
				m.web = ws.Weight
			}
		}
	}
}

// take carries out a step on a HAProxy.
func (s *seat) take(act core.Action) {
	switch act.Kind {
	case core.Enter:
		s.weight, s.admin, s.up = act.Value, core.AdminDrain, false
	case core.Ready:
		s.weight, s.admin, s.up = act.Value, core.AdminReady, true
	case core.SetWeight:
		s.weight = act.Value
	case core.Drain:
		s.admin = core.AdminDrain
	case core.Park:
		s.weight, s.admin, s.up = 0, core.AdminMaint, false
	}
}
