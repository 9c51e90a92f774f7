package core_test

import (
	"fmt"
	"math"
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

// site is a world of one to three apps that share a clock, a memory and a HAProxy.
type site struct {
	r       *rand.Rand
	now     time.Time
	process int
	known   bool
	policy  core.Policy
	memory  core.Memory
	apps    []*appWorld
	story   []string
}

type appWorld struct {
	policy   *core.AppPolicy
	servers  []*machine
	traffic  core.TrafficObs
	webKnown bool
	// Of the last minute: what was carried out by HAProxy and the agents, by nginx, and what was ordered.
	out, webOut, asked []outEvent
}

// machine is a server with its workers.
type machine struct {
	policy        *core.ServerPolicy
	admin         core.AdminState
	fromConfig    bool
	up, silent    bool
	weight        int
	ready, target int
	current, busy int
	web           int
	warm          core.WarmState
}

// outEvent is capacity that was taken from a machine that had so much.
type outEvent struct {
	at          time.Time
	server      string
	amount, had float64
}

func newFleet(seed uint64) *site {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &site{r: r, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), known: true}
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
		a := &appWorld{policy: &w.policy.Apps[i], webKnown: true, traffic: core.TrafficObs{Known: true}}
		for k := range a.policy.Servers {
			m := &machine{policy: &a.policy.Servers[k], admin: core.AdminMaint, ready: 1}
			if r.IntN(4) > 0 {
				m.admin, m.up, m.weight, m.ready, m.web = core.AdminReady, true, 100, m.policy.MaxWorkers, m.policy.MaxWorkers
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
	if r.IntN(80) == 0 {
		w.process++
		w.note("HAProxy starts anew")
		for _, a := range w.apps {
			for _, m := range a.servers {
				m.admin, m.fromConfig, m.weight, m.up = core.AdminMaint, true, 100, false
				if m.policy.AlwaysUp {
					m.admin, m.fromConfig, m.up = core.AdminReady, false, true
				}
			}
		}
	}
	if w.known = w.known || r.IntN(3) == 0; r.IntN(60) == 0 {
		w.known = false
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
	switch r.IntN(22) {
	case 0, 1:
		m.up = false
		w.note("%s/%s dies", a.policy.Name, m.policy.Name)
	case 2, 3, 4, 5:
		m.up = m.admin != core.AdminMaint
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
		m.current = r.IntN(3)
	case 18:
		m.current = 0
	case 19:
		m.admin, m.up = pick(r, core.AdminMaint, core.AdminDrain, core.AdminReady), true
		w.note("a human sets %s/%s to %s", a.policy.Name, m.policy.Name, m.admin)
	case 20:
		m.weight = pick(r, 0, 50)
		w.note("a human gives %s/%s weight %d", a.policy.Name, m.policy.Name, m.weight)
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
	if m.admin == core.AdminDrain && !m.up {
		m.up = true
	}
	if m.warm == core.WarmRunning {
		m.warm = core.WarmOK
	}
}

func (w *site) observe() core.Observation {
	o := core.Observation{Now: w.now}
	for _, a := range w.apps {
		ao := core.AppObs{Name: a.policy.Name, Traffic: a.traffic}
		if a.policy.Proxied && w.known {
			ao.Proxy = core.ProxyObs{Known: true, Process: fmt.Sprint(w.process)}
		}
		if a.policy.Web && a.webKnown {
			ao.Web = core.WebObs{Known: true, Weights: map[string]int{}}
		}
		for _, m := range a.servers {
			so := core.ServerObs{Name: m.policy.Name, Warm: m.warm}
			if ao.Proxy.Known {
				so.Proxy = core.ProxyServerObs{Known: true, Admin: m.admin, FromConfig: m.fromConfig, Up: m.up && m.admin != core.AdminMaint,
					Checked: true, Weight: m.weight, Current: m.current}
				ao.Proxy.Current += m.current
			}
			if m.policy.Managed && !m.silent {
				so.Pool = core.PoolObs{Known: true, BusyKnown: true, Total: m.ready, Ready: m.ready, Busy: float64(min(m.busy, m.ready)), Target: m.target}
			}
			if ao.Web.Known {
				ao.Web.Weights[m.policy.Name] = m.web
			}
			ao.Servers = append(ao.Servers, so)
		}
		o.Apps = append(o.Apps, ao)
	}
	return o
}

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
			w.note("%s/%s: %s %d", a.policy.Name, act.Server, act.Kind, act.Value)
		}
		if err := a.judge(w.now, o.Apps[i], ap, done, total); err != nil {
			return fmt.Errorf("%s: %w", a.policy.Name, err)
		}
		a.carryOut(done)
	}
	return nil
}

func (w *site) note(format string, args ...any) {
	w.story = append(w.story, w.now.Format("04:05.0 ")+fmt.Sprintf(format, args...))
}

// String tells the end of the story and how things stand, for a failure.
func (w *site) String() string {
	text := ""
	for _, line := range w.story[max(0, len(w.story)-60):] {
		text += line + "\n"
	}
	for _, a := range w.apps {
		text += fmt.Sprintf("%s: proxied %v, web %v, max out %v, floor %d, strategy %s\n", a.policy.Name, a.policy.Proxied, a.policy.Web, a.policy.MaxOut, a.policy.MinServers, a.policy.Strategy)
		for _, m := range a.servers {
			text += fmt.Sprintf("    %+v\n", *m)
		}
	}
	return text
}

// size is what a machine is worth when it takes requests.
func (m *machine) size(o core.ServerObs) float64 {
	if m.policy.Managed {
		return float64(o.Pool.Ready)
	}
	return math.Max(1, float64(m.policy.MaxWorkers))
}

// takes tells whether HAProxy sends requests to a machine that can answer them.
func takes(p *core.AppPolicy, m *machine, o core.ServerObs) bool {
	able := !m.policy.Managed || o.Pool.Known && o.Pool.Ready > 0
	if p.Proxied {
		return able && o.Proxy.Known && o.Proxy.Admin == core.AdminReady && o.Proxy.Up && o.Proxy.Weight > 0
	}
	return able && m.web > 0
}

// leaving lists what a plan takes from machines that take requests: by HAProxy or their agent, and by nginx.
func (a *appWorld) leaving(now time.Time, o core.AppObs, plan core.AppPlan) (events, gone []outEvent) {
	for i, m := range a.servers {
		so := o.Servers[i]
		if !takes(a.policy, m, so) {
			continue
		}
		has := m.size(so)
		for _, act := range plan.Actions {
			if act.Server != m.policy.Name {
				continue
			}
			switch act.Kind {
			case core.Drain, core.Park, core.Enter:
				events = append(events, outEvent{now, act.Server, has, has})
			case core.SetWorkers:
				if less := has - float64(act.Value); less > 0 {
					events = append(events, outEvent{now, act.Server, less, has})
				}
			}
		}
		// nginx also drops what a human holds or what died; that is no one's plan.
		for _, ws := range plan.Web {
			if ws.Server == m.policy.Name && ws.Weight == 0 && m.web > 0 {
				gone = append(gone, outEvent{now, ws.Server, has, has})
			}
		}
	}
	if !a.policy.Proxied {
		return append(events, gone...), nil
	}
	return events, gone
}

// judge is the oracle: it knows neither phases nor memories. What was ordered may have got lost; what counts is what was
// carried out, of what there was when it was ordered.
func (a *appWorld) judge(now time.Time, o core.AppObs, ordered, done core.AppPlan, total *tally) error {
	asked, askedGone := a.leaving(now, o, ordered)
	a.asked = append(append(lastMinute(a.asked, now), asked...), askedGone...)
	events, gone := a.leaving(now, o, done)
	left := map[string]bool{}
	for _, e := range events {
		if e.amount == e.had {
			left[e.server] = true
			total.leaves++
		} else {
			total.workers++
		}
	}
	total.web += len(gone)
	if err := a.lastReady(o, left, total); err != nil {
		return err
	}
	a.out, a.webOut = append(lastMinute(a.out, now), events...), append(lastMinute(a.webOut, now), gone...)
	whole, largest := a.had(o)
	for where, left := range map[string][]outEvent{"HAProxy and workers": events, "nginx": gone} {
		window := map[string][]outEvent{"HAProxy and workers": a.out, "nginx": a.webOut}[where]
		sum := 0.0
		for _, e := range window {
			sum += e.amount
		}
		if most := max(a.policy.MaxOut*whole, largest); len(left) > 0 && sum > most+1e-6 {
			return fmt.Errorf("%s: %.0f of %.0f left within a minute, at most %.1f may: %+v", where, sum, whole, most, window)
		}
	}
	return nil
}

// lastReady: whoever leaves leaves enough others behind that take requests.
func (a *appWorld) lastReady(o core.AppObs, left map[string]bool, total *tally) error {
	stay := 0
	for i, m := range a.servers {
		if takes(a.policy, m, o.Servers[i]) && !left[m.policy.Name] {
			stay++
		}
	}
	if stay == a.policy.MinServers {
		total.floor++
	}
	if len(left) > 0 && stay < a.policy.MinServers {
		return fmt.Errorf("%v left, and %d servers that take requests stay (floor %d)", left, stay, a.policy.MinServers)
	}
	return nil
}

func lastMinute(out []outEvent, now time.Time) (window []outEvent) {
	for _, e := range out {
		if now.Sub(e.at) < time.Minute {
			window = append(window, e)
		}
	}
	return window
}

// had is what there is, and what there was where something left within the minute: in all, and on the largest machine.
func (a *appWorld) had(o core.AppObs) (whole, largest float64) {
	for i, m := range a.servers {
		had := 0.0
		if takes(a.policy, m, o.Servers[i]) {
			had = m.size(o.Servers[i])
		}
		for _, e := range a.asked {
			if e.server == m.policy.Name {
				had = max(had, e.had)
			}
		}
		whole += had
		largest = max(largest, had)
	}
	return whole, largest
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
			case core.Warm:
				m.warm = core.WarmRunning
			case core.Enter:
				m.weight, m.admin, m.up = act.Value, core.AdminDrain, false
			case core.Ready:
				m.weight, m.admin, m.up = act.Value, core.AdminReady, true
			case core.SetWeight:
				m.weight = act.Value
			case core.Drain:
				m.admin = core.AdminDrain
			case core.Park:
				m.weight, m.admin, m.up = 0, core.AdminMaint, false
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
