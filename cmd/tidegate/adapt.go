package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/backlog"
	"github.com/tidegate/tidegate/internal/names"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
	"github.com/tidegate/tidegate/spoa"
)

// proxyAdapter shows a haproxy.Client to the controller.
type proxyAdapter struct {
	client *haproxy.Client
	// refusal: that nobody listens at the address means that no process runs. At a loopback address it may be a tunnel that is
	// down.
	refusal bool
}

func (p proxyAdapter) Observe(ctx context.Context, backends []string) (control.ProxyState, error) {
	s, err := p.client.Observe(ctx, backends)
	if p.refusal && errors.Is(err, haproxy.ErrUnreachable) && errors.Is(err, syscall.ECONNREFUSED) {
		return control.ProxyState{}, goneError{err}
	}
	if err != nil {
		return control.ProxyState{}, err
	}
	if s.Process.Stopping {
		return control.ProxyState{}, fmt.Errorf("HAProxy's process %s is stopping and its successor does not answer yet", s.Process.ID)
	}
	out := control.ProxyState{Process: s.Process.ID, Backends: map[string]control.ProxyBackend{}}
	for name, b := range s.Backends {
		if b.Missing || b.Disabled {
			continue
		}
		pb := control.ProxyBackend{Current: b.Current, Queued: b.Queued, Servers: map[string]core.ProxyServerObs{}, Answers: map[string]int{}}
		for _, srv := range b.Servers {
			pb.Servers[srv.Name] = proxyServer(srv)
			if srv.Answers >= 0 {
				pb.Answers[srv.Name] = int(srv.Answers)
			}
		}
		out.Backends[name] = pb
	}
	return out, nil
}

// goneError says what the error in it says, and is control.ErrGone.
type goneError struct{ error }

func (g goneError) Unwrap() []error { return []error{g.error, control.ErrGone} }

func proxyServer(s haproxy.Server) core.ProxyServerObs {
	admin := core.AdminReady
	switch {
	case s.Admin.Maint():
		admin = core.AdminMaint
	case s.Admin.Drain():
		admin = core.AdminDrain
	}
	return core.ProxyServerObs{
		Known: true, Admin: admin, FromConfig: s.Admin.FromConfig(), Up: s.Op.Up(), Checked: s.CheckConfigured && s.CheckEnabled,
		Weight: s.Weight, Current: s.Current, Queued: s.Queued, MaxConn: s.MaxConn, Address: s.Addr,
	}
}

// Apply sends all steps as one batch; a step takes one to three commands.
func (p proxyAdapter) Apply(ctx context.Context, steps []control.ProxyStep) ([]error, error) {
	var cmds []haproxy.Command
	var of []int
	for i, s := range steps {
		for _, c := range commands(s) {
			cmds, of = append(cmds, c), append(of, i)
		}
	}
	_, results, err := p.client.Apply(ctx, cmds, nil)
	errs := make([]error, len(steps))
	for k, r := range results {
		if r.Err != nil && errs[of[k]] == nil {
			errs[of[k]] = r.Err
		}
	}
	return errs, err
}

func commands(s control.ProxyStep) []haproxy.Command {
	weight := haproxy.SetWeight(s.Backend, s.Server, s.Value)
	state := func(to string) haproxy.Command { return haproxy.SetState(s.Backend, s.Server, to) }
	switch s.Kind {
	case core.Enter:
		cmds := []haproxy.Command{weight, state(haproxy.Drain)}
		if s.Checked {
			cmds = append(cmds, haproxy.SetHealth(s.Backend, s.Server, haproxy.Down))
		}
		return cmds
	case core.Ready:
		return []haproxy.Command{weight, state(haproxy.Ready)}
	case core.SetWeight:
		return []haproxy.Command{weight}
	case core.Drain:
		return []haproxy.Command{state(haproxy.Drain)}
	case core.Park:
		return []haproxy.Command{haproxy.SetWeight(s.Backend, s.Server, 0), state(haproxy.Maint)}
	case core.SetMaxConn:
		return []haproxy.Command{haproxy.SetMaxConn(s.Backend, s.Server, s.Value)}
	case core.SetAddress:
		return []haproxy.Command{haproxy.SetAddr(s.Backend, s.Server, s.Address)}
	case core.Cut:
		return []haproxy.Command{haproxy.ShutdownSessions(s.Backend, s.Server)}
	case core.Add:
		// It begins in maintenance; weight 0 makes that our own.
		cmds := []haproxy.Command{haproxy.AddServer(s.Backend, s.Server, s.Address, s.Options), haproxy.SetWeight(s.Backend, s.Server, 0)}
		if slices.Contains(strings.Fields(s.Options), "check") {
			cmds = append(cmds, haproxy.EnableHealth(s.Backend, s.Server))
		}
		return cmds
	case core.Delete:
		return []haproxy.Command{haproxy.DelServer(s.Backend, s.Server)}
	}
	return nil
}

// nodeAdapter shows an agent.Client to the controller.
type nodeAdapter struct {
	name   string
	client *agent.Client
}

func (n nodeAdapter) Report(ctx context.Context) (control.NodeReport, error) {
	out := control.NodeReport{CPU: -1, Memory: -1, Pools: map[string]core.PoolObs{}}
	r, err := n.client.Report(ctx)
	if err != nil {
		return out, err
	}
	if r.Node != n.name {
		return out, fmt.Errorf("the agent calls itself %q, the configuration calls it %q: is the url right?", r.Node, n.name)
	}
	if r.Host.Known {
		out.CPU = r.Host.CPUBusy
		if r.Host.MemTotal > 0 {
			out.Memory = 1 - float64(r.Host.MemAvailable)/float64(r.Host.MemTotal)
		}
	}
	var problems []error
	for name, a := range r.Apps {
		out.Capacity += a.Max
		ready, starting := a.Ready, a.Starting
		if a.Ceiling > 0 {
			// The server starts workers when requests come: those it may have are as good as ready.
			ready, starting = max(ready, a.Ceiling-a.Draining), 0
		}
		out.Pools[name] = core.PoolObs{
			Known: a.WorkersKnown, Age: max(0, a.SampleAge()), BusyKnown: a.BusyKnown, Total: ready + starting + a.Draining, Ready: ready, Starting: starting,
			Draining: a.Draining, Busy: a.BusyMean, Target: a.Target, Ordered: a.Ordered,
			Min: a.Min, Max: a.Max, Step: a.Threads, Drained: a.Drained, OldFirst: a.Limits.OldFirst,
		}
		if !a.WorkersKnown {
			problems = append(problems, fmt.Errorf("app %s: %s", name, a.Problem))
		}
	}
	if len(problems) > 0 && len(problems) == len(r.Apps) {
		return out, errors.Join(problems...)
	}
	return out, nil
}

func (n nodeAdapter) SetWorkers(ctx context.Context, app string, workers int, epoch uint64) error {
	_, err := n.client.SetTarget(ctx, app, workers, epoch)
	return err
}

// trafficAdapter shows the SPOE agent and its meter to the controller.
type trafficAdapter struct {
	listen string
	server *spoa.Server
	meter  *spoa.Meter
	errors map[string]*errorShare
	feeds  map[string]*feed
}

// errorShare remembers the counts of a few turns, for the share of errors among recent ends of requests.
type errorShare struct{ turns []endCounts }

// endCounts are the requests that have ended, as the meter counts them.
type endCounts struct{ completions, sampled, errors, noResponse uint64 }

// errorTurns is how many turns the share looks back.
const errorTurns = 5

// add takes a turn's counts and returns the share: errors among the samples stand for as large a share of all completions.
func (e *errorShare) add(now endCounts) float64 {
	e.turns = append(e.turns, now)
	if n := len(e.turns) - errorTurns; n > 0 {
		e.turns = e.turns[n:]
	}
	then := e.turns[0]
	// The backend was forgotten and has come back.
	if now.completions < then.completions || now.sampled < then.sampled || now.errors < then.errors || now.noResponse < then.noResponse {
		return 0
	}
	completions, none := float64(now.completions-then.completions), float64(now.noResponse-then.noResponse)
	// A handful of requests makes no storm.
	if completions+none < 10 {
		return 0
	}
	failed := none
	if sampled := now.sampled - then.sampled; sampled > 0 {
		failed += completions * float64(now.errors-then.errors) / float64(sampled)
	}
	return min(1, failed/(completions+none))
}

func (t *trafficAdapter) Take(now time.Time) map[string]control.TrafficReport {
	out := map[string]control.TrafficReport{}
	t.meter.Each(now, func(b *spoa.BackendReport) {
		last := b.LastHeartbeat
		if b.LastSample.After(last) {
			last = b.LastSample
		}
		share := t.errors[b.Name]
		if share == nil {
			share = &errorShare{}
			t.errors[b.Name], t.feeds[b.Name] = share, &feed{cursor: spoa.FromStart}
		}
		r := control.TrafficReport{
			Last: last, Rate: b.Rate, P50: b.P50, P95: b.P95, P99: b.P99, InFlight: b.InFlight, Queued: b.Queued, Open: b.Open, OldestOpen: b.OldestOpen,
			Errors: share.add(endCounts{b.Completions, b.Sampled, b.Errors, b.NoResponse}),
		}
		f := t.feeds[b.Name]
		var seconds []spoa.Second
		seconds, f.cursor = t.meter.Seconds(now, b.Name, f.cursor)
		r.Seconds = f.take(now, b, seconds)
		for _, s := range b.Samples {
			if s.Response >= 0 {
				r.Responses = append(r.Responses, s.Response)
			}
		}
		out[b.Name] = r
	})
	for name := range t.errors {
		if _, ok := out[name]; !ok {
			delete(t.errors, name)
			delete(t.feeds, name)
		}
	}
	return out
}

func (t *trafficAdapter) State() api.SPOA {
	s := t.server.Stats()
	bad := uint64(0)
	for _, n := range s.Malformed {
		bad += n
	}
	return api.SPOA{
		Listen: t.listen, Connections: int64(s.Connections), Frames: s.Frames, Malformed: bad,
		AckP50MS: float64(s.AckP50) / 1e6, AckP99MS: float64(s.AckP99) / 1e6,
	}
}

// rooms builds a controller's setup from a configuration, and builds only anew what has changed.
type rooms struct {
	log     *slog.Logger
	set     *metrics.Set
	traffic control.Traffic
	// names resolves the names in servers' addresses; nil leaves them as they are.
	names *names.Resolver
	// offline leaves out what looks at live files.
	offline bool

	proxies   []proxyRoom
	nginxConf conf.Nginx
	web       *nginxgen.Manager
	answerer  *srv.Answerer
}

// build does all that can fail first; the rooms change only when everything is there.
func (r *rooms) build(ctx context.Context, c *conf.Controller) (control.Setup, error) {
	s := control.Setup{File: c.File, Tick: c.Tick, DecisionsOnly: c.DecisionsOnly, Traffic: r.traffic, Nodes: map[string]control.Node{}}
	next := *r
	next.proxies, next.web, next.answerer = nil, nil, nil
	for _, h := range c.HAProxy {
		room, err := r.proxyRoom(h)
		if err != nil {
			return s, err
		}
		next.proxies = append(next.proxies, room)
		s.Proxies = append(s.Proxies, control.Instance{Name: h.Name, Proxy: room.adapter()})
	}
	for _, n := range c.Nodes {
		client, err := agent.NewClient(agent.ClientOptions{URL: n.URL, Token: n.Token.Reveal(), TLS: agentTLS(n.TLS), Timeout: n.Timeout})
		if err != nil {
			return s, fmt.Errorf("node %s: %w", n.Name, err)
		}
		s.Nodes[n.Name] = nodeAdapter{n.Name, client}
	}
	if n := c.Nginx; n != nil {
		next.nginxConf, next.web = *n, r.web
		if r.web == nil || !reflect.DeepEqual(*n, r.nginxConf) {
			manager, err := nginxgen.New(nginxOptions(n, r.log, r.set))
			if err != nil {
				return s, err
			}
			if !r.offline {
				if err := manager.Recover(ctx); err != nil {
					r.log.Warn("nginx's present state is not known", "error", err)
				}
			}
			next.web = manager
		}
		s.Web = &webAdapter{manager: next.web}
		if err := r.throughDNS(ctx, c, &next, &s); err != nil {
			return s, err
		}
	}
	r.endDNS(&next)
	var addresses []string
	for _, a := range c.Apps {
		s.Apps = append(s.Apps, controlApp(a))
		addresses = append(addresses, addressesOf(a)...)
	}
	if r.names != nil {
		r.names.Want(ctx, addresses, c.ResolveEvery)
		if slices.ContainsFunc(addresses, func(a string) bool { return names.Host(a) != "" }) {
			s.Names = r.names
		}
	}
	for _, old := range r.proxies {
		// Series are named after the instance or its socket: they stay when only the time-out has changed.
		if !slices.ContainsFunc(next.proxies, func(p proxyRoom) bool { return p.label() == old.label() }) {
			old.client.Close()
		}
	}
	*r = next
	return s, nil
}

// proxyRoom is the client of one HAProxy instance and what it was built from.
type proxyRoom struct {
	conf   conf.HAProxy
	client *haproxy.Client
}

// label is what its series are named after.
func (p proxyRoom) label() string { return cmp.Or(p.conf.Name, p.conf.Socket) }

func (p proxyRoom) adapter() proxyAdapter {
	return proxyAdapter{p.client, p.conf.Remote || strings.HasPrefix(p.conf.Socket, "unix:")}
}

// proxyRoom finds the client for an instance, or makes one.
func (r *rooms) proxyRoom(h conf.HAProxy) (proxyRoom, error) {
	for _, p := range r.proxies {
		if p.conf == h {
			return p, nil
		}
	}
	client, err := haproxy.New(haproxy.Options{Addr: h.Socket, Remote: h.Remote, Timeout: h.Timeout, Log: r.log, Metrics: r.set, Name: h.Name})
	return proxyRoom{h, client}, err
}

func controlApp(a conf.App) control.App {
	app := control.App{Policy: a.Policy, Backend: a.Backend, Proxies: a.HAProxy, StaleAfter: a.StaleAfter, At: a.At, AddOptions: a.AddOptions, Readdress: a.Readdress}
	if b := a.Backlog; b != nil {
		app.Backlog = backlog.New(backlog.Options{URL: b.URL, Command: b.Command, Every: b.Every, Timeout: b.Timeout})
	}
	if u := a.Upstream; u != nil {
		app.Upstream = controlUpstream(u)
	}
	for _, srv := range a.Servers {
		app.Servers = append(app.Servers, control.Server{
			Name: srv.Name, Address: srv.Address, Node: srv.Node, WarmURL: srv.WarmURL, WarmHost: srv.WarmHost, WarmUA: srv.WarmUA, WarmTimeout: srv.WarmTimeout,
		})
	}
	return app
}
