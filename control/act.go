package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
)

// act carries out one turn's plan: worker counts that grow, the HAProxy batch, warm-ups, nginx, worker counts that shrink.
// A step that fails is journalled; the next turn sees that it did not take and orders it again.
func (l *Loop) act(ctx context.Context, s *sight, plan core.Plan, now time.Time) {
	var workers, proxy, warm []core.Action
	upstreams, wanted := make([]WebUpstream, 0, len(plan.Apps)), 0
	for _, p := range plan.Apps {
		app := l.setup.app(p.Name)
		for _, a := range p.Actions {
			switch a.Kind {
			case core.SetWorkers:
				workers = append(workers, a)
			case core.Warm:
				warm = append(warm, a)
			default:
				proxy = append(proxy, a)
			}
		}
		if app.Policy.Web {
			wanted++
			if p.Web != nil {
				upstreams = append(upstreams, l.setup.webUpstream(app, p.Web))
			}
		}
	}
	l.setWorkers(ctx, workers, now)
	l.setProxy(ctx, s, proxy, now)
	for _, a := range warm {
		l.outcome(a, now, nil)
		l.warmer.start(ctx, a.App, *l.setup.app(a.App).server(a.Server))
	}
	// One file holds all upstreams: as long as one app's is not known, the file stays as it is.
	if l.setup.Web != nil && wanted > 0 && len(upstreams) == wanted {
		l.web.want(l.setup.Web, l.rated(s, upstreams))
	}
}

// rated notes how many requests each upstream gets, as far as HAProxy tells.
func (l *Loop) rated(s *sight, upstreams []WebUpstream) []WebUpstream {
	for i := range upstreams {
		for j := range l.setup.Apps {
			if a := &l.setup.Apps[j]; a.Policy.Web && a.Policy.Proxied && a.Upstream.Name == upstreams[i].Name {
				upstreams[i].Rate = s.traffic[a.Backend].Rate
			}
		}
	}
	return upstreams
}

func (l *Loop) setWorkers(ctx context.Context, actions []core.Action, now time.Time) {
	errs := make([]error, len(actions))
	var wg sync.WaitGroup
	for i, a := range actions {
		node := l.setup.Nodes[l.setup.app(a.App).server(a.Server).Node]
		l.epoch++
		epoch := l.epoch
		wg.Go(func() { errs[i] = node.SetWorkers(ctx, a.App, a.Value, epoch) })
	}
	wg.Wait()
	for i, a := range actions {
		l.outcome(a, now, errs[i])
	}
}

// setProxy sends each HAProxy instance its steps, all instances at once.
func (l *Loop) setProxy(ctx context.Context, s *sight, actions []core.Action, now time.Time) {
	errs := make([]error, len(actions))
	of := make([][]int, len(l.setup.Proxies))
	for i, a := range actions {
		k := l.setup.instance(a)
		of[k] = append(of[k], i)
	}
	var wg sync.WaitGroup
	for k := range of {
		if len(of[k]) == 0 {
			continue
		}
		steps := make([]ProxyStep, len(of[k]))
		for n, i := range of[k] {
			a := actions[i]
			app := l.setup.app(a.App)
			steps[n] = ProxyStep{
				Backend: app.Backend, Server: a.Server, Kind: a.Kind, Value: a.Value, Checked: s.serverOn(k, app.Backend, a.Server).Checked,
				Address: l.setup.address(app, a.Server), Options: app.AddOptions,
			}
		}
		wg.Go(func() {
			each, err := l.setup.Proxies[k].Proxy.Apply(ctx, steps)
			for n, i := range of[k] {
				errs[i] = err
				if n < len(each) && each[n] != nil {
					errs[i] = each[n]
				}
			}
		})
	}
	wg.Wait()
	for i, a := range actions {
		l.outcome(a, now, errs[i])
	}
}

// warmed is called by the warmer when a request has ended.
func (l *Loop) warmed(app, server string, err error) {
	e := Entry{Time: time.Now(), Kind: "outcome", App: app, Action: &core.Action{App: app, Server: server, Kind: core.Warm}}
	if err != nil {
		e.Error = err.Error()
		l.log.Warn("warm-up failed", "app", app, "server", server, "error", err)
	}
	l.record(e)
	l.meters.action("warm_answer", err)
}

// outcome journals a step, counts it and shows it among the events.
func (l *Loop) outcome(a core.Action, now time.Time, err error) {
	e := Entry{Time: now, Kind: "outcome", App: a.App, Action: &a}
	ev := api.Event{Time: now, App: a.App, Server: a.Server, Code: string(a.Kind), Sentence: sentence(a), Step: true}
	if err != nil {
		e.Error, ev.Error = err.Error(), err.Error()
		l.quiet.Warn("step "+a.App+a.Server+a.Proxy+string(a.Kind), "a step failed; it is tried again", "app", a.App, "server", a.Server, "haproxy", a.Proxy, "step", a.Kind, "error", err)
	} else {
		l.log.Info("step", "app", a.App, "server", a.Server, "haproxy", a.Proxy, "step", a.Kind, "value", a.Value, "why", a.Why)
	}
	l.record(e)
	l.events.add(ev)
	l.meters.action(string(a.Kind), err)
}

func sentence(a core.Action) string {
	what := map[core.ActionKind]string{
		core.SetWorkers: fmt.Sprintf("%d workers on the node of %s", a.Value, a.Server),
		core.Warm:       "warm-up request to " + a.Server,
		core.Enter:      a.Server + " is checked by HAProxy before it gets traffic",
		core.Ready:      fmt.Sprintf("%s gets traffic, weight %d", a.Server, a.Value),
		core.SetWeight:  fmt.Sprintf("%s gets weight %d", a.Server, a.Value),
		core.Drain:      a.Server + " drains",
		core.Park:       a.Server + " is parked",
		core.SetMaxConn: fmt.Sprintf("%s gets maxconn %d", a.Server, a.Value),
		core.SetAddress: a.Server + " gets its address",
		core.Add:        a.Server + " is added",
		core.Delete:     a.Server + " is deleted",
		core.Cut:        "the sessions of " + a.Server + " are ended",
	}[a.Kind]
	if a.Proxy != "" {
		what += " on " + a.Proxy
	}
	return what + ": " + a.Why
}
