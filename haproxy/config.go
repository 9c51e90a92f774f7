package haproxy

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxConfig bounds the file; HAProxy's own with 10,000 servers is below 1 MB.
const maxConfig = 16 << 20

// Config is what ReadConfig found in one haproxy.cfg.
type Config struct {
	Path     string
	Sections []Section
	// Backends are the backend and listen sections, in the file's order.
	Backends []ConfigBackend
	Sockets  []StatsSocket
	// StatsMaxConn is how many connections all stats sockets take together, 0 for HAProxy's own 10.
	StatsMaxConn, StatsMaxConnLine int
	// Notes say what could not be known from this file alone: conditional blocks, variables that are not set here.
	Notes []Problem
}

// Section is one section's first line.
type Section struct {
	// Kind is HAProxy's word ("global", "backend"); Name may be empty; From is the defaults section named after "from".
	Kind, Name, From string
	Line             int
}

// StatsSocket is a "stats socket" line of a global section.
type StatsSocket struct {
	Line int
	// Address is HAProxy's ("/run/x.sock", "ipv4@127.0.0.1:9999"), Level user, operator (the default) or admin.
	Address, Level string
	// Mode is the permission bits as written, empty when HAProxy's umask decides.
	Mode string
}

// Dial is the address as New wants it, and false when tidegate cannot dial it (fd@, or TCP that is not loopback).
func (s StatsSocket) Dial() (string, bool) {
	addr := s.Address
	for _, prefix := range []string{"unix@", "ipv4@", "ipv6@"} {
		addr = strings.TrimPrefix(addr, prefix)
	}
	if strings.HasPrefix(addr, "/") {
		addr = "unix:" + addr
	}
	if host, port, ok := cutPort(addr); ok && (host == "" || host == "*" || host == "0.0.0.0" || host == "localhost") {
		addr = "127.0.0.1:" + port // listens everywhere, so here too
	}
	_, err := parseAddr(addr)
	return addr, err == nil
}

// ConfigBackend is one backend or listen section with what it inherits from its defaults section.
type ConfigBackend struct {
	Name, Kind, From string
	Line             int
	// Mode is tcp unless the configuration says otherwise.
	Mode string
	// Balance is the algorithm's word ("hdr" of "hdr(host)"), BalanceLine where it was set, 0 for the built-in roundrobin.
	Balance     string
	BalanceLine int
	// HashType is "map-based" (the default) or "consistent"; it matters to algorithms that hash.
	HashType string
	// Redispatch and Persist are `option redispatch` and `option persist`, PersistLine where the latter was set.
	Redispatch, Persist bool
	PersistLine         int
	// Disabled: HAProxy loads the section and never runs it.
	Disabled bool
	// Tidegate are the lines that show that tidegate is already there: its SPOE filter or its comment markers.
	Tidegate []int
	Servers  []ConfigServer
}

// ConfigServer is a server with its default-server options merged in.
type ConfigServer struct {
	Name string
	Line int
	// Host and Port are the address; Host is empty when HAProxy takes the client's, Port 0 when the line has none or a relative
	// one. A unix socket has its path in Host.
	Host string
	Port int

	Check, AgentCheck, Disabled, Backup bool
	// Weight is 1 unless given. MaxConn 0 is no limit.
	Weight, MaxConn int
	Cookie          string
	// Track is "backend/server" or "server" whose state this one follows.
	Track string
	// Options are all words after the address, those of default-server first.
	Options []string
}

// Backend finds a backend or listen section by name.
func (c *Config) Backend(name string) (*ConfigBackend, bool) {
	i := slices.IndexFunc(c.Backends, func(b ConfigBackend) bool { return b.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Backends[i], true
}

// ReadConfig reads one haproxy.cfg: what it says about backends, servers and stats sockets. It does not judge the rest, which
// `haproxy -c` does. Errors name the file and the line.
func ReadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the HAProxy configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read the HAProxy configuration: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("read the HAProxy configuration: %s is longer than %d bytes", path, maxConfig)
	}
	return parseConfig(path, string(text), os.LookupEnv)
}

// sectionWords begin a section, wherever they stand first in a line (HAProxy 2.6 to 3.2).
var sectionWords = map[string]bool{"global": true, "defaults": true, "frontend": true, "backend": true, "listen": true, "peers": true,
	"mailers": true, "resolvers": true, "userlist": true, "program": true, "cache": true, "ring": true, "http-errors": true,
	"log-forward": true, "fcgi-app": true, "log-profile": true, "traces": true, "crt-store": true, "acme": true}

// reader is the state between two lines.
type reader struct {
	cfg     *Config
	line    int
	section Section
	// proxy is what the lines of the current defaults, backend or listen section set; nil in other sections.
	proxy    *proxy
	defaults map[string]*proxy // by name
	last     *proxy            // the defaults section above, for proxies without "from"
	setenv   map[string]string
	unset    map[string]bool
	lookup   func(string) (string, bool)
}

// proxy is a section being read: its settings, and the server options that later lines start from.
type proxy struct {
	ConfigBackend
	server serverDefaults
}

func newProxy() *proxy {
	return &proxy{ConfigBackend: ConfigBackend{Mode: "tcp", Balance: "roundrobin", HashType: "map-based"}, server: serverDefaults{weight: 1}}
}

// inherit copies the settings of a defaults section, without its identity.
func (p *proxy) inherit() *proxy {
	c := *p
	c.Name, c.Kind, c.From, c.Line, c.Servers, c.Tidegate = "", "", "", 0, nil, nil
	c.server.words = slices.Clone(p.server.words)
	return &c
}

// parseConfig is ReadConfig without the file and the environment.
func parseConfig(path, text string, lookup func(string) (string, bool)) (*Config, error) {
	r := &reader{cfg: &Config{Path: path}, defaults: map[string]*proxy{}, last: newProxy(), lookup: lookup,
		setenv: map[string]string{}, unset: map[string]bool{}}
	for line := range strings.Lines(text) {
		r.line++
		words, comment, unknown, err := splitLine(strings.TrimRight(line, "\r\n"), r.env)
		if err == nil {
			r.comment(comment)
			for _, name := range unknown {
				r.note("the environment variable %s is not set here; when HAProxy's environment sets it, its value counts there", name)
			}
			if len(words) > 0 {
				err = r.words(words)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, r.line, err)
		}
	}
	r.finish()
	return r.cfg, nil
}

func (r *reader) env(name string) (string, bool) {
	switch name {
	case ".FILE":
		return r.cfg.Path, true
	case ".LINE":
		return strconv.Itoa(r.line), true
	case ".SECTION":
		if r.section.Name != "" {
			return r.section.Name, true
		}
		return r.section.Kind, true
	}
	if value, ok := r.setenv[name]; ok {
		return value, true
	}
	if r.unset[name] {
		return "", false
	}
	return r.lookup(name)
}

func (r *reader) note(format string, args ...any) {
	r.cfg.Notes = append(r.cfg.Notes, Problem{Severity: Warning, Line: r.line, Text: fmt.Sprintf(format, args...)})
}

// comment looks for the markers that tidegate asks the user to put around its lines.
func (r *reader) comment(text string) {
	if r.proxy != nil && strings.HasPrefix(strings.TrimSpace(text), "tidegate") {
		r.proxy.Tidegate = append(r.proxy.Tidegate, r.line)
	}
}

func (r *reader) words(w []string) error {
	switch {
	case strings.HasPrefix(w[0], "."):
		if w[0] == ".if" {
			r.note("the conditional block that begins here is not evaluated: the lines of all its branches are read")
		}
		return nil
	case sectionWords[w[0]]:
		return r.begin(w)
	case r.section.Kind == "global":
		return r.global(w)
	case r.proxy != nil:
		return r.proxyLine(w)
	}
	return nil
}

// begin ends the section before and starts another.
func (r *reader) begin(w []string) error {
	r.finish()
	s := Section{Kind: w[0], Line: r.line}
	rest := w[1:]
	if len(rest) > 0 && (rest[0] != "from" || s.Kind != "defaults") {
		s.Name, rest = rest[0], rest[1:]
	}
	isProxy := s.Kind == "defaults" || s.Kind == "frontend" || s.Kind == "backend" || s.Kind == "listen"
	if isProxy && len(rest) >= 2 && rest[0] == "from" {
		s.From = rest[1]
	}
	r.section = s
	r.cfg.Sections = append(r.cfg.Sections, s)
	if !isProxy {
		return nil
	}
	if s.Kind != "defaults" {
		if s.Name == "" {
			return fmt.Errorf("%s needs a name", s.Kind)
		}
		if err := checkName(s.Kind, s.Name); err != nil {
			return err
		}
	}
	base := r.last
	switch {
	case s.From != "":
		if base = r.defaults[s.From]; base == nil {
			return fmt.Errorf("%s %s is from %q, but no defaults section of this name stands above", s.Kind, s.Name, s.From)
		}
	case s.Kind == "defaults":
		base = newProxy()
	}
	r.proxy = base.inherit()
	r.proxy.Kind, r.proxy.Name, r.proxy.From, r.proxy.Line = s.Kind, s.Name, s.From, s.Line
	return nil
}

// finish files the section that ends.
func (r *reader) finish() {
	if r.proxy == nil {
		return
	}
	switch p := r.proxy; p.Kind {
	case "defaults":
		r.last = p
		if p.Name != "" {
			r.defaults[p.Name] = p
		}
	case "backend", "listen":
		r.cfg.Backends = append(r.cfg.Backends, p.ConfigBackend)
	}
	r.proxy = nil
}

func (r *reader) global(w []string) error {
	switch {
	case len(w) >= 3 && (w[0] == "setenv" || w[0] == "presetenv"):
		if _, set := r.env(w[1]); w[0] == "setenv" || !set {
			r.setenv[w[1]] = w[2]
		}
	case len(w) >= 2 && w[0] == "unsetenv":
		for _, name := range w[1:] {
			delete(r.setenv, name)
			r.unset[name] = true
		}
	case len(w) >= 3 && w[0] == "stats" && w[1] == "maxconn":
		// HAProxy judges what is no number.
		r.cfg.StatsMaxConn, _ = strconv.Atoi(w[2])
		r.cfg.StatsMaxConnLine = r.line
	case len(w) >= 3 && w[0] == "stats" && w[1] == "socket":
		s := StatsSocket{Line: r.line, Address: w[2], Level: "operator"}
		for i := 3; i+1 < len(w); i++ {
			switch w[i] {
			case "level":
				s.Level = w[i+1]
			case "mode":
				s.Mode = w[i+1]
			}
		}
		r.cfg.Sockets = append(r.cfg.Sockets, s)
	}
	return nil
}

// proxyLine takes one keyword of a defaults, frontend, backend or listen section.
func (r *reader) proxyLine(w []string) error {
	p, no := r.proxy, false
	if len(w) > 1 && (w[0] == "no" || w[0] == "default") {
		no, w = true, w[1:]
	}
	arg := ""
	if len(w) > 1 {
		arg = w[1]
	}
	switch w[0] {
	case "mode":
		p.Mode = arg
	case "balance":
		p.Balance, _, _ = strings.Cut(arg, "(")
		p.BalanceLine = r.line
	case "hash-type":
		p.HashType = arg
	case "disabled":
		p.Disabled = true
	case "enabled":
		p.Disabled = false
	case "option":
		switch arg {
		case "redispatch":
			p.Redispatch = !no
		case "persist":
			p.Persist, p.PersistLine = !no, r.line
		}
	case "filter":
		if arg == "spoe" && slices.ContainsFunc(w[2:], func(s string) bool { return strings.Contains(s, "tidegate") }) {
			p.Tidegate = append(p.Tidegate, r.line)
		}
	case "default-server":
		return p.server.add(w[1:])
	case "server":
		return r.addServer(w)
	case "server-template":
		return r.addTemplate(w)
	}
	return nil
}

// cutPort splits "host:port" at the last colon, as HAProxy does; an IPv6 address may stand in brackets.
func cutPort(addr string) (host, port string, ok bool) {
	i := strings.LastIndexAny(addr, ":]")
	if i < 0 || addr[i] == ']' {
		return strings.Trim(addr, "[]"), "", false
	}
	return strings.Trim(addr[:i], "[]"), addr[i+1:], true
}
