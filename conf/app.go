package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

const day = 24 * time.Hour

// maxCount bounds workers of a server and of an app.
const maxCount = 1024

func (s *source) app(key string, raw *rawApp, c *Controller, nodes map[string]bool, seen map[string]string) App {
	a := App{
		Backend:    raw.Backend,
		StaleAfter: s.duration(key+".stale_after", raw.StaleAfter, max(10*time.Second, 3*c.Tick), time.Second, 10*time.Minute),
	}
	p := &a.Policy
	p.Name = s.name(key+".name", raw.Name)
	s.unique(seen, "app name", key+".name", raw.Name)
	p.Strategy = core.Strategy(s.oneOf(key+".strategy", raw.Strategy, string(core.BusyRatio), string(core.Noop), string(core.Latency), string(core.BusyRatio)))
	p.Proxied, p.Web = raw.Backend != "", raw.Upstream != nil
	if !p.Proxied && !p.Web {
		s.fail(key, "", "an app needs haproxy_backend, nginx_upstream or both")
	}
	if p.Proxied {
		s.name(key+".haproxy_backend", raw.Backend)
		s.unique(seen, "HAProxy backend", key+".haproxy_backend", raw.Backend)
		if c.HAProxy == nil {
			s.fail(key+".haproxy_backend", raw.Backend, "nothing, as long as there is no section `haproxy` with the runtime API's socket")
		}
	}
	if p.Web {
		a.Upstream = s.upstream(key+".nginx_upstream", raw.Upstream, seen)
		if c.Nginx == nil {
			s.fail(key+".nginx_upstream", raw.Upstream.Name, "nothing, as long as there is no section `nginx` with the include file")
		}
	}
	s.strategy(key, raw, p)
	p.Weight = s.int(key+".weight", raw.Weight, 100, 1, 256)
	p.Ramp = s.ramp(key+".ramp", raw.Ramp)
	p.DrainDeadline = s.duration(key+".drain_deadline", raw.DrainDeadline, time.Minute, 0, day)
	p.StartDeadline = s.duration(key+".start_deadline", raw.StartDeadline, 30*time.Second, time.Second, time.Hour)
	p.RetryAfter = s.duration(key+".retry_after", raw.RetryAfter, time.Minute, time.Second, day)
	p.MaxOut = s.share(key+".max_out_per_minute", raw.MaxOut, 0.5, false)
	p.ErrorStorm = s.share(key+".error_storm", raw.ErrorStorm, 0.5, true)
	if len(raw.Servers) == 0 {
		s.fail(key+".servers", "", "at least one server")
	}
	names, addrs := map[string]string{}, map[string]string{}
	for i := range raw.Servers {
		sk := fmt.Sprintf("%s.servers[%d]", key, i)
		srv, sp := s.server(sk, &raw.Servers[i], raw.Warmup, key, nodes)
		s.unique(names, "server name", sk+".name", srv.Name)
		s.unique(addrs, "server address", sk+".address", srv.Address)
		a.Servers = append(a.Servers, srv)
		p.Servers = append(p.Servers, sp)
	}
	s.sizes(key, raw, p)
	s.needs(key, p, c)
	return a
}

func (s *source) upstream(key string, raw *rawUpstream, seen map[string]string) *Upstream {
	u := &Upstream{
		Name:      s.name(key+".name", raw.Name),
		Method:    s.oneOf(key+".method", raw.Method, "", "least_conn", "random", "ip_hash"),
		Zone:      raw.Zone,
		Keepalive: s.int(key+".keepalive", raw.Keepalive, 0, 0, 10000),
	}
	s.unique(seen, "nginx upstream", key+".name", raw.Name)
	return u
}

func (s *source) strategy(key string, raw *rawApp, p *core.AppPolicy) {
	l, lk := raw.Latency, key+".latency"
	p.Latency = core.LatencyPolicy{
		Requests:  s.int(lk+".requests", l.Requests, 15, 1, 10000),
		Threshold: s.duration(lk+".threshold", l.Threshold, 500*time.Millisecond, time.Millisecond, time.Hour),
		Breaches:  s.int(lk+".breaches", l.Breaches, 3, 1, 10000),
		Quiet:     s.duration(lk+".quiet", l.Quiet, 300*time.Second, time.Second, day),
	}
	b, bk := raw.BusyRatio, key+".busy_ratio"
	p.Sizing = sizing.Default()
	z := &p.Sizing
	z.Busy = sizing.BusyPolicy{
		Target: s.share(bk+".target", b.Target, z.Busy.Target, false),
		Window: s.duration(bk+".up_window", b.UpWindow, z.Busy.Window, 0, time.Hour),
	}
	z.Down.Window = s.duration(bk+".down_window", b.DownWindow, z.Down.Window, time.Second, day)
	z.Down.Every = s.duration(bk+".down_every", b.DownEvery, z.Down.Every, time.Second, day)
	z.Down.Share = s.share(bk+".down_share", b.DownShare, z.Down.Share, false)
	p.Fill = s.share(bk+".fill", b.Fill, 0.75, false)
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

func (s *source) server(key string, raw *rawServer, warm *rawWarmup, appKey string, nodes map[string]bool) (Server, core.ServerPolicy) {
	srv := Server{
		Name:     s.name(key+".name", raw.Name),
		Node:     raw.Node,
		AlwaysUp: raw.AlwaysUp,
	}
	if strings.HasPrefix(raw.Address, "unix:") {
		srv.Address = s.socket(key+".address", raw.Address, "")
	} else {
		srv.Address = s.hostPort(key+".address", raw.Address, false)
	}
	if raw.Node != "" && !nodes[raw.Node] {
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
	sp.ParkedWorkers = s.int(key+".workers.parked", w.Parked, 1, 1, sp.MaxWorkers)
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

// needs checks that a strategy has the sources it decides by.
func (s *source) needs(key string, p *core.AppPolicy, c *Controller) {
	switch p.Strategy {
	case core.Latency:
		if !p.Proxied || c.SPOA == nil {
			s.fail(key+".strategy", string(p.Strategy), "latency only with haproxy_backend and a section `spoa`: the timings come from HAProxy's filter")
		}
	case core.BusyRatio:
		for i, sp := range p.Servers {
			if !sp.Managed {
				s.fail(fmt.Sprintf("%s.servers[%d]", key, i), sp.Name, "a server with a `node`: busy_ratio counts workers that a node agent reports")
			}
		}
	}
}
