package setup

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/nginxgen"
)

// nginxFile is what matters of the main nginx.conf besides its upstreams.
type nginxFile struct {
	// include is where the generated file goes; needLine is false when a pattern of the http block matches it already.
	include  string
	needLine bool
}

// upstreamName tells whether a name is what nginx's include and tidegate's configuration both allow.
func upstreamName(name string) bool { return nameRE.MatchString(name) && !strings.Contains(name, ":") }

// readNginx notes the upstreams and finds the place for the include file.
func (s *site) readNginx(r *nginxReader, isDir func(string) bool) {
	s.conf = r
	s.nginx = placeInclude(s.o, r.includes, isDir)
	s.upstreams = r.upstreams
	s.problems = append(s.problems, r.problems...)
	for _, u := range s.upstreams {
		u.own = sameFile(u.real, s.nginx.include)
		if !u.own && u.bad == "" && nginxgen.Written(r.texts[u.File]) {
			u.bad = "tidegate wrote it, and its include file is to be another one now; say --nginx-include " + u.real
		}
		s.problems = append(s.problems, u.traps...)
	}
}

// placeInclude chooses the least work: a folder of which nginx reads all files anyway, in the http block and nowhere else.
func placeInclude(o Options, includes []includeLine, isDir func(string) bool) nginxFile {
	// read counts the includes that match a file, in the http block and elsewhere.
	read := func(file string) (inHTTP, elsewhere int) {
		for _, inc := range includes {
			switch ok, err := filepath.Match(inc.pattern, file); {
			case err != nil || !ok:
			case inc.inHTTP():
				inHTTP++
			default:
				elsewhere++
			}
		}
		return inHTTP, elsewhere
	}
	if o.NginxInclude != "" {
		n, _ := read(o.NginxInclude)
		return nginxFile{include: o.NginxInclude, needLine: n == 0}
	}
	for _, inc := range includes {
		dir := filepath.Dir(inc.pattern)
		file := filepath.Join(dir, upstreamsName)
		if !inc.inHTTP() || strings.ContainsAny(dir, "*?[") || !plainPath(dir) || !isDir(dir) {
			continue
		}
		if n, other := read(file); n == 1 && other == 0 {
			return nginxFile{include: file}
		}
	}
	return nginxFile{include: filepath.Join(filepath.Dir(o.Nginx), upstreamsName), needLine: true}
}

// pair finds the backend of each upstream: the one with the same servers, the one of the same name first; or the one of the
// same name when the upstream has some of its servers and no others. It says why the others are left.
func (s *site) pair() {
	for pass := range 3 {
		for _, u := range s.upstreams {
			for _, b := range s.taken() {
				named, same, part := strings.EqualFold(b.Name, u.Name), u.sameServers(b), u.partOf(b)
				fits := pass == 0 && named && same || pass == 1 && named && part || pass == 2 && same
				if fits && b.upstream == nil && u.app == nil && u.takeable() == "" {
					b.take(u)
				}
			}
		}
	}
}

// take pairs the two, unless the generated block would not be accepted.
func (b *backend) take(u *upstream) {
	b.upstream, u.app = u, b
	if _, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{b.web()}}); err != nil {
		b.upstream, u.app, u.why = nil, nil, err.Error()
	}
}

func (s *site) whyLeft(u *upstream) string {
	if u.why != "" {
		return u.why
	}
	if u.bad != "" || u.context != "http" {
		return u.takeable()
	}
	for _, b := range s.taken() {
		same := u.sameServers(b) || strings.EqualFold(b.Name, u.Name) && u.partOf(b)
		switch {
		case same && u.takeable() != "":
			return u.takeable()
		case same:
			return fmt.Sprintf("backend %s is paired with upstream %s already, and an app has one upstream", b.Name, b.upstream.Name)
		}
	}
	if why := u.noAddress(); why != "" {
		return why
	}
	for _, b := range s.taken() {
		if strings.EqualFold(b.Name, u.Name) {
			return fmt.Sprintf("it has the name of backend %s but other servers (%s is not among the backend's), so its requests would go elsewhere", b.Name, u.stranger(b))
		}
	}
	return "no backend that is taken has the same servers"
}

// takeable says what of the block has no place in tidegate's configuration and would be lost, "" when nothing is.
func (u *upstream) takeable() string {
	switch {
	case u.bad != "":
		return u.bad
	case u.context != "http":
		return "it is one of stream, and tidegate.yaml has words for http alone"
	case len(u.Servers) == 0:
		return "it has no servers, and nginx refuses that"
	}
	if !upstreamName(u.Name) {
		return "its name is not made of 1 to 64 letters, digits and . _ -"
	}
	switch u.Method {
	case "", "least_conn", "random", "ip_hash":
	default:
		return fmt.Sprintf("its method %.80q has no counterpart in tidegate.yaml (least_conn, random, ip_hash)", u.Method)
	}
	for _, o := range u.Other {
		if word, _, _ := strings.Cut(o, " "); word != "keepalive_requests" && word != "keepalive_time" && word != "keepalive_timeout" {
			return fmt.Sprintf("its line %.80q has no counterpart in tidegate.yaml", o)
		}
	}
	for _, srv := range u.Servers {
		if why := srv.takeable(u.Method); why != "" {
			return fmt.Sprintf("its server %.80q %s", srv.Address, why)
		}
	}
	return ""
}

// takeable says what of a server line would be lost and must not be, "" when nothing is.
func (v webServer) takeable(method string) string {
	if v.Backup && method != "" && method != "least_conn" {
		return fmt.Sprintf("is a backup, which nginx itself refuses with %.80q", method)
	}
	if v.Backup {
		return "is a backup, which has no counterpart in tidegate.yaml"
	}
	for _, p := range v.Params {
		switch word, _, _ := strings.Cut(p, "="); word {
		case "max_fails", "fail_timeout":
		case "resolve", "service":
			return fmt.Sprintf("has %q: nginx looks its address up again and again, and tidegate writes fixed ones", p)
		case "weight":
			return fmt.Sprintf("has %q, which is no weight", p)
		default:
			return fmt.Sprintf("has %q, which has no counterpart in tidegate.yaml", p)
		}
	}
	return ""
}

// lost are the settings that the generated block will not have, for a warning.
func (u *upstream) lost() []string {
	out := append([]string(nil), u.Other...)
	for _, srv := range u.Servers {
		for _, p := range srv.Params {
			out = append(out, p+" of "+srv.Address)
		}
	}
	return out
}

// webAddr brings an address of nginx into the form of ours: nginx takes port 80 when there is none.
func webAddr(a string) (string, bool) {
	if ap, err := netip.ParseAddrPort(a); err == nil && ap.Addr().Zone() == "" && ap.Port() > 0 {
		return net.JoinHostPort(ap.Addr().String(), strconv.Itoa(int(ap.Port()))), true
	}
	if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil && ip.Zone() == "" {
		return net.JoinHostPort(ip.String(), "80"), true
	}
	return a, false
}

func (u *upstream) noAddress() string {
	for _, srv := range u.Servers {
		switch _, ok := webAddr(srv.Address); {
		case ok:
		case strings.HasPrefix(srv.Address, "unix:"):
			return fmt.Sprintf("its server %.80q is a unix socket: a process of nginx's own machine has it, so taking it out frees nothing elsewhere; tidegate needs an ip:port", srv.Address)
		case strings.Contains(srv.Address, "$"):
			return fmt.Sprintf("its server %.80q has a variable, which nginx takes for a part of a name there; tidegate needs an ip:port", srv.Address)
		default:
			return fmt.Sprintf("its server %.80q is a name, which nginx resolves only once, when it reads its files; tidegate needs an ip:port", srv.Address)
		}
	}
	return ""
}

// stranger is the first server that is not the backend's, "" when all are.
func (u *upstream) stranger(b *backend) string {
	for _, srv := range u.Servers {
		if addr, _ := webAddr(srv.Address); b.at(addr) == nil {
			return srv.Address
		}
	}
	return ""
}

func (u *upstream) partOf(b *backend) bool { return len(u.Servers) > 0 && u.stranger(b) == "" }

func (u *upstream) sameServers(b *backend) bool {
	distinct := map[string]bool{}
	for _, srv := range u.Servers {
		addr, _ := webAddr(srv.Address)
		distinct[addr] = true
	}
	return u.partOf(b) && len(distinct) == len(b.servers)
}

func (b *backend) at(addr string) *server {
	for i := range b.servers {
		if b.servers[i].Address == addr {
			return &b.servers[i]
		}
	}
	return nil
}

// web is the first include's block: what the user's block does now, in the order that tidegate will keep. Servers that the
// user's block does not have wait, down.
func (b *backend) web() nginxgen.Upstream {
	u := nginxgen.Upstream{Name: b.upstream.Name, Method: b.upstream.Method, Zone: b.upstream.Size(), Keepalive: b.upstream.Keepalive}
	for _, srv := range b.servers {
		ns := nginxgen.Server{Name: srv.Name, Address: srv.Address, Weight: 1, Down: true}
		for _, f := range b.upstream.Servers {
			if addr, _ := webAddr(f.Address); addr == srv.Address {
				ns.Weight, ns.Down = min(f.Weight, 1000), f.Down
			}
		}
		u.Servers = append(u.Servers, ns)
	}
	return u
}

// Size is the zone's size, "" when the block has no zone or shares another's.
func (u *upstream) Size() string {
	words := strings.Fields(u.Zone)
	if len(words) != 2 {
		return ""
	}
	return words[1]
}
