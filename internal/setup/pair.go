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
	// httpLine is the line of the main file after which the include line can be put, 0 when there is none.
	httpLine int
}

// upstreamName tells whether a name is what nginx's include and tidegate's configuration both allow.
func upstreamName(name string) bool { return nameRE.MatchString(name) && !strings.Contains(name, ":") }

// readNginx notes the upstreams and finds the place for the include file.
func (s *site) readNginx(found []nginxgen.Found, readFile func(string) ([]byte, error), isDir func(string) bool) error {
	main, err := readFile(s.o.Nginx)
	if err != nil {
		return fmt.Errorf("read the nginx configuration: %w", err)
	}
	patterns, httpLine := httpIncludes(string(main))
	for i, p := range patterns {
		if !filepath.IsAbs(p) {
			patterns[i] = filepath.Join(filepath.Dir(s.o.Nginx), p)
		}
	}
	s.nginx = placeInclude(s.o, patterns, isDir)
	s.nginx.httpLine = httpLine
	for _, f := range found {
		u := &upstream{Found: f, real: f.File}
		if real, err := filepath.EvalSymlinks(f.File); err == nil {
			u.real = real
		}
		if text, err := readFile(f.File); err == nil {
			u.start, u.end = upstreamSpan(string(text), f.Line)
		}
		if !plainPath(u.real) {
			u.start, u.end = 0, 0 // no command can be printed for it
		}
		s.upstreams = append(s.upstreams, u)
	}
	return nil
}

// placeInclude chooses the least work: a folder of which nginx reads all files anyway.
func placeInclude(o Options, patterns []string, isDir func(string) bool) nginxFile {
	matched := func(file string) bool {
		for _, p := range patterns {
			if ok, err := filepath.Match(p, file); err == nil && ok {
				return true
			}
		}
		return false
	}
	if o.NginxInclude != "" {
		return nginxFile{include: o.NginxInclude, needLine: !matched(o.NginxInclude)}
	}
	for _, p := range patterns {
		dir := filepath.Dir(p)
		file := filepath.Join(dir, upstreamsName)
		if ok, err := filepath.Match(p, file); err == nil && ok && !strings.ContainsAny(dir, "*?[") && isDir(dir) {
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
				if fits && b.upstream == nil && !s.paired(u) && u.takeable() == "" {
					b.take(u)
				}
			}
		}
	}
	for _, u := range s.upstreams {
		if !s.paired(u) {
			u.why = s.whyLeft(u)
		}
	}
}

// take pairs the two, unless the generated block would not be accepted.
func (b *backend) take(u *upstream) {
	b.upstream = u
	if _, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{b.web()}}); err != nil {
		b.upstream, u.why = nil, err.Error()
	}
}

func (s *site) paired(u *upstream) bool {
	for _, b := range s.taken() {
		if b.upstream == u {
			return true
		}
	}
	return false
}

func (s *site) whyLeft(u *upstream) string {
	if u.why != "" {
		return u.why
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
		if srv.Backup {
			return "its server " + srv.Address + " is a backup, which has no counterpart in tidegate.yaml"
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
	if ap, err := netip.ParseAddrPort(a); err == nil {
		return net.JoinHostPort(ap.Addr().String(), strconv.Itoa(int(ap.Port()))), true
	}
	if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil {
		return net.JoinHostPort(ip.String(), "80"), true
	}
	return a, false
}

func (u *upstream) noAddress() string {
	for _, srv := range u.Servers {
		switch _, ok := webAddr(srv.Address); {
		case ok:
		case strings.HasPrefix(srv.Address, "unix:"):
			return fmt.Sprintf("its server %.80q is a unix socket; no backend that is taken has it", srv.Address)
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
