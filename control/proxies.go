package control

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
)

// proxySight is what one HAProxy instance said in a turn: a state or an error.
type proxySight struct {
	state *ProxyState
	err   error
}

func (p *proxySight) gone() bool { return errors.Is(p.err, ErrGone) }

// sourceOf names a HAProxy instance among the sources.
func sourceOf(instance string) string {
	if instance == "" {
		return "haproxy"
	}
	return "haproxy " + instance
}

// watch is how an instance has been answering. It belongs to one goroutine at a time: that of its own question in a turn.
type watch struct {
	// slow: the last question had no answer in time. Of several instances such a one gets little time in a turn, so that the
	// others are served on time.
	slow error
	// pending is a question under way from a turn before.
	pending chan proxySight
}

func (l *Loop) watchOf(instance string) *watch {
	w := l.watches[instance]
	if w == nil {
		w = &watch{}
		l.watches[instance] = w
	}
	return w
}

// slowShare of a tick is what an instance gets that did not answer in time before; HAProxy answers within milliseconds.
const slowShare = 10

// ask asks one instance.
func (l *Loop) ask(ctx context.Context, p Instance, w *watch) proxySight {
	if w.pending != nil {
		select {
		case late := <-w.pending:
			// What it says is old by now; that it answers is not.
			w.pending, w.slow = nil, late.err
		default:
			return proxySight{err: w.slow}
		}
	}
	answer := make(chan proxySight, 1)
	backends := l.setup.backends(p.Name)
	l.asking.Go(func() {
		state, err := p.Proxy.Observe(ctx, backends)
		if err != nil {
			answer <- proxySight{err: err}
			return
		}
		answer <- proxySight{state: &state}
	})
	var patience <-chan time.Time
	if w.slow != nil && len(l.setup.Proxies) > 1 {
		timer := time.NewTimer(l.setup.Tick / slowShare)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case got := <-answer:
		w.slow = got.err
		if got.gone() {
			// A refusal comes at once.
			w.slow = nil
		}
		return got
	case <-patience:
		w.pending = answer
		return proxySight{err: w.slow}
	}
}

// proxyObs puts what the app's instances say into its observation: the only one as Proxy, with its servers as the result, several
// as Proxies.
func (l *Loop) proxyObs(a *App, s *sight, obs *core.AppObs) map[string]core.ProxyServerObs {
	on := l.setup.on(a)
	var servers map[string]core.ProxyServerObs
	for _, i := range on {
		in := core.InstanceObs{Name: l.setup.Proxies[i].Name, ProxyObs: core.ProxyObs{Gone: s.proxies[i].gone()}}
		if state := s.proxies[i].state; state != nil {
			if b, ok := state.Backends[a.Backend]; ok {
				in.ProxyObs = core.ProxyObs{Known: true, Process: state.Process, Current: b.Current, Queued: b.Queued}
				in.Servers = b.Servers
				l.missingServers(a, in.Name, b.Servers)
			}
		}
		if len(on) == 1 {
			obs.Proxy, servers = in.ProxyObs, in.Servers
		} else {
			obs.Proxies = append(obs.Proxies, in)
		}
	}
	return servers
}

// answers adds up a server's good answers on the app's instances; false when none of them counts any.
func (l *Loop) answers(a *App, s *sight, server string) (n int, known bool) {
	for _, i := range l.setup.on(a) {
		if state := s.proxies[i].state; state != nil {
			if c, ok := state.Backends[a.Backend].Answers[server]; ok {
				n, known = n+c, true
			}
		}
	}
	return n, known
}

func (l *Loop) missingServers(a *App, instance string, have map[string]core.ProxyServerObs) {
	if a.Policy.Dynamic {
		return
	}
	for i := range a.Servers {
		if name := a.Servers[i].Name; !have[name].Known {
			l.quiet.Warn("server "+instance+a.Backend+"/"+name, "HAProxy's backend has no such server", "app", a.Policy.Name, "backend", a.Backend, "server", name, "haproxy", instance)
		}
	}
}

// serverOn is what an instance said about a server.
func (s *sight) serverOn(i int, backend, server string) core.ProxyServerObs {
	if s.proxies[i].state == nil {
		return core.ProxyServerObs{}
	}
	return s.proxies[i].state.Backends[backend].Servers[server]
}

// proxyStatus adds to an app's status what its instances say, and returns their places.
func (l *Loop) proxyStatus(app *App, s *sight, out *api.App) []int {
	on := l.setup.on(app)
	known := false
	inFlight, queued := 0, 0
	for _, i := range on {
		p := api.Proxy{Name: l.setup.Proxies[i].Name, Gone: s.proxies[i].gone()}
		if state := s.proxies[i].state; state != nil {
			b, ok := state.Backends[app.Backend]
			p.Known, p.Process, p.InFlight, p.Queued = ok, state.Process, b.Current, b.Queued
			known = known || ok
			inFlight, queued = inFlight+b.Current, queued+b.Queued
		}
		if len(on) > 1 {
			out.Proxies = append(out.Proxies, p)
		}
	}
	if known {
		out.InFlight, out.Queued = inFlight, queued
	}
	return on
}

// adminRank orders administrative states by how much traffic they let in.
var adminRank = map[string]int{string(core.AdminMaint): 1, string(core.AdminDrain): 2, string(core.AdminReady): 3}

// serverProxies adds to a server's status how it stands on the instances, and what a human has changed there.
func (l *Loop) serverProxies(app *App, s *sight, on []int, sv *api.Server) {
	memory := l.memory.Apps[app.Policy.Name].Servers.Of(sv.Name)
	for _, i := range on {
		o := s.serverOn(i, app.Backend, sv.Name)
		name := l.setup.Proxies[i].Name
		life := memory.On(name)
		p := api.ServerProxy{
			Name: name, Phase: string(life.Phase), Admin: string(o.Admin), Up: o.Up, Weight: o.Weight, Current: o.Current, Foreign: foreign(life),
		}
		if adminRank[p.Admin] > adminRank[sv.Admin] {
			sv.Admin = p.Admin
		}
		sv.Up, sv.Weight, sv.Current = sv.Up || p.Up, max(sv.Weight, p.Weight), sv.Current+p.Current
		if sv.Foreign == "" {
			sv.Foreign = p.Foreign
		}
		if len(on) > 1 {
			sv.Proxies = append(sv.Proxies, p)
		}
	}
}

// foreign tells what of a server a human has in his hands.
func foreign(l core.Life) string {
	switch {
	case l.Phase == core.PhaseForeign:
		return api.ForeignState
	case l.Human && l.Phase.InService():
		return api.ForeignWeight
	}
	return ""
}
