package setup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/nginxgen"
)

// adopt makes apps of upstreams that no HAProxy backend goes with. Without HAProxy all that can be taken are; with it only
// those that --upstream names, because an upstream may well be the HAProxy machines.
func (s *site) adopt() error {
	for _, name := range s.o.Upstreams {
		if !slices.ContainsFunc(s.upstreams, func(u *upstream) bool { return u.Name == name }) {
			return fmt.Errorf("--upstream %.80q: %s and what it includes have no such upstream (they have %s)", name, s.o.Nginx, s.upstreamNames())
		}
	}
	o := s.owners()
	var why []string
	for _, u := range s.httpFirst() {
		if u.app != nil {
			continue
		}
		asked := slices.Contains(s.o.Upstreams, u.Name)
		switch {
		case s.o.HAProxy != "" && !asked:
			u.why = s.whyLeft(u)
			if s.whyNot(o, u, true) == "" {
				u.why += "; --upstream " + u.Name + " takes it as an app of its own"
			}
		case len(s.o.Upstreams) > 0 && !asked:
			u.why = "not named by --upstream"
		default:
			u.why = s.whyNot(o, u, asked)
		}
		if u.why == "" {
			u.why = s.adoptOne(o, u)
		}
		if u.why != "" && asked {
			return fmt.Errorf("--upstream %s: %s: %s", shown(u.Name), u.place(), u.why)
		}
		why = append(why, fmt.Sprintf("%s (%s)", shown(u.Name), u.why))
	}
	if s.o.HAProxy == "" && len(s.taken()) == 0 {
		return fmt.Errorf("no upstream of %s can be taken: %s", s.o.Nginx, strings.Join(why, "; "))
	}
	return nil
}

func (s *site) upstreamNames() string {
	if len(s.upstreams) == 0 {
		return "none"
	}
	var names []string
	for _, u := range s.upstreams {
		names = append(names, shown(u.Name))
	}
	return strings.Join(names, ", ")
}

// owners is who has what, as it becomes known.
type owners struct {
	// apps are the app of each address, names those of the apps in lower case.
	apps  map[string]*backend
	names map[string]bool
	// upstreams are those that may ask an address, tidegate's own file apart. straight are the passes past all of them.
	upstreams map[string][]*upstream
	straight  map[string]pass
}

func (s *site) owners() *owners {
	o := &owners{apps: map[string]*backend{}, names: map[string]bool{}, upstreams: map[string][]*upstream{}}
	for _, b := range s.taken() {
		o.add(b)
		for _, v := range b.servers {
			s.hosts[netip.MustParseAddrPort(v.at).Addr().String()] = v.Host
		}
	}
	for _, u := range s.upstreams {
		for _, addr := range u.asked() {
			if !u.own {
				o.upstreams[addr] = append(o.upstreams[addr], u)
			}
		}
	}
	if s.conf != nil {
		o.straight = s.conf.straight()
	}
	return o
}

func (o *owners) add(b *backend) {
	o.names[strings.ToLower(b.App())] = true
	for _, v := range b.servers {
		o.apps[v.at] = b
	}
}

// whyNot says why an upstream cannot be an app by itself, "" when it can.
func (s *site) whyNot(o *owners, u *upstream, asked bool) string {
	if why := u.takeable(); why != "" {
		return why
	}
	if why := s.nameTaken(u); why != "" {
		return why
	}
	steered := u.steered()
	switch {
	case len(u.asked()) == 0:
		return "all its servers are down"
	case len(u.members()) == 1:
		return "it has only one server, so there is nothing to choose between"
	case len(steered) < 2:
		return "it has only one server that is neither down nor a backup, so there is nothing to choose between"
	case len(u.users) == 0 && !asked:
		return "no *_pass line that is read here passes requests to it (if something else does, say --upstream " + u.Name + ")"
	case !asked && !slices.ContainsFunc(u.users, func(p pass) bool { return p.kind != "memcached_pass" }):
		return "memcached_pass alone uses it, and a cache that is taken out of service is lost"
	}
	for _, addr := range u.asked() {
		if b := o.apps[addr]; b != nil && (!b.WebOnly || !asked) {
			return fmt.Sprintf("its server %s belongs to %s %s too, and two apps must not steer one server", addr, b.kind(), b.Name)
		}
		if asked {
			continue
		}
		for _, v := range o.upstreams[addr] {
			// A backup of both is steered by nobody.
			if v != u && (slices.Contains(steered, addr) || slices.Contains(v.steered(), addr)) {
				return fmt.Sprintf("its server %s stands in upstream %s (%s) too, which would go on sending there when tidegate takes the server out; use one upstream for both, or say --upstream %s", addr, shown(v.Name), v.place(), shown(u.Name))
			}
		}
	}
	return ""
}

func (b *backend) kind() string {
	if b.WebOnly {
		return "upstream"
	}
	return b.Kind
}

// adoptOne adds the app, or says why the strategy or the generated block would not do.
func (s *site) adoptOne(o *owners, u *upstream) string {
	b := &backend{ConfigBackend: haproxy.ConfigBackend{Name: u.Name}, WebOnly: true, upstream: u, Strategy: s.o.Strategy}
	if o.names[strings.ToLower(b.App())] {
		b.Name += "-nginx"
	}
	for _, m := range u.members() {
		if m.spare() {
			continue
		}
		host, port := s.hostOf(m), netip.MustParseAddrPort(m.at).Port()
		c := haproxy.ConfigServer{Name: fmt.Sprintf("%s-%d", nodeName(host), port), Host: host, Port: int(port)}
		b.servers = append(b.servers, server{ConfigServer: c, Address: m.written, at: m.at, AlwaysUp: len(b.servers) == 0})
	}
	if why := b.webStrategy(s.o); why != "" {
		return why
	}
	if _, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{b.web()}}); err != nil {
		return err.Error()
	}
	s.backends, u.app = append(s.backends, b), b
	o.add(b)
	for _, addr := range u.steered() {
		if p, ok := o.straight[addr]; ok {
			s.problem(haproxy.Warning, p.place, "%s goes straight to %s, a server of upstream %s, and past what tidegate decides", p.kind, p.target, shown(u.Name))
		}
	}
	return ""
}

// webStrategy settles how an app without HAProxy is sized: nobody times its requests, so the nodes' agents have to count. What
// is behind a stream upstream, tidegate does not know; it may be a database.
func (b *backend) webStrategy(o Options) string {
	otherwise := busyRatio
	if b.upstream.Stream() {
		otherwise = noop
	}
	switch b.Strategy {
	case erlang, latency:
		b.because = b.Strategy + " needs HAProxy's filter, and nginx tells no times"
		b.Strategy = otherwise
	case "":
		b.because = "nginx tells no times of requests, so what counts is how many workers are busy"
		if b.Strategy = otherwise; b.upstream.Stream() {
			b.because = "what is spoken in a stream is not known here, and noop only watches"
		}
	}
	if why := b.shared(); b.Strategy == busyRatio && why != "" {
		if o.Strategy != "" {
			return why + "; --strategy noop can take it"
		}
		b.Strategy, b.because = noop, why
	}
	return ""
}
