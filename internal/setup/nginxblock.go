package setup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/nginxtok"
)

// upstream is an upstream block of the user's. Its strings come from that file and are not validated.
type upstream struct {
	// Name is as written. File is where the block stands, as nginx opens it; real is the same with symbolic links followed,
	// because an editor that replaces files would cut a link.
	Name, File, real string
	// Line and last are the block's first and last line, from and to its bytes.
	Line, last, from, to int
	// context is "http" or "stream".
	context string
	// Method is least_conn, ip_hash, random..., hash... or least_time... in the words of tidegate.yaml, as far as it has any;
	// Zone is the rest of the zone line, Keepalive the connections kept.
	Method, Zone string
	Keepalive    int
	Servers      []webServer
	// Other are directives of the block that tidegate has no words for, as nginx takes them.
	Other []string
	// traps say what nginx does with the block and its author will not have meant.
	traps []problem
	// users are the *_pass directives that pass requests to it.
	users []pass
	// own tells that the block stands in tidegate's own file. app is what it was taken for.
	own bool
	app *backend
	// bad says why its block is not taken whatever stands in it, why what was decided at last; "" for no reason.
	bad, why string
}

// webServer is a server line of an upstream block.
type webServer struct {
	// Address is as written, perhaps a host name or without a port (nginx then takes 80).
	Address      string
	Weight       int
	Down, Backup bool
	// MaxConns is 0 for no bound; maxFails and failTimeout are nginx's defaults where the line has none.
	MaxConns, maxFails int
	failTimeout        time.Duration
	// Params are the other parameters, in their order.
	Params []string
	// written is the address in tidegate's notation, at the same with an IP address, "" for both when unknown says why it has none.
	written, at, unknown string
}

// spare tells that tidegate would neither steer nor count it.
func (v webServer) spare() bool { return v.Backup || v.Down }

func (u *upstream) place() string { return at(u.File, u.Line) }

// upstream reads a block with the files that it includes.
func (r *nginxReader) upstream(file string, path []string, d *nginxtok.Directive) error {
	u := &upstream{Name: d.Arg(1), File: file, real: file, Line: d.Line, last: d.Last, from: d.From, to: d.To, context: path[0]}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		u.real = real
	}
	r.upstreams = append(r.upstreams, u)
	r.current = u
	defer func() { r.current = nil }()
	return r.walk(file, []string{path[0], "upstream"}, d.Block)
}

// member takes one directive of the block.
func (u *upstream) member(file string, d *nginxtok.Directive) {
	var words []string
	for _, w := range d.Words {
		words = append(words, w.Text)
	}
	line, place := strings.Join(words, " "), at(file, d.Line)
	n, err := strconv.Atoi(d.Arg(1))
	switch words[0] {
	case "server":
		u.Servers = append(u.Servers, u.server(words, place))
		return
	case "least_conn", "ip_hash", "random", "hash", "least_time":
		if u.Method != "" {
			u.trap(place, "a second method; nginx takes this one and not %q", shown(u.Method))
		}
		if u.Keepalive > 0 {
			u.trap(place, "the method stands after keepalive, so nginx only warns and keeps no connection; in tidegate's file it stands before")
		}
		u.Method = methodOf(d)
		return
	case "keepalive":
		if len(words) == 2 && err == nil && n >= 0 {
			u.Keepalive = n
			return
		}
	case "zone":
		u.Zone = strings.Join(words[1:], " ")
		return
	}
	u.Other = append(u.Other, line)
}

func (u *upstream) trap(place, format string, args ...any) {
	u.traps = append(u.traps, problem{haproxy.Warning, place, fmt.Sprintf(format, args...)})
}

func (u *upstream) server(words []string, place string) webServer {
	s := webServer{Weight: 1, maxFails: defaultMaxFails, failTimeout: defaultFailTimeout}
	for i, w := range words[1:] {
		weight, isWeight := strings.CutPrefix(w, "weight=")
		n, err := strconv.Atoi(weight)
		switch {
		case i == 0:
			s.Address = w
		case isWeight && err == nil && n > 0:
			s.Weight = n
		case w == "down":
			s.Down = true
		case w == "backup":
			s.Backup = true
		case s.setting(w):
		default:
			s.Params = append(s.Params, w)
		}
	}
	for _, other := range u.Servers {
		if other.Address == s.Address {
			u.trap(place, "server %s stands there twice; in tidegate's file it stands once, with the last weight", shown(s.Address))
		}
	}
	return s
}

// link finds out which upstreams nginx passes requests to, and what keeps one from being taken before its lines are looked at.
func (r *nginxReader) link() {
	users := map[string][]pass{}
	for _, p := range r.passes {
		users[usersKey(p.stream, p.target)] = append(users[usersKey(p.stream, p.target)], p)
	}
	names, places := map[string]*upstream{}, map[string]*upstream{}
	for _, u := range r.upstreams {
		name := strings.ToLower(u.Name)
		key := usersKey(u.context == "stream", name)
		if u.users = users[key]; len(u.users) == 0 && r.variable && r.named[name] {
			u.users = []pass{{kind: "a variable"}}
		}
		place := at(u.real, u.from)
		v, w := places[place], names[key]
		switch {
		case v != nil && v.context != u.context:
			u.bad = "its file is included in both http and stream, so the block cannot go for one and stay for the other"
			v.bad = u.bad
		case v != nil:
			u.bad = "its file is included twice in the same block, and nginx refuses the name twice"
			v.bad = u.bad
		case w != nil:
			u.bad = fmt.Sprintf("the name stands at %s too, and nginx refuses a name twice", w.place())
			w.bad = fmt.Sprintf("the name stands at %s too, and nginx refuses a name twice", u.place())
		}
		names[key], places[place] = u, u
	}
}

func usersKey(stream bool, name string) string { return strconv.FormatBool(stream) + " " + name }

// within tells whether the line stands directly in the block.
func (i includeLine) within(block string) bool { return len(i.path) == 1 && i.path[0] == block }

// straight are the *_pass directives that go to an address past every upstream, the first for each address.
func (r *nginxReader) straight() map[string]pass {
	out := map[string]pass{}
	for _, p := range r.passes {
		if addr, ok := webAddr(p.target); ok && out[addr].kind == "" {
			out[addr] = p
		}
	}
	return out
}
