package setup

import (
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/haproxy"
)

// site is everything known about the user's HAProxy and nginx, and what was decided about it.
type site struct {
	o        Options
	cfg      *haproxy.Config
	text     []string // the lines of haproxy.cfg
	global   global
	track    string // a stick counter that is free
	backends []*backend
	problems []problem

	nginx     map[string]nginxFile // by block, http and stream
	conf      *nginxReader         // nil without nginx
	upstreams []*upstream
	lines     string            // what each backend gets
	hosts     map[string]string // how the machine of an IP address is named
}

// global is what the global sections say that HAProxy's reader for tidegate leaves out.
type global struct {
	chroot, group string
	// socket is the runtime API as the configuration wants it. advice is "" or the sentence about the line that haproxy.cfg
	// needs for it.
	socket, advice string
}

type backend struct {
	haproxy.ConfigBackend
	// why it is not taken, "" when it is.
	why     string
	servers []server
	// Strategy is what will size it.
	Strategy string
	// because says why it is not the default one.
	because string
	left    []string // "NAME: why", of servers that are left alone
	// WebOnly: HAProxy has no part in it, its Name is that of the app.
	WebOnly bool
	// upstream is the one that it is paired with.
	upstream *upstream
}

// server is one that tidegate will manage.
type server struct {
	haproxy.ConfigServer
	// Address is what tidegate is told, perhaps with a name; at is the same with an IP address.
	Address  string
	at       string
	AlwaysUp bool
}

// problem is a finding with its place.
type problem struct {
	severity haproxy.Severity
	place    string
	text     string
}

const (
	defaultSocket = "unix:/run/haproxy/admin.sock"
	socketLine    = "stats socket /run/haproxy/admin.sock mode 660 level admin"
)

func newSite(o Options, cfg *haproxy.Config, text string) *site {
	s := &site{o: o, cfg: cfg, text: strings.Split(text, "\n"), hosts: map[string]string{}}
	if cfg == nil {
		return s
	}
	for _, b := range cfg.Backends {
		s.backends = append(s.backends, &backend{ConfigBackend: b})
	}
	s.readGlobal()
	s.track = freeCounter(s.text)
	return s
}

// readGlobal reads chroot and group: of a setting that stands there twice, HAProxy keeps the first and complains.
func (s *site) readGlobal() {
	set := map[string]string{}
	for i, sec := range s.cfg.Sections {
		if sec.Kind != "global" {
			continue
		}
		end := len(s.text)
		if i+1 < len(s.cfg.Sections) {
			end = s.cfg.Sections[i+1].Line - 1
		}
		for _, line := range s.text[sec.Line:end] {
			w := strings.Fields(strings.NewReplacer(`"`, "", `'`, "").Replace(line))
			if len(w) >= 2 && set[w[0]] == "" {
				set[w[0]] = w[1]
			}
		}
	}
	switch c := set["chroot"]; {
	case c == "":
	case !filepath.IsAbs(c) || !plainPath(c):
		s.problem(haproxy.Error, s.o.HAProxy, "the chroot %.80q is not a plain absolute path; write it out, or set spoa.listen in %s to the socket inside it", c, configName)
	case filepath.Clean(c) != "/":
		s.global.chroot = filepath.Clean(c)
	}
	s.global.group = set["group"]
	if gid := set["gid"]; s.global.group == "" && gid != "" {
		if g, err := user.LookupGroupId(gid); err == nil {
			s.global.group = g.Name
		}
	}
	s.global.socket, s.global.advice = socketOf(s.cfg.Sockets)
}

// socketOf chooses the stats socket to use: the first with level admin, else the first that only lacks the level.
func socketOf(list []haproxy.StatsSocket) (addr, advice string) {
	addr, advice = defaultSocket, "Add this line to a global section: "+socketLine
	for _, sock := range list {
		a, ok := sock.Dial()
		if _, err := netip.ParseAddrPort(a); !ok || err != nil && !strings.HasPrefix(a, "unix:/") {
			continue
		}
		if sock.Level == "admin" {
			return a, ""
		}
		if addr == defaultSocket {
			addr, advice = a, fmt.Sprintf("Add \"level admin\" to line %d: stats socket %s", sock.Line, shown(sock.Address))
		}
	}
	return addr, advice
}

var trackRE = regexp.MustCompile(`\btrack-(sc[0-2])\b|\b(sc[0-2])_`)

// freeCounter is the highest stick counter that the file does not use outside of tidegate's lines, "" when all are in use.
func freeCounter(lines []string) string {
	used, ours := map[string]bool{}, false
	for _, line := range lines {
		switch strings.TrimSpace(line) {
		case beginMark:
			ours = true
		case endMark:
			ours = false
		}
		code, _, _ := strings.Cut(line, "#")
		for _, m := range trackRE.FindAllStringSubmatch(code, -1) {
			used[m[1]+m[2]] = used[m[1]+m[2]] || !ours
		}
	}
	for _, sc := range []string{"sc2", "sc1", "sc0"} {
		if !used[sc] {
			return sc
		}
	}
	return ""
}

// agentSocket is the agent's socket as HAProxy will look for it, listenSocket the same as tidegate makes it.
func (s *site) agentSocket() string {
	if s.global.chroot != "" {
		return "/tidegate/spoa.sock"
	}
	return "/run/tidegate/spoa.sock"
}

func (s *site) listenSocket() string { return filepath.Join(s.global.chroot, s.agentSocket()) }

// managed tells that node agents steer the workers of a backend at least.
func (s *site) managed() bool { return slices.ContainsFunc(s.taken(), (*backend).Managed) }

// Managed tells that node agents steer the backend's workers.
func (b *backend) Managed() bool { return b.Strategy == erlang || b.Strategy == busyRatio }

func (s *site) taken() []*backend {
	var out []*backend
	for _, b := range s.backends {
		if b.why == "" {
			out = append(out, b)
		}
	}
	return out
}

// proxied are the backends that are taken and are HAProxy's.
func (s *site) proxied() []*backend {
	return slices.DeleteFunc(s.taken(), func(b *backend) bool { return b.WebOnly })
}

// Upstream is the paired upstream, nil without one.
func (b *backend) Upstream() *upstream { return b.upstream }

// App is the app's name: the backend's, without the colon that node agents do not allow.
func (b *backend) App() string { return strings.ReplaceAll(b.Name, ":", "-") }

// node is a machine with an agent, for strategies that size in workers.
type node struct {
	Name, Host, File string
	// ip is the machine's address.
	ip   string
	Apps []string
}

// Loopback says that the agent needs no token, because nobody else can reach it.
func (n node) Loopback() bool {
	ip := net.ParseIP(n.ip)
	return ip != nil && ip.IsLoopback()
}

// Addr is where the agent is found, Listen the same with an IP address, which is where it listens.
func (n node) Addr() string   { return net.JoinHostPort(n.Host, "9101") }
func (n node) Listen() string { return net.JoinHostPort(n.ip, "9101") }

func nodeName(host string) string {
	name := strings.ReplaceAll(host, ":", "-")
	if strings.HasPrefix(name, "-") {
		name = "n" + name
	}
	return name
}

// nodes are the machines of the taken servers, in the order of their first server; none where no strategy needs them.
func (s *site) nodes() []node {
	var out []node
	at := map[string]int{}
	for _, b := range s.taken() {
		if !b.Managed() {
			continue
		}
		for _, srv := range b.servers {
			i, ok := at[srv.Host]
			if !ok {
				i = len(out)
				at[srv.Host] = i
				out = append(out, node{Name: nodeName(srv.Host), Host: srv.Host, File: "agent-" + nodeName(srv.Host) + ".yaml", ip: netip.MustParseAddrPort(srv.at).Addr().String()})
			}
			out[i].Apps = append(out[i].Apps, b.App())
		}
	}
	return out
}

// Node is the name of the server's node.
func (v server) Node() string { return nodeName(v.Host) }

func (s *site) place(line int) string {
	if line == 0 {
		return s.o.HAProxy
	}
	return s.o.HAProxy + ":" + strconv.Itoa(line)
}

func (s *site) problem(sev haproxy.Severity, place, format string, args ...any) {
	p := problem{sev, place, fmt.Sprintf(format, args...)}
	for _, q := range s.problems {
		if p == q {
			return
		}
	}
	s.problems = append(s.problems, p)
}
