package conf

import (
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/core"
)

// Controller is a complete, validated configuration of `tidegate run`.
type Controller struct {
	// File is where it was read.
	File string
	// API is where the status API listens, Metrics an optional second address for /metrics, /healthz and /readyz only.
	API, Metrics string
	StateDir     string
	// DecisionsOnly keeps quiet turns out of the journal, which then does not replay.
	DecisionsOnly bool
	// Tick is one turn of the loop.
	Tick time.Duration
	SPOA *SPOA
	// HAProxy are the instances that are steered: none, one (whose name may be ""), or several with names.
	HAProxy []HAProxy
	Nginx   *Nginx
	Nodes   []Node
	Apps    []App
}

// SPOA is where HAProxy's filter finds the agent.
type SPOA struct {
	Listen string
	// Group owns a unix socket besides its owner, so that HAProxy's user can connect; "" leaves it.
	Group string
	// OpenExpire is the age beyond which a request is no longer taken for open, where HAProxy tells of arrivals.
	OpenExpire time.Duration
}

// HAProxy is the runtime API of a HAProxy that is steered.
type HAProxy struct {
	// Name tells several apart; "" for the only one.
	Name   string
	Socket string
	// Remote: the socket may be another machine's.
	Remote  bool
	Timeout time.Duration
}

// Nginx is the nginx whose include file is written.
type Nginx struct {
	Include, Config, Binary, Prefix, PIDFile string
	MinMembership, MinWeights                time.Duration
	// DNS is the loopback address where nginx is told servers and weights without a reload; "" writes them into the include file.
	DNS string
	// Fallback: the include file then names the servers as backups, for an nginx that starts while tidegate does not run.
	Fallback bool
}

// Node is a machine with a node agent.
type Node struct {
	Name, URL string
	Token     Secret
	Timeout   time.Duration
}

// App is one app: its policy for the core and its addresses for everyone else.
type App struct {
	Policy  core.AppPolicy
	Backend string
	// HAProxy are the names of the instances that have the backend; nil for all.
	HAProxy    []string
	Upstream   *Upstream
	StaleAfter time.Duration
	Servers    []Server
	// AddOptions are the words on the line of a server that is added at run time, Policy.Dynamic.
	AddOptions string
	// Backlog is where the length of the app's message queue is asked for, nil without a queue.
	Backlog *Backlog
	// Zones are the time zones of Policy.Sizing.Schedule, slot by slot; At applies them.
	Zones []*time.Location
}

// At is the policy as it is to be decided by at a time: each slot of the schedule with its zone's distance from UTC at that time.
func (a *App) At(now time.Time) core.AppPolicy {
	p := a.Policy
	if len(a.Zones) == 0 {
		return p
	}
	p.Sizing.Schedule = slices.Clone(p.Sizing.Schedule)
	for i, zone := range a.Zones {
		_, offset := now.In(zone).Zone()
		p.Sizing.Schedule[i].Offset = time.Duration(offset) * time.Second
	}
	return p
}

// On tells whether the app has its backend on a HAProxy instance.
func (a *App) On(h HAProxy) bool {
	return a.Policy.Proxied && (a.HAProxy == nil || slices.Contains(a.HAProxy, h.Name))
}

// Backlog tells the length of a message queue as JSON: from URL, or as printed by Command. It is asked for at most once per
// Every, and waited for at most Timeout.
type Backlog struct {
	URL            string
	Command        []string
	Every, Timeout time.Duration
}

// Upstream is the app's nginx upstream.
type Upstream struct {
	Name, Method, Zone string
	Keepalive          int
}

// Server is one server's addresses. WarmURL is "" without a warm-up.
type Server struct {
	Name, Address, Node       string
	WarmURL, WarmHost, WarmUA string
	WarmTimeout               time.Duration
	MinWorkers, ParkedWorkers int
	MaxWorkers                int
	AlwaysUp                  bool
}

// LoadController reads a controller configuration; the error is Problems when the file was readable.
func LoadController(file string) (*Controller, error) {
	var raw rawController
	s, err := open(file, &raw)
	if err != nil {
		return nil, err
	}
	c := s.controller(&raw)
	if err := s.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// LoadPolicy reads a controller configuration for decisions alone: nothing is contacted, so the sections haproxy, spoa, nginx and
// nodes may be missing, tokens are not read, and addresses need not be given. What decides is checked as LoadController does.
func LoadPolicy(file string) (*Controller, error) {
	var raw rawController
	s, err := open(file, &raw)
	if err != nil {
		return nil, err
	}
	s.policyOnly = true
	c := s.controller(&raw)
	if err := s.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (s *source) controller(raw *rawController) *Controller {
	c := &Controller{
		File:     s.file,
		API:      s.socket("api", raw.API, "unix:/run/tidegate/api.sock"),
		StateDir: s.path("state_dir", raw.StateDir, "/var/lib/tidegate"),

		DecisionsOnly: s.oneOf("journal", raw.Journal, "full", "full", "decisions") == "decisions",

		Tick: s.duration("tick", raw.Tick, 2*time.Second, 100*time.Millisecond, time.Minute),
	}
	if raw.Metrics != "" {
		c.Metrics = s.hostPort("metrics", raw.Metrics, false)
	}
	if raw.SPOA != nil {
		c.SPOA = &SPOA{
			Listen: s.socket("spoa.listen", raw.SPOA.Listen, "unix:/run/tidegate/spoa.sock"), Group: raw.SPOA.Group,
			OpenExpire: s.duration("spoa.open_expire", raw.SPOA.OpenExpire, 2*time.Minute, 10*time.Second, day),
		}
	}
	s.haproxies(&raw.HAProxy, c)
	if n := raw.Nginx; n != nil {
		c.Nginx = s.nginx(n)
	}
	nodes := map[string]bool{}
	for i, n := range raw.Nodes {
		key := index("nodes", i)
		node := Node{
			Name:    s.name(key+".name", n.Name),
			URL:     s.httpURL(key+".url", n.URL, true),
			Token:   s.token(key+".token_file", n.TokenFile),
			Timeout: s.duration(key+".timeout", n.Timeout, time.Second, 50*time.Millisecond, 30*time.Second),
		}
		if nodes[n.Name] {
			s.fail(key+".name", n.Name, "a name that no other node has")
		}
		nodes[n.Name] = true
		c.Nodes = append(c.Nodes, node)
	}
	if len(raw.Apps) == 0 {
		s.fail("apps", "", "at least one app")
	}
	seen := map[string]string{}
	for i := range raw.Apps {
		c.Apps = append(c.Apps, s.app(index("apps", i), &raw.Apps[i], c, nodes, seen))
	}
	return c
}

func (s *source) nginx(n *rawNginx) *Nginx {
	out := &Nginx{
		Include:       s.path("nginx.include", n.Include, ""),
		Config:        s.path("nginx.config", n.Config, "/etc/nginx/nginx.conf"),
		Binary:        n.Binary,
		MinMembership: s.duration("nginx.min_membership", n.MinMembership, 2*time.Second, 0, 10*time.Minute),
		MinWeights:    s.duration("nginx.min_weights", n.MinWeights, 10*time.Second, 0, time.Hour),
	}
	if n.Binary != "" && strings.Contains(n.Binary, "/") {
		s.path("nginx.binary", n.Binary, "")
	}
	if n.Prefix != "" {
		out.Prefix = s.path("nginx.prefix", n.Prefix, "")
	}
	if n.PIDFile != "" {
		out.PIDFile = s.path("nginx.pid_file", n.PIDFile, "")
	}
	s.nginxDNS(n, out)
	return out
}

// unique notes that value stands at key and fails when it stood elsewhere before.
func (s *source) unique(seen map[string]string, kind, key, value string) {
	if value == "" {
		return
	}
	if before, ok := seen[kind+value]; ok {
		s.fail(key, value, "a %s that is not used before (it is at %s)", kind, before)
	}
	seen[kind+value] = key
}
