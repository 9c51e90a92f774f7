package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
)

const (
	// dnsZoneServers is for how many servers an upstream that names no zone gets 256 KB: nginx keeps those from DNS there, and those
	// of the file once more. 256 KB take between 100 and 150 of both.
	dnsZoneServers = 64
	// dnsTop is the highest weight that nginx is told.
	dnsTop = 64
	// dnsSilence is how long nginx may not ask before that is a problem; it asks every two seconds, or eight after a failure.
	dnsSilence = 20 * time.Second
)

// webDNS tells nginx servers and weights through DNS, and keeps the include file that makes nginx ask for them.
type webDNS struct {
	manager  *nginxgen.Manager
	answerer *srv.Answerer
	fallback bool
	// loaded is since when nginx has run with the file that is wanted, the zero time when it does not.
	loaded time.Time
}

// Apply makes the answers known first, then the file live that makes nginx ask for them. Answers that the old file needs stay
// until the new one is live.
func (w *webDNS) Apply(ctx context.Context, now time.Time, upstreams []control.WebUpstream) (control.WebOutcome, error) {
	changed, err := w.answerer.Put(dnsAnswers(upstreams)...)
	if err != nil {
		return control.WebOutcome{}, fmt.Errorf("nginx's DNS: %w", err)
	}
	file, err := w.manager.Apply(ctx, now, w.model(upstreams))
	out := control.WebOutcome{
		Changed: changed || file.Result == nginxgen.Applied, Deferred: file.Result == nginxgen.Deferred, Reloaded: file.Reloaded, Why: file.Why,
	}
	if changed && !file.Reloaded {
		out.Why = "it is told the servers in service through DNS, with their ready workers as weights"
	}
	switch file.Result {
	case nginxgen.Applied, nginxgen.Unchanged:
		var names []string
		for _, u := range upstreams {
			names = append(names, u.Name)
		}
		w.answerer.Retain(names)
		if file.Result == nginxgen.Applied || w.loaded.IsZero() {
			w.loaded = now
		}
		err = errors.Join(err, w.silent(now, names))
	default:
		w.loaded = time.Time{}
	}
	return out, err
}

// silent is an error when nginx runs with the file and does not ask.
func (w *webDNS) silent(now time.Time, names []string) error {
	for _, name := range names {
		last := w.answerer.LastAsked(name)
		if last.Before(w.loaded) {
			last = w.loaded
		}
		if age := now.Sub(last); age > dnsSilence {
			return fmt.Errorf("nginx has not asked %s for the servers of upstream %s for %v, so it keeps those it has: does it run, and has it loaded the include file?",
				w.answerer.Addr(), name, age.Round(time.Second))
		}
	}
	return nil
}

// model is the include file: upstreams that ask, and every server as a backup where the method has backups.
func (w *webDNS) model(upstreams []control.WebUpstream) nginxgen.Model {
	m := nginxgen.Model{Why: "nginx asks tidegate for the servers and their weights through DNS"}
	for _, u := range upstreams {
		nu := nginxgen.Upstream{Name: u.Name, Method: u.Method, Zone: cmp.Or(u.Zone, dnsZone(len(u.Servers))), Keepalive: u.Keepalive,
			Resolve: nginxgen.Resolve{Resolver: w.answerer.Addr(), Host: srv.Host(u.Name), Service: srv.Service, NoIPv6: true}}
		for _, s := range u.Servers {
			if addr, err := netip.ParseAddrPort(s.Address); err == nil && addr.Addr().Is6() {
				nu.Resolve.NoIPv6 = false
			}
			if w.fallback && !strings.HasPrefix(u.Method, "random") {
				nu.Servers = append(nu.Servers, nginxgen.Server{Name: s.Name, Address: s.Address, Weight: 1, Backup: true})
			}
		}
		m.Upstreams = append(m.Upstreams, nu)
	}
	return m
}

func dnsZone(servers int) string {
	return strconv.Itoa(256*max(1, (servers+dnsZoneServers-1)/dnsZoneServers)) + "k"
}

func dnsAnswers(upstreams []control.WebUpstream) []srv.Upstream {
	out := make([]srv.Upstream, 0, len(upstreams))
	for _, u := range upstreams {
		ready := make([]int, len(u.Servers))
		for i, s := range u.Servers {
			ready[i] = s.Weight
		}
		a := srv.Upstream{Name: u.Name}
		for i, weight := range dnsWeights(ready) {
			a.Servers = append(a.Servers, srv.Server{Address: u.Servers[i].Address, Weight: weight})
		}
		out = append(out, a)
	}
	return out
}

// dnsWeights are counts of ready workers, halved together until the highest is at most 64, and at least 1 where there are any.
// They are not divided by what they have in common: nginx begins anew with a server whose weight changes, so a server that comes
// shall not change the others'.
func dnsWeights(ready []int) []int {
	half := 1
	for slices.Max(append([]int{0}, ready...)) > dnsTop*half {
		half *= 2
	}
	out := make([]int, len(ready))
	for i, n := range ready {
		if n > 0 {
			out[i] = max(1, (n+half/2)/half)
		}
	}
	return out
}

// Live is what nginx may send requests to: as it has proven by asking again, where the verified file makes it ask; as the file
// says elsewhere.
func (w *webDNS) Live() (map[string]map[string]int, bool) {
	m, ok := w.manager.Live()
	if !ok {
		return nil, false
	}
	out := map[string]map[string]int{}
	for _, u := range m.Upstreams {
		if u.Resolve == (nginxgen.Resolve{}) {
			out[u.Name] = fileWeights(u)
			continue
		}
		if out[u.Name], ok = w.answerer.Taken(u.Name, time.Now()); !ok {
			return nil, false
		}
	}
	return out, true
}

// throughDNS completes what has been built with the answerer, when the weights go through DNS. An nginx that is too old is an
// error; one that cannot be asked for its version is not, but in a check.
func (r *rooms) throughDNS(ctx context.Context, n *conf.Nginx, next *rooms, s *control.Setup) error {
	if n.DNS == "" {
		return nil
	}
	err := nginxgen.CheckResolve(ctx, nginxOptions(n, r.log, nil))
	var old nginxgen.TooOldError
	switch {
	case err != nil && (r.offline || errors.As(err, &old)):
		return fmt.Errorf("nginx.weights: %w", err)
	case err != nil:
		r.log.Warn("whether nginx can take weights through DNS is not known", "error", err)
	case r.offline:
		return nil
	}
	next.answerer = r.answerer
	if r.answerer == nil || n.DNS != r.nginxConf.DNS {
		if next.answerer, err = srv.Start(srv.Options{Listen: n.DNS, Metrics: r.set}); err != nil {
			return err
		}
	}
	s.Web = &webDNS{manager: next.web, answerer: next.answerer, fallback: n.Fallback}
	return nil
}

// endDNS ends the answerer when what comes next has another or none: nginx keeps the servers it has.
func (r *rooms) endDNS(next *rooms) {
	if r.answerer != nil && r.answerer != next.answerer {
		if err := r.answerer.Close(); err != nil {
			r.log.Warn("nginx's DNS did not close well", "error", err)
		}
	}
}

// dns tells whether the installed nginx can take weights through DNS, and whether the running tidegate answers it.
func (l *liveCheck) dns(ctx context.Context, c *conf.Controller) {
	if !l.note(nginxgen.CheckResolve(ctx, nginxOptions(c.Nginx, nil, nil)), "nginx takes weights through DNS") {
		return
	}
	for _, app := range c.Apps {
		if app.Upstream == nil {
			continue
		}
		n, err := srv.Ask(ctx, c.Nginx.DNS, app.Upstream.Name)
		if err != nil {
			l.warn("nobody answers nginx at %s for upstream %s (%v): does tidegate run?", c.Nginx.DNS, app.Upstream.Name, err)
			continue
		}
		l.ok("nginx is told %d server(s) of upstream %s through DNS at %s", n, app.Upstream.Name, c.Nginx.DNS)
	}
}
