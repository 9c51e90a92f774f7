package haproxy

import (
	"fmt"
	"slices"
	"strings"
)

// Severity tells what a problem means for tidegate.
type Severity string

// An Error keeps tidegate from working with the backend, a Warning makes it work less well.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one finding about haproxy.cfg: a sentence that says what is wrong and how to mend it.
type Problem struct {
	Severity Severity
	// Line is where it stands, 0 when something is missing altogether.
	Line int
	Text string
}

// hashing are the algorithms that hash, which take all weights only with "hash-type consistent".
var hashing = []string{"source", "uri", "url_param", "hdr", "rdp-cookie", "hash", "log-hash"}

// Problems says what in the configuration would keep tidegate from scaling the named backend, errors first. Nil means
// nothing is wrong. What only shows after a reload (a weight of 1, a server that is not `disabled`) is a warning here.
func Problems(cfg *Config, backend string) []Problem {
	return problems(cfg, backend, Warning, nil)
}

// Refusals is Problems for a backend whose servers are known by name, with those that always serve: only those may be enabled,
// and of these servers nothing that shows after a reload is tolerated.
func Refusals(cfg *Config, backend string, alwaysUp map[string]bool) []Problem {
	return problems(cfg, backend, Error, alwaysUp)
}

func problems(cfg *Config, backend string, afterReload Severity, alwaysUp map[string]bool) []Problem {
	b, ok := cfg.Backend(backend)
	if !ok {
		return []Problem{{Error, 0, fmt.Sprintf("%s has no backend or listen section %.130q", cfg.Path, backend)}}
	}
	var found []Problem
	add := func(severity Severity, line int, format string, args ...any) {
		found = append(found, Problem{severity, line, fmt.Sprintf(format, args...)})
	}
	if b.Disabled {
		add(Error, b.Line, "%s %s is disabled, so HAProxy never runs it; take the line \"disabled\" away", b.Kind, b.Name)
	}
	b.balanceProblems(add)
	b.serverProblems(add, afterReload, alwaysUp)
	if b.Persist {
		add(Error, b.PersistLine, "%s %s has \"option persist\", which keeps sending sticky clients to servers in maintenance; put \"no option persist\" there", b.Kind, b.Name)
	}
	if !b.Redispatch {
		add(Warning, b.Line, "%s %s has no \"option redispatch\": a request that cannot connect to its server is not tried on another one; add it", b.Kind, b.Name)
	}
	cfg.socketProblems(add)
	cfg.slotProblems(add)
	found = append(found, cfg.Notes...)
	slices.SortStableFunc(found, func(a, b Problem) int { return strings.Compare(string(a.Severity), string(b.Severity)) })
	return found
}

type addProblem func(severity Severity, line int, format string, args ...any)

func (b *ConfigBackend) balanceProblems(add addProblem) {
	line := b.BalanceLine
	if b.Balance == "static-rr" {
		add(Error, line, "%s %s uses \"balance static-rr\", which takes no weight but 0 and the configured one; use roundrobin or leastconn", b.Kind, b.Name)
	}
	if slices.Contains(hashing, b.Balance) && b.HashType != "consistent" {
		add(Error, line, "%s %s uses \"balance %s\" with a map-based hash, which takes no weight but 0 and the configured one; add \"hash-type consistent\"", b.Kind, b.Name, b.Balance)
	}
	if b.Balance == "first" {
		add(Warning, line, "%s %s uses \"balance first\", which ignores weights: a new server cannot be given its traffic step by step; use roundrobin or leastconn", b.Kind, b.Name)
	}
}

// serverProblems are about the servers in alwaysUp, or about all when it is nil.
func (b *ConfigBackend) serverProblems(add addProblem, severity Severity, alwaysUp map[string]bool) {
	if len(b.Servers) == 0 {
		add(Error, b.Line, "%s %s has no servers", b.Kind, b.Name)
		return
	}
	ours := func(s ConfigServer) bool { _, named := alwaysUp[s.Name]; return named || alwaysUp == nil }
	light := b.pick(func(s ConfigServer) bool { return s.Weight == 1 && ours(s) })
	if len(light) > 0 {
		// Absolute weights work from any initial weight; only relative ones (percentages), which tidegate never sends, do not.
		add(severity, light[0].Line, "%s of %s %s has weight 1 (the default), so after each reload it gets next to nothing beside servers that tidegate has given their weight, until it has that too; better give all servers \"weight 100\", for instance by \"default-server weight 100\"",
			naming(light), b.Kind, b.Name)
	}
	if awake := b.pick(func(s ConfigServer) bool { return !s.Disabled && ours(s) && !alwaysUp[s.Name] }); len(awake) > 0 {
		add(severity, awake[0].Line, "%s of %s %s is not \"disabled\", so after each reload it takes traffic at once, until tidegate has applied its state again; this is right for servers that are always up",
			naming(awake), b.Kind, b.Name)
	}
}

func (b *ConfigBackend) pick(want func(ConfigServer) bool) []ConfigServer {
	var out []ConfigServer
	for _, s := range b.Servers {
		if want(s) {
			out = append(out, s)
		}
	}
	return out
}

// naming is "server a" or "server a (and 3 more)".
func naming(servers []ConfigServer) string {
	text := "server " + servers[0].Name
	if len(servers) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(servers)-1)
	}
	return text
}

// LeastSlots is the least that "stats maxconn" has to allow: tidegate takes one connection at a time, its check, a person with
// socat and an exporter of metrics one each, and one that hangs must not be in the way.
const LeastSlots = 5

func (c *Config) slotProblems(add addProblem) {
	if c.StatsMaxConn > 0 && c.StatsMaxConn < LeastSlots {
		add(Error, c.StatsMaxConnLine, "\"stats maxconn %d\" allows too few connections to the stats sockets at once: when all are taken, commands wait and run late; allow at least %d, or leave the line out (10)", c.StatsMaxConn, LeastSlots)
	}
}

func (c *Config) socketProblems(add addProblem) {
	if len(c.Sockets) == 0 {
		add(Error, 0, "%s has no stats socket; add \"stats socket /run/haproxy/admin.sock mode 660 level admin\" to its global section", c.Path)
		return
	}
	usable := slices.ContainsFunc(c.Sockets, func(s StatsSocket) bool {
		_, ok := s.Dial()
		return ok && s.Level == "admin"
	})
	if usable {
		return
	}
	for _, s := range c.Sockets {
		if _, ok := s.Dial(); ok {
			add(Error, s.Line, "the stats socket %s has level %s, which refuses changes; add \"level admin\" to its line", s.Address, s.Level)
			return
		}
	}
	add(Error, c.Sockets[0].Line, "the stats socket %s is not one that tidegate can dial; add \"stats socket /run/haproxy/admin.sock mode 660 level admin\"", c.Sockets[0].Address)
}
