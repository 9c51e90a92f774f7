package setup

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/haproxy"
)

// nameRE is what both the shipped HAProxy files and tidegate's configuration allow.
var nameRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$`)

// maxSocket leaves room for the name under which the socket is made.
const maxSocket = 100

// choose decides which backends and servers are taken, and collects the problems of those that are.
func (s *site) choose() error {
	if len(s.backends) == 0 {
		return fmt.Errorf("%s has no backend or listen section, so there is nothing to scale", s.o.HAProxy)
	}
	if line := unbalanced(s.text); line > 0 {
		return fmt.Errorf("%s: \"%s\" and \"%s\" do not come in pairs here; what is between them is taken out, so take or put the odd one out by hand first", s.place(line), beginMark, endMark)
	}
	if s.track == "" {
		return fmt.Errorf("%s uses all three stick counters (sc0, sc1, sc2), and tidegate's filter needs one that is free", s.o.HAProxy)
	}
	if len(s.listenSocket()) > maxSocket {
		return fmt.Errorf("%s: with this chroot the agent's socket would be %s, which is longer than a unix socket's path may be (%d bytes here)", s.o.HAProxy, s.listenSocket(), maxSocket)
	}
	for _, name := range s.o.Backends {
		if _, ok := s.cfg.Backend(name); !ok {
			return fmt.Errorf("--backend %.80q: %s has no such backend or listen section (it has %s)", name, s.o.HAProxy, s.backendNames())
		}
	}
	var reasons []string
	for _, b := range s.backends {
		b.chooseServers()
		b.why = b.reason(s.o.Strategy)
		asked := slices.Contains(s.o.Backends, b.Name)
		switch {
		case asked && b.why != "":
			return fmt.Errorf("--backend %s: %s: %s", b.Name, s.place(b.Line), b.why)
		case len(s.o.Backends) > 0 && !asked:
			b.why = "not named by --backend"
		}
		if b.why != "" {
			reasons = append(reasons, b.Name+" ("+b.why+")")
			continue
		}
		s.problemsOf(b)
	}
	if len(s.taken()) == 0 {
		return fmt.Errorf("no backend of %s can be taken: %s", s.o.HAProxy, strings.Join(reasons, "; "))
	}
	return nil
}

// unbalanced is the line of the first of tidegate's marks that has no partner, 0 when all have.
func unbalanced(lines []string) int {
	open := 0
	for i, line := range lines {
		switch strings.TrimSpace(line) {
		case beginMark:
			if open > 0 {
				return open
			}
			open = i + 1
		case endMark:
			if open == 0 {
				return i + 1
			}
			open = 0
		}
	}
	return open
}

func (s *site) backendNames() string {
	var names []string
	for _, b := range s.backends {
		names = append(names, b.Name)
	}
	return strings.Join(names, ", ")
}

// reason says why the backend as a whole cannot be taken, "" when it can.
// It also settles the strategy.
func (b *backend) reason(strategy string) string {
	switch {
	case !nameRE.MatchString(b.Name):
		return "its name is too long or begins with a sign; 1 to 64 letters, digits and . _ : - can be named in tidegate's files"
	case b.Disabled:
		return "it is disabled, so HAProxy never runs it"
	case b.Mode != "http":
		return "mode " + b.Mode + ": tidegate times HTTP answers, so it needs mode http"
	case len(b.Servers) == 0:
		return "no servers"
	case b.static() != "":
		return b.static()
	case len(b.servers) == 0:
		return "none of its servers can be taken: " + strings.Join(b.left, "; ")
	}
	if b.Strategy = strategy; b.Strategy == "" {
		b.Strategy = Strategies[0]
	}
	if why := b.shared(); b.Managed() && why != "" {
		if strategy != "" {
			return why + "; --strategy latency can take it"
		}
		b.Strategy, b.because = latency, why
	}
	return ""
}

// shared says which servers are on one machine, "" when each has its own.
func (b *backend) shared() string {
	hosts := map[string]string{}
	for _, srv := range b.servers {
		if other, twice := hosts[srv.Host]; twice {
			return fmt.Sprintf("servers %s and %s are both on %s, and %s counts one set of workers for each app on a node", other, srv.Name, srv.Host, b.Strategy)
		}
		hosts[srv.Host] = srv.Name
	}
	return ""
}

// static asks the package that knows the algorithms whether this one takes weights: its finding stands in the balance line.
func (b *backend) static() string {
	c := haproxy.Config{Backends: []haproxy.ConfigBackend{b.ConfigBackend}}
	for _, p := range haproxy.Problems(&c, b.Name) {
		if p.Severity == haproxy.Error && p.Line == b.BalanceLine && b.BalanceLine > 0 {
			return p.Text
		}
	}
	return ""
}

// chooseServers takes the servers that tidegate can steer; the others stay as they are.
func (b *backend) chooseServers() {
	seen := map[string]string{}
	for _, c := range b.Servers {
		addr, why := address(c)
		switch {
		case why != "":
		case !nameRE.MatchString(c.Name):
			why = "its name is too long or begins with a sign"
		case c.Backup:
			why = "a backup server, which HAProxy uses only when all others are down"
		case c.Track != "":
			why = "it follows the state of " + c.Track
		case seen[addr] != "":
			why = "the same address as " + seen[addr]
		}
		if why != "" {
			b.left = append(b.left, c.Name+": "+why)
			continue
		}
		seen[addr] = c.Name
		b.servers = append(b.servers, server{ConfigServer: c, Address: addr, at: addr})
	}
	for i := range b.servers {
		if !b.servers[i].Disabled {
			b.servers[i].AlwaysUp = true
			break
		}
	}
}

// address is the server's ip:port, or why it has none.
func address(c haproxy.ConfigServer) (addr, why string) {
	ip, err := netip.ParseAddr(c.Host)
	switch {
	case strings.HasPrefix(c.Host, "/"):
		return "", "a unix socket; tidegate needs an ip:port"
	case c.Host == "" || err == nil && ip.IsUnspecified():
		return "", "no address of its own (HAProxy takes the client's)"
	case err != nil:
		return "", fmt.Sprintf("%.80q is a name; tidegate needs an ip:port, as nginx resolves a name only once, when it reads its files", c.Host)
	case ip.Zone() != "":
		return "", "an address with an IPv6 zone"
	case c.Port == 0:
		return "", "no fixed port"
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(c.Port)), ""
}

func (s *site) problemsOf(b *backend) {
	for _, p := range haproxy.Problems(s.cfg, b.Name) {
		s.problem(p.Severity, s.place(p.Line), "%s", p.Text)
	}
	if len(b.Tidegate) > 0 {
		s.problem(haproxy.Warning, s.place(b.Tidegate[0]), "%s %s has tidegate's lines already; %s replaces them, by hand you would have to", b.Kind, b.Name, insertName)
	}
	awake := slices.IndexFunc(b.servers, func(v server) bool { return v.AlwaysUp })
	if awake < 0 {
		s.problem(haproxy.Warning, s.place(b.Line), "every server of %s %s that tidegate takes is \"disabled\", so none is set always_up; leave one enabled, or say always_up in %s", b.Kind, b.Name, configName)
	}
}
