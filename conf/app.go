package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/core"
)

const day = 24 * time.Hour

// maxCount bounds workers of a server and of an app.
const maxCount = 1024

func (s *source) app(key string, raw *rawApp, c *Controller, nodes map[string]float64, seen map[string]string) App {
	a := App{
		Backend:    raw.Backend,
		StaleAfter: s.duration(key+".stale_after", raw.StaleAfter, max(10*time.Second, 3*c.Tick), time.Second, 10*time.Minute),
	}
	p := &a.Policy
	p.Name = s.name(key+".name", raw.Name)
	s.unique(seen, "app name", key+".name", raw.Name)
	p.Proxied, p.Web = raw.Backend != "", raw.Upstream != nil
	if p.Proxied {
		s.name(key+".haproxy_backend", raw.Backend)
		s.unique(seen, "HAProxy backend", key+".haproxy_backend", raw.Backend)
		if len(c.HAProxy) == 0 && !s.policyOnly {
			s.fail(key+".haproxy_backend", raw.Backend, "nothing, as long as there is no section `haproxy` with the runtime API's socket")
		}
	}
	a.HAProxy = s.onProxies(key, raw, c)
	if p.Web {
		a.Upstream = s.upstream(key+".nginx_upstream", raw, seen)
		s.throughDNS(key, raw, a.Upstream, c.Nginx)
		if c.Nginx == nil && !s.policyOnly {
			s.fail(key+".nginx_upstream", raw.Upstream.Name, "nothing, as long as there is no section `nginx` with the include file")
		}
		s.included(key+".nginx_upstream", a.Upstream, c.Nginx)
	}
	s.sizing(key, raw, &a)
	p.Weight = s.int(key+".weight", raw.Weight, 100, 1, 256)
	p.Ramp = s.ramp(key+".ramp", raw.Ramp)
	p.DrainDeadline = s.duration(key+".drain_deadline", raw.DrainDeadline, time.Minute, 0, day)
	p.DrainThen = core.DrainThen(s.oneOf(key+".drain_then", raw.DrainThen, string(core.ThenPark), string(core.ThenPark), string(core.ThenWait), string(core.ThenCut)))
	p.StartDeadline = s.duration(key+".start_deadline", raw.StartDeadline, 30*time.Second, time.Second, time.Hour)
	p.RetryAfter = s.duration(key+".retry_after", raw.RetryAfter, time.Minute, time.Second, day)
	p.MaxOut = s.share(key+".max_out_per_minute", raw.MaxOut, 0.2, false)
	p.ErrorStorm = s.share(key+".error_storm", raw.ErrorStorm, 0.5, true)
	s.servers(key, raw, &a, nodes)
	if !p.Proxied && !p.Web && !allManaged(p) {
		s.fail(key, "", "haproxy_backend, nginx_upstream or both; without them every server must have a `node`, whose agent steers the workers")
	}
	s.steered(key, raw, &a)
	s.sizes(key, raw, p)
	s.strategies(key, raw, &a, c)
	return a
}

// servers reads the app's servers: those that are steered, and an upstream's spares.
func (s *source) servers(key string, raw *rawApp, a *App, nodes map[string]float64) {
	names, addrs := map[string]string{}, map[string]string{}
	for i := range raw.Servers {
		sk, r := index(key+".servers", i), &raw.Servers[i]
		workers, speed := 1, 1.0
		if a.Upstream != nil && (r.Backup || r.Down) {
			s.spare(sk, r)
		} else {
			srv, sp := s.server(sk, r, raw, key, nodes)
			a.Servers, a.Policy.Servers = append(a.Servers, srv), append(a.Policy.Servers, sp)
			if sp.Managed {
				workers, speed = sp.MaxWorkers, nodes[sp.Node]
			}
		}
		s.unique(names, "server name", sk+".name", r.Name)
		s.unique(addrs, "server address", sk+".address", canonical(r.Address))
		if a.Upstream != nil {
			s.line(sk, r, a.Upstream, workers, speed)
		} else {
			s.webOnly(sk, r)
		}
	}
	switch {
	case len(raw.Servers) == 0:
		s.fail(key+".servers", "", "at least one server")
	case len(a.Servers) == 0:
		s.fail(key+".servers", "[...]", "at least one server that is neither backup nor down")
	}
	if u := a.Upstream; u != nil && u.MaxConnsPerWorker > 0 && !allManaged(&a.Policy) {
		s.fail(key+".nginx_upstream.max_conns_per_worker", strconv.Itoa(u.MaxConnsPerWorker), "nothing, as long as not every server has a `node`, whose agent counts the ready workers")
	}
}

func (s *source) ramp(key string, raw []int) []int {
	if raw == nil {
		return []int{10, 25, 50, 100}
	}
	for i, n := range raw {
		if n < 1 || n > 100 || i > 0 && n <= raw[i-1] {
			s.fail(index(key, i), strconv.Itoa(n), "rising percentages from 1 to 100")
		}
	}
	if len(raw) == 0 || raw[len(raw)-1] != 100 || len(raw) > 20 {
		s.fail(key, fmt.Sprint(raw), "1 to 20 rising percentages that end with 100")
		return []int{100}
	}
	return raw
}

func (s *source) server(key string, raw *rawServer, app *rawApp, appKey string, nodes map[string]float64) (Server, core.ServerPolicy) {
	warm := app.Warmup
	srv := Server{
		Name:     s.name(key+".name", raw.Name),
		Node:     raw.Node,
		AlwaysUp: raw.AlwaysUp,
	}
	consumer := app.Backend == "" && app.Upstream == nil && warm == nil
	switch {
	case raw.Address == "" && (s.policyOnly || consumer):
		// Nobody connects to it.
	default:
		srv.Address = s.address(key+".address", raw.Address)
	}
	if raw.Node != "" {
		s.name(key+".node", raw.Node)
	}
	if _, there := nodes[raw.Node]; raw.Node != "" && !there && (!s.policyOnly || len(nodes) > 0) {
		s.fail(key+".node", raw.Node, "the name of one of `nodes`")
	}
	s.warmup(key, appKey, raw, warm, &srv)
	sp := core.ServerPolicy{
		Name: raw.Name, Node: raw.Node, AlwaysUp: raw.AlwaysUp, Managed: raw.Node != "", Warm: srv.WarmURL != "",
		Initial: s.oneOf(key+".initial", raw.Initial, "", "up", "down"),
	}
	if raw.AlwaysUp && raw.Initial == "down" {
		s.fail(key+".initial", raw.Initial, "up (the server is always_up)")
	}
	w := raw.Workers
	if w == nil {
		w = &rawWorkers{}
	} else if raw.Node == "" {
		s.fail(key+".workers", "", "nothing, as long as the server has no `node` whose agent could steer them")
	}
	sp.MinWorkers = s.int(key+".workers.min", w.Min, 1, 1, maxCount)
	sp.MaxWorkers = s.int(key+".workers.max", w.Max, max(sp.MinWorkers, 4), sp.MinWorkers, maxCount)
	sp.ParkedWorkers = s.int(key+".workers.parked", w.Parked, 1, 0, sp.MaxWorkers)
	srv.MinWorkers, srv.MaxWorkers, srv.ParkedWorkers = sp.MinWorkers, sp.MaxWorkers, sp.ParkedWorkers
	return srv, sp
}

// warmup completes the warm-up request: the server's own URL, else the app's path on the server's address.
func (s *source) warmup(key, appKey string, raw *rawServer, warm *rawWarmup, srv *Server) {
	srv.WarmUA, srv.WarmTimeout = "tidegate-warmup", 10*time.Second
	if warm != nil {
		if strings.ContainsAny(warm.UserAgent+warm.Host, "\r\n") {
			s.fail(appKey+".warmup", warm.UserAgent+warm.Host, "texts without line breaks")
		}
		if warm.UserAgent != "" {
			srv.WarmUA = warm.UserAgent
		}
		srv.WarmHost = warm.Host
		srv.WarmTimeout = s.duration(appKey+".warmup.timeout", warm.Timeout, 10*time.Second, 100*time.Millisecond, 10*time.Minute)
		if !strings.HasPrefix(warm.Path, "/") || strings.ContainsAny(warm.Path, " \r\n") {
			s.fail(appKey+".warmup.path", warm.Path, "a path that begins with / and has no spaces")
		}
		switch {
		case raw.WarmupURL != "":
		case raw.Address == "" && s.policyOnly:
			srv.WarmURL = warm.Path
		case strings.HasPrefix(raw.Address, "unix:"):
			s.fail(key+".address", raw.Address, "host:port, or a warmup_url of its own, when the app has a warm-up")
		default:
			srv.WarmURL = "http://" + raw.Address + warm.Path
		}
	}
	if raw.WarmupURL != "" {
		srv.WarmURL = s.httpURL(key+".warmup_url", raw.WarmupURL, false)
	}
}

func (s *source) sizes(key string, raw *rawApp, p *core.AppPolicy) {
	p.MinServers = s.int(key+".min_servers", raw.MinServers, 1, 1, max(1, len(p.Servers)))
	sum := 0
	for _, sp := range p.Servers {
		sum += sp.MaxWorkers
	}
	p.MinWorkers = s.int(key+".min_workers", raw.MinWorkers, p.MinServers, 1, max(1, sum))
	p.MaxWorkers = s.int(key+".max_workers", raw.MaxWorkers, sum, p.MinWorkers, max(p.MinWorkers, sum))
}
