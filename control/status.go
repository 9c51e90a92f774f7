package control

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
)

// keptEvents is how many decisions and steps the status shows.
const keptEvents = 100

// eventLog keeps the last events and the last decision of each app.
type eventLog struct {
	mu   sync.Mutex
	ring []api.Event
	last map[string]api.Event
}

func (e *eventLog) add(ev api.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ring = append(e.ring, ev)
	if n := len(e.ring) - keptEvents; n > 0 {
		e.ring = append(e.ring[:0], e.ring[n:]...)
	}
	if !ev.Step && ev.App != "" {
		if e.last == nil {
			e.last = map[string]api.Event{}
		}
		e.last[ev.App] = ev
	}
}

func (e *eventLog) newest() []api.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := slices.Clone(e.ring)
	slices.Reverse(out)
	return out
}

func (e *eventLog) lastOf(app string) *api.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev, ok := e.last[app]; ok {
		return &ev
	}
	return nil
}

// account adds up worker-seconds of one app.
type account struct{ ran, alwaysOn float64 }

// publish makes the turn visible to the API and the metrics.
func (l *Loop) publish(s *sight, plan core.Plan, now time.Time) {
	st := &api.Status{Version: l.version, Started: l.started.UTC(), Now: now.UTC(), Turn: l.turn, TickMS: ms(l.setup.Tick)}
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		src := l.sources[name]
		out := api.Source{Name: name, OK: src.err == nil, AgeMS: ms(now.Sub(src.last))}
		if src.last.IsZero() {
			out.AgeMS = -1
		}
		if src.err != nil {
			out.Problem = src.err.Error()
		}
		st.Sources = append(st.Sources, out)
	}
	reloads, nginx, webErr := l.web.report()
	if l.setup.Web != nil {
		st.Nginx = &nginx
		src := api.Source{Name: "nginx", OK: webErr == nil}
		if webErr != nil {
			src.Problem = webErr.Error()
		}
		st.Sources = append(st.Sources, src)
	}
	if l.setup.Traffic != nil {
		st.SPOA = l.setup.Traffic.State()
		st.Sources = append(st.Sources, l.spoeSource(s, now))
	}
	step := time.Duration(0)
	if !l.unixTurn.IsZero() {
		step = min(now.Sub(l.unixTurn), 10*l.setup.Tick)
	}
	l.unixTurn = now
	for i, p := range plan.Apps {
		a := l.appStatus(&l.setup.Apps[i], p, s, now, step)
		l.sized(&a, &l.setup.Apps[i], &plan.Apps[i], now)
		l.meters.app(a)
		st.Apps = append(st.Apps, a)
	}
	st.Totals = l.meters.totals(reloads)
	l.meters.turns.Inc()
	l.status.Store(st)
}

// spoeSource tells whether anything comes from HAProxy's filter.
func (l *Loop) spoeSource(s *sight, now time.Time) api.Source {
	src := api.Source{Name: "spoe", AgeMS: -1, Problem: "no message has come from HAProxy's filter yet"}
	for i := range l.setup.Apps {
		a := &l.setup.Apps[i]
		t, ok := s.traffic[a.Backend]
		if !ok || t.Last.IsZero() || !a.Policy.Proxied {
			continue
		}
		// A message may have come while this turn was looking elsewhere.
		age := max(0, now.Sub(t.Last))
		if src.AgeMS < 0 || ms(age) < src.AgeMS {
			src.AgeMS = ms(age)
		}
		if age <= a.StaleAfter {
			src.OK, src.Problem = true, ""
		} else if !src.OK {
			src.Problem = "the last message from HAProxy's filter is " + age.Round(time.Second).String() + " old"
		}
	}
	proxied := slices.ContainsFunc(l.setup.Apps, func(a App) bool { return a.Policy.Proxied })
	if !proxied {
		src.OK, src.Problem = true, ""
	}
	return src
}

func (l *Loop) appStatus(app *App, p core.AppPlan, s *sight, now time.Time, step time.Duration) api.App {
	out := api.App{Name: p.Name, Strategy: string(app.Policy.Strategy), TrafficAgeMS: -1, OpenKnown: -1, OldestOpenMS: -1, Hold: string(l.memory.Apps[p.Name].Hold), Last: l.events.lastOf(p.Name)}
	if t, ok := s.traffic[app.Backend]; ok && app.Policy.Proxied && !t.Last.IsZero() {
		out.Rate, out.P50MS, out.P95MS, out.P99MS, out.TrafficAgeMS = t.Rate, ms(t.P50), ms(t.P95), ms(t.P99), ms(max(0, now.Sub(t.Last)))
		out.InFlight, out.Queued = t.InFlight, t.Queued
		out.OpenKnown, out.OldestOpenMS = t.Open, ms(t.OldestOpen)
	}
	on := l.proxyStatus(app, s, &out)
	always := 0
	for i, t := range p.Targets {
		srv := app.Servers[i]
		sv := api.Server{Name: srv.Name, Node: srv.Node, Phase: string(t.Phase), Serve: t.Serve, Workers: t.Workers, Web: -1}
		l.serverProxies(app, s, on, &sv)
		if app.Policy.Web && s.webOK {
			sv.Web = s.live[app.Upstream.Name][srv.Name]
		}
		if srv.Node != "" {
			pool := l.poolObs(app, srv, now)
			sv.PoolKnown, sv.Busy, sv.Ready, sv.Total = pool.Known, pool.Busy, pool.Ready, pool.Total
			out.Busy += pool.Busy
			out.Ready += pool.Ready
			out.Total += pool.Total
			always += app.Policy.Servers[i].MaxWorkers
		}
		if t.Serve {
			out.Wanted += t.Workers
		}
		out.Servers = append(out.Servers, sv)
	}
	acc := l.account[p.Name]
	if acc == nil {
		acc = &account{}
		l.account[p.Name] = acc
	}
	acc.ran += float64(out.Total) * step.Seconds()
	acc.alwaysOn += float64(always) * step.Seconds()
	out.WorkerSeconds, out.AlwaysOnSeconds = acc.ran, acc.alwaysOn
	return out
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
