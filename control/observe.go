package control

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// nodeState is the last good report of a node.
type nodeState struct {
	at     time.Time
	report NodeReport
}

// sourceState is how a source did in the last turn.
type sourceState struct {
	err  error
	last time.Time
}

// sight is what one turn saw, before it is cut into observations of apps.
type sight struct {
	// proxies are what the instances say, in the order of the setup.
	proxies []proxySight
	traffic map[string]TrafficReport
	live    map[string]map[string]int
	webOK   bool
}

// observe asks every source at once, each under its own time limit.
func (l *Loop) observe(ctx context.Context, now time.Time) *sight {
	s := &sight{}
	var wg sync.WaitGroup
	s.proxies = make([]proxySight, len(l.setup.Proxies))
	for i, p := range l.setup.Proxies {
		w := l.watchOf(p.Name)
		wg.Go(func() { s.proxies[i] = l.ask(ctx, p, w) })
	}
	var mu sync.Mutex
	nodeErrs := map[string]error{}
	reports := map[string]NodeReport{}
	for name, node := range l.setup.Nodes {
		wg.Go(func() {
			report, err := node.Report(ctx)
			mu.Lock()
			defer mu.Unlock()
			nodeErrs[name], reports[name] = err, report
		})
	}
	backlogs := make([]backlogState, len(l.setup.Apps))
	for i := range l.setup.Apps {
		if source := l.setup.Apps[i].Backlog; source != nil {
			wg.Go(func() {
				b := &backlogs[i]
				b.value, b.at, b.err = source.Read(ctx)
			})
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return s
	}
	l.noteBacklogs(backlogs, now)
	for i, p := range l.setup.Proxies {
		err := s.proxies[i].err
		if err == nil {
			err = l.missing(p.Name, s.proxies[i].state)
		}
		l.note(sourceOf(p.Name), err, now)
	}
	for name := range l.setup.Nodes {
		l.note("agent "+name, nodeErrs[name], now)
		if nodeErrs[name] == nil {
			l.nodes[name] = nodeState{at: now, report: reports[name]}
		}
	}
	if l.setup.Names != nil {
		l.note("names", l.setup.nameTrouble(), now)
	}
	if l.setup.Traffic != nil {
		s.traffic = l.setup.Traffic.Take(now)
	}
	if l.setup.Web != nil {
		s.live, s.webOK = l.web.live()
	}
	return s
}

// backlogState is the last good reading of a message queue.
type backlogState struct {
	at    time.Time
	value sizing.Backlog
	err   error
}

func (l *Loop) noteBacklogs(read []backlogState, now time.Time) {
	for i := range l.setup.Apps {
		a := &l.setup.Apps[i]
		if a.Backlog == nil {
			delete(l.backlogs, a.Policy.Name)
			continue
		}
		l.note("queue of "+a.Policy.Name, read[i].err, now)
		if read[i].err == nil {
			l.backlogs[a.Policy.Name] = read[i]
		}
	}
}

// missing names backends of the configuration that HAProxy does not have.
func (l *Loop) missing(instance string, state *ProxyState) error {
	var names []string
	for _, b := range l.setup.backends(instance) {
		if _, ok := state.Backends[b]; !ok {
			names = append(names, b)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("HAProxy has no backend %s, which the configuration names", strings.Join(names, ", "))
}

// note logs a source's trouble once, and its return.
func (l *Loop) note(name string, err error, now time.Time) {
	st := l.sources[name]
	st.err = err
	if err == nil {
		st.last = now
		l.quiet.Clear("source "+name, "a source answers again", "source", name)
	} else {
		l.meters.sourceError(name)
		l.quiet.Warn("source "+name, "a source does not answer", "source", name, "error", err)
	}
	l.sources[name] = st
}

// observation cuts the sight into one observation per app.
func (l *Loop) observation(s *sight, now time.Time) core.Observation {
	// The core is told the time of day alone: what the process knows beside it could not be written down for a replay.
	out := core.Observation{Now: now.Round(0).UTC(), Nodes: l.nodeObs(s, now)}
	if l.saveErr != nil {
		out.Problem = fmt.Sprintf("the state cannot be saved (%v)", l.saveErr)
	}
	for i := range l.setup.Apps {
		a := &l.setup.Apps[i]
		obs := core.AppObs{Name: a.Policy.Name, Traffic: l.trafficObs(a, s, now), Orders: l.orders.of(a.Policy.Name)}
		if b, ok := l.backlogs[a.Policy.Name]; ok && now.Sub(b.at) <= a.StaleAfter {
			obs.Backlog = &b.value
		}
		servers := l.proxyObs(a, s, &obs)
		if a.Policy.Web && s.webOK {
			obs.Web = core.WebObs{Known: true, Weights: map[string]int{}}
		}
		for _, srv := range a.Servers {
			so := core.ServerObs{Name: srv.Name, Proxy: servers[srv.Name], Warm: l.warmer.state(a.Policy.Name, srv.Name)}
			so.Answers, so.AnswersKnown = l.answers(a, s, srv.Name)
			if srv.Node != "" {
				so.Pool = l.poolObs(a, srv, now)
			}
			if obs.Web.Known {
				obs.Web.Weights[srv.Name] = s.live[a.Upstream.Name][srv.Name]
			}
			obs.Servers = append(obs.Servers, so)
		}
		// What tidegate added stays in sight when it has left the configuration, until it is deleted.
		for _, added := range l.memory.Apps[a.Policy.Name].Added {
			if a.server(added.Server) == nil && servers[added.Server].Known {
				obs.Servers = append(obs.Servers, core.ServerObs{Name: added.Server, Proxy: servers[added.Server]})
			}
		}
		out.Apps = append(out.Apps, obs)
	}
	return out
}

func (l *Loop) trafficObs(a *App, s *sight, now time.Time) core.TrafficObs {
	t, ok := s.traffic[a.Backend]
	if !ok || !a.Policy.Proxied || t.Last.IsZero() {
		return core.TrafficObs{}
	}
	// A message may have come while this turn was looking elsewhere.
	age := max(0, now.Sub(t.Last))
	if age > a.StaleAfter {
		return core.TrafficObs{Age: age}
	}
	return core.TrafficObs{
		Known: true, Rate: t.Rate, Errors: t.Errors, Age: age, Seconds: t.Seconds, InFlight: t.InFlight, Queued: t.Queued,
		P50: t.P50, P95: t.P95, P99: t.P99, Responses: t.Responses,
	}
}

// poolObs is the node's report of the app while it is fresh enough.
func (l *Loop) poolObs(a *App, srv Server, now time.Time) core.PoolObs {
	st, ok := l.nodes[srv.Node]
	if !ok || now.Sub(st.at) > a.StaleAfter {
		return core.PoolObs{}
	}
	pool, ok := st.report.Pools[a.Policy.Name]
	if !ok {
		l.quiet.Warn("pool "+srv.Node+"/"+a.Policy.Name, "the node's agent does not know the app", "node", srv.Node, "app", a.Policy.Name)
		return core.PoolObs{}
	}
	pool.Age += now.Sub(st.at)
	return pool
}
