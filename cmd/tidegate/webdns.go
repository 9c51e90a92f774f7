package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
)

// dnsSilence is how long nginx may not ask before that is a problem; it asks every two seconds, or eight after a failure.
const dnsSilence = 20 * time.Second

// webDNS tells nginx servers and weights through DNS, and keeps the include file that makes nginx ask for them.
type webDNS struct {
	webAdapter
	answerer *srv.Answerer
	fallback bool
	// both are the upstreams that may have servers with IPv6 addresses: they have one, or a name that may stand for one.
	both map[string]bool
	// loaded is since when nginx has run with the file that is wanted, the zero time when it does not.
	loaded time.Time

	// at tells, for each upstream of the last wish, whose each address is, and was as long as nginx may still have it.
	atMu sync.Mutex
	at   map[string]map[string]string
}

// Apply makes the answers known first, then the file live that makes nginx ask for them. Answers that the old file needs stay
// until the new one is live.
func (w *webDNS) Apply(ctx context.Context, now time.Time, upstreams []control.WebUpstream) (control.WebOutcome, error) {
	lines := w.lines(upstreams)
	w.note(now, lines)
	changed, err := w.answerer.Put(dnsAnswers(lines)...)
	var out control.WebOutcome
	if changed {
		out.Changed, out.Told = true, "it is told the servers in service through DNS, with their ready workers as weights"
	}
	for _, u := range lines {
		if !w.answerer.Answers(u.Name) {
			// A file that makes nginx ask for what has no answer would take it the servers it has.
			return out, fmt.Errorf("nginx's DNS: %w", err)
		}
	}
	if err != nil {
		err = fmt.Errorf("nginx's DNS: %w", err)
	}
	want := w.model(lines)
	want.Rates = webRates(upstreams)
	file, wrong := w.manager.Apply(ctx, now, want)
	told := out
	out = webOutcome(file)
	out.Changed, out.Told = out.Changed || told.Changed, told.Told
	if file.Result != nginxgen.Applied && file.Result != nginxgen.Unchanged {
		w.loaded = time.Time{}
		return out, errors.Join(err, wrong)
	}
	var names []string
	for _, u := range upstreams {
		names = append(names, u.Name)
	}
	w.answerer.Retain(append(w.asking(), names...))
	if file.Result == nginxgen.Applied || w.loaded.IsZero() {
		w.loaded = now
	}
	return out, errors.Join(err, wrong, w.silent(now, names))
}

// lines are the wanted upstreams as the include file would have them, without the spares that are down: nobody shall ask those.
func (w *webDNS) lines(upstreams []control.WebUpstream) []nginxgen.Upstream {
	live := w.lastLive()
	out := make([]nginxgen.Upstream, 0, len(upstreams))
	for _, u := range upstreams {
		u.Servers = slices.DeleteFunc(slices.Clone(u.Servers), func(s control.WebServer) bool { return s.Down })
		out = append(out, webUpstream(u, liveServers(live, u), true))
	}
	return out
}

// asking are the upstreams of the live file that nginx asks for: one that is not wanted any more stays while something names it.
func (w *webDNS) asking() []string {
	var out []string
	m, _ := w.manager.Live()
	for _, u := range m.Upstreams {
		if fromDNS(u) {
			out = append(out, u.Name)
		}
	}
	return out
}

func fromDNS(u nginxgen.Upstream) bool { return u.Resolve != nginxgen.Resolve{} }

// note keeps whose the addresses of a wish are. One that a server had before is kept while nginx may still have it.
func (w *webDNS) note(now time.Time, lines []nginxgen.Upstream) {
	w.atMu.Lock()
	defer w.atMu.Unlock()
	next := make(map[string]map[string]string, len(lines))
	for _, u := range lines {
		at := map[string]string{}
		taken, _ := w.answerer.Taken(u.Name, now)
		for address := range taken {
			if name, there := w.at[u.Name][address]; there {
				at[address] = name
			}
		}
		for _, s := range u.Servers {
			at[s.Address] = s.Name
		}
		next[u.Name] = at
	}
	w.at = next
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
func (w *webDNS) model(lines []nginxgen.Upstream) nginxgen.Model {
	m := nginxgen.Model{Why: "nginx asks tidegate for the servers and their weights through DNS"}
	for _, u := range lines {
		nu := nginxgen.Upstream{Name: u.Name, Method: u.Method, Zone: u.Zone, Keepalive: u.Keepalive,
			Resolve: nginxgen.Resolve{Resolver: w.answerer.Addr(), Host: srv.Host(u.Name), Service: srv.Service, NoIPv6: !w.both[u.Name]}}
		for _, s := range u.Servers {
			if w.fallback && !strings.HasPrefix(u.Method, "random") {
				nu.Servers = append(nu.Servers, nginxgen.Server{Name: s.Name, Address: s.Address, Weight: 1, Backup: true})
			}
		}
		m.Upstreams = append(m.Upstreams, nu)
	}
	return m
}

// dnsAnswers are what nginx is told: the servers that are not down, and whether they are spares.
func dnsAnswers(lines []nginxgen.Upstream) []srv.Upstream {
	out := make([]srv.Upstream, 0, len(lines))
	for _, u := range lines {
		a := srv.Upstream{Name: u.Name}
		for _, s := range u.Servers {
			if !s.Down {
				a.Servers = append(a.Servers, srv.Server{Address: s.Address, Weight: s.Weight, Backup: s.Backup})
			}
		}
		out = append(out, a)
	}
	return out
}

// Live is what nginx may send requests to, by the servers' names: as it has proven by asking again, where the verified file makes
// it ask; as the file says elsewhere.
func (w *webDNS) Live() (map[string]map[string]int, bool) {
	m, ok := w.manager.Live()
	if !ok {
		return nil, false
	}
	w.atMu.Lock()
	defer w.atMu.Unlock()
	out := map[string]map[string]int{}
	for _, u := range m.Upstreams {
		at, wanted := w.at[u.Name]
		switch {
		case !fromDNS(u):
			out[u.Name] = fileWeights(u)
			continue
		case w.at == nil:
			return nil, false // nobody has said yet whose the addresses are
		case !wanted:
			continue
		}
		taken, known := w.answerer.Taken(u.Name, time.Now())
		if !known {
			return nil, false
		}
		out[u.Name] = map[string]int{}
		for address, weight := range taken {
			if name, there := at[address]; there {
				out[u.Name][name] = max(out[u.Name][name], weight)
			}
		}
	}
	return out, true
}

// mayBeIPv6 are the upstreams with an IPv6 address, or a name that may stand for one.
func mayBeIPv6(c *conf.Controller) map[string]bool {
	out := map[string]bool{}
	for _, a := range c.Apps {
		if a.Upstream == nil {
			continue
		}
		out[a.Upstream.Name] = slices.ContainsFunc(a.Upstream.Lines, func(l conf.UpstreamLine) bool {
			addr, err := netip.ParseAddrPort(l.Address)
			return err != nil || addr.Addr().Is6()
		})
	}
	return out
}

// throughDNS completes what has been built with the answerer, when the weights go through DNS. An nginx that is too old is an
// error; one that cannot be asked for its version is not, but in a check.
func (r *rooms) throughDNS(ctx context.Context, c *conf.Controller, next *rooms, s *control.Setup) error {
	n := c.Nginx
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
	s.Web = &webDNS{webAdapter: webAdapter{manager: next.web}, answerer: next.answerer, fallback: n.Fallback, both: mayBeIPv6(c)}
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
