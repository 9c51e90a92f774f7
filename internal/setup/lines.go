package setup

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/nginxgen"
)

// line is a server of an app as the configuration has it, and its line in the app's upstream.
type line struct {
	server
	// Backup and Down make it a spare, which tidegate neither steers nor counts.
	Backup, Down bool
	// MaxConns is 0 for no bound.
	MaxConns int
	weight   int
	// off: nginx has it not yet, or has it down, and will have it as soon as tidegate says so.
	off bool
}

// Spare tells that tidegate does not steer it.
func (l line) Spare() bool { return l.Backup || l.Down }

// members are the distinct servers of the block, in order. Of several lines with one address the last one's settings count,
// and it is a backup, or down, when all of them are.
func (u *upstream) members() []webServer {
	var out []webServer
	for _, v := range u.Servers {
		i := slices.IndexFunc(out, func(m webServer) bool { return m.at == v.at })
		switch {
		case i < 0:
			out = append(out, v)
		case out[i].Down:
			out[i] = v
		case !v.Down:
			v.Backup = v.Backup && out[i].Backup
			out[i] = v
		}
	}
	return out
}

// steered are the addresses of the servers that are neither backup nor down.
func (u *upstream) steered() (addrs []string) {
	for _, m := range u.members() {
		if m.at != "" && !m.spare() {
			addrs = append(addrs, m.at)
		}
	}
	return addrs
}

// asked are the addresses that nginx may send requests to: all that are not down.
func (u *upstream) asked() (addrs []string) {
	for _, m := range u.members() {
		if m.at != "" && !m.Down {
			addrs = append(addrs, m.at)
		}
	}
	return addrs
}

// Lines are the app's servers in the order of the configuration, which is that of nginx's file. Methods that go by place get
// the order of the user's block, and so does an app that only nginx knows; otherwise it is HAProxy's, with the spares behind.
func (b *backend) Lines() []line {
	var out []line
	there := map[string]bool{}
	if b.upstream != nil {
		for _, m := range b.upstream.members() {
			l := line{weight: min(m.Weight, 1000), MaxConns: m.MaxConns}
			if srv := b.at(m.at); srv != nil {
				l.server, l.off = *srv, m.Down
			} else {
				l.server, l.Backup, l.Down = b.spare(m), m.Backup && !m.Down, m.Down
			}
			out, there[m.at] = append(out, l), true
		}
	}
	for _, srv := range b.servers {
		if !there[srv.at] {
			out = append(out, line{server: srv, weight: 1, off: true})
		}
	}
	if !b.WebOnly && (b.upstream == nil || !b.upstream.hashes()) {
		place := func(l line) int {
			if i := slices.IndexFunc(b.servers, func(v server) bool { return v.at == l.at }); i >= 0 {
				return i
			}
			return len(b.servers)
		}
		slices.SortStableFunc(out, func(x, y line) int { return place(x) - place(y) })
	}
	return out
}

// spare is a server that stands in the upstream alone.
func (b *backend) spare(m webServer) server {
	host, port, _ := net.SplitHostPort(m.at)
	name := nodeName(host) + "-" + port
	for slices.ContainsFunc(b.servers, func(v server) bool { return v.Name == name }) {
		name += "-nginx"
	}
	return server{ConfigServer: haproxy.ConfigServer{Name: name, Host: host}, Address: m.written, at: m.at}
}

// web is the first include's block: what the user's block does now, in the order that tidegate will keep. Servers that the
// user's block does not have wait, down.
func (b *backend) web() nginxgen.Upstream {
	from := b.upstream
	u := nginxgen.Upstream{Name: from.Name, Stream: from.Stream(), Method: from.Method, Zone: from.Size(), Keepalive: from.Keepalive}
	maxFails, failTimeout := from.failures()
	for _, l := range b.Lines() {
		ns := nginxgen.Server{
			Name: l.Name, Address: l.at, Weight: l.weight, Backup: l.Backup, Down: l.Down || l.off, MaxConns: l.MaxConns,
		}
		if from.MaxFails() != "" {
			ns.MaxFails = maxFails
			if maxFails == 0 {
				ns.MaxFails = -1
			}
		}
		if from.FailTimeout() != "" {
			ns.FailTimeout = failTimeout
		}
		u.Servers = append(u.Servers, ns)
	}
	return u
}

// hostOf is the name of the machine that a server of nginx's is on: one for each IP address, as it was first written.
func (s *site) hostOf(m webServer) string {
	ip := netip.MustParseAddrPort(m.at).Addr().String()
	if s.hosts[ip] != "" {
		return s.hosts[ip]
	}
	host, _, _ := net.SplitHostPort(m.written)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !nameRE.MatchString(nodeName(host) + "-65535") {
		host = ip
	}
	s.hosts[ip] = host
	return host
}

// nameTaken says which upstream of the other kind has the name, "" for none: tidegate.yaml tells upstreams apart by it.
func (s *site) nameTaken(u *upstream) string {
	for _, b := range s.taken() {
		if v := b.upstream; v != nil && v != u && strings.EqualFold(v.Name, u.Name) {
			return fmt.Sprintf("upstream %s of %s (%s) has the name, and tidegate.yaml tells upstreams apart by their names", shown(v.Name), v.context, v.place())
		}
	}
	return ""
}
