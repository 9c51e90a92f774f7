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
	// ResolveEvery is how often the names in servers' addresses are looked up.
	ResolveEvery time.Duration
	SPOA         *SPOA
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
	// Batch: the whole process runs under SCHED_BATCH, so that it does not take the processor from HAProxy whenever it wakes up.
	Batch bool
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

// Nginx is the nginx whose include files are written.
type Nginx struct {
	// Include is the file for the http block, or the folder of them with PerApp; StreamInclude that for the stream block, "" for none.
	Include, StreamInclude string
	PerApp                 bool
	// Config is nginx's main configuration.
	Config, Binary, Prefix, PIDFile string
	// TestCommand and ReloadCommand stand in for nginx -t and for SIGHUP, nil for none.
	TestCommand, ReloadCommand []string
	// The reload budget: see nginxgen.Budget. 0 is none.
	MinMembership, MinWeights, Quiet, MaxWait time.Duration
	MaxPerMinute, OldGenerations              int
	// ReportOnly: a file that somebody else changes is reported and left.
	ReportOnly bool
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
	// TLS is for an https URL, nil without the section.
	TLS *TLS
	// Speed is how much a worker there does, as a multiple of one elsewhere: 1 unless it is given.
	Speed float64
}

// TLS names PEM files: of a node agent (Cert and Key, and CA for the certificates of those who may call), or of the
// controller (CA for the agent's certificate, Cert and Key to show); "" for what is not given.
type TLS struct{ Cert, Key, CA string }

// App is one app: its policy for the core and its addresses for everyone else.
type App struct {
	Policy  core.AppPolicy
	Backend string
	// HAProxy are the names of the instances that have the backend; nil for all.
	HAProxy    []string
	Upstream   *Upstream
	StaleAfter time.Duration
	Servers    []Server
	// Readdress: HAProxy gets the servers' addresses from here. Those that are names are in no policy; whoever resolves them
	// puts them there.
	Readdress bool
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

		Tick:         s.duration("tick", raw.Tick, 2*time.Second, 100*time.Millisecond, time.Minute),
		ResolveEvery: s.duration("resolve_every", raw.Resolve, 30*time.Second, time.Second, time.Hour),
	}
	if raw.Metrics != "" {
		c.Metrics = s.hostPort("metrics", raw.Metrics, false)
	}
	if raw.SPOA != nil {
		c.SPOA = &SPOA{
			Listen: s.socket("spoa.listen", raw.SPOA.Listen, "unix:/run/tidegate/spoa.sock"), Group: raw.SPOA.Group,
			OpenExpire: s.duration("spoa.open_expire", raw.SPOA.OpenExpire, 2*time.Minute, 10*time.Second, day),
			Batch:      s.oneOf("spoa.scheduling", raw.SPOA.Scheduling, "batch", "batch", "normal") == "batch",
		}
	}
	s.haproxies(&raw.HAProxy, c)
	if n := raw.Nginx; n != nil {
		c.Nginx = s.nginx(n)
	}
	// The nodes' speeds by name.
	nodes := map[string]float64{}
	for i, n := range raw.Nodes {
		key := index("nodes", i)
		node := Node{
			Name:    s.name(key+".name", n.Name),
			URL:     s.httpURL(key+".url", n.URL, true),
			Token:   s.token(key+".token_file", n.TokenFile),
			Timeout: s.duration(key+".timeout", n.Timeout, time.Second, 50*time.Millisecond, 30*time.Second),
			Speed:   s.number(key+".speed", n.Speed, 1, 0.05, 20),
		}
		node.TLS = s.clientTLS(key+".tls", n.TLS, n.URL)
		if _, there := nodes[n.Name]; there {
			s.fail(key+".name", n.Name, "a name that no other node has")
		}
		nodes[n.Name] = node.Speed
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
	include, stream := s.includes(n)
	out := &Nginx{
		Include: include, StreamInclude: stream,
		Config:         s.path("nginx.config", n.Config, "/etc/nginx/nginx.conf"),
		PerApp:         s.oneOf("nginx.layout", n.Layout, "one_file", "one_file", "per_app") == "per_app",
		Binary:         n.Binary,
		TestCommand:    s.command("nginx.test_command", n.TestCommand),
		ReloadCommand:  s.command("nginx.reload_command", n.ReloadCommand),
		MinMembership:  s.duration("nginx.min_membership", n.MinMembership, 2*time.Second, 0, 10*time.Minute),
		MinWeights:     s.duration("nginx.min_weights", n.MinWeights, 10*time.Second, 0, time.Hour),
		Quiet:          s.duration("nginx.quiet", n.Quiet, time.Second, 0, time.Minute),
		MaxWait:        s.duration("nginx.max_wait", n.MaxWait, 10*time.Second, 0, 10*time.Minute),
		MaxPerMinute:   s.int("nginx.max_per_minute", n.MaxPerMinute, 6, 0, 600),
		OldGenerations: s.int("nginx.old_generations", n.OldGenerations, 3, 0, 1000),
		ReportOnly:     s.oneOf("nginx.on_drift", n.OnDrift, "repair", "repair", "report") == "report",
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

// includes are the include file or folder for the http block, and the file for the stream block.
func (s *source) includes(n *rawNginx) (include, stream string) {
	if n.Include != "" || n.StreamInclude == "" {
		include = s.path("nginx.include", n.Include, "")
	}
	if n.StreamInclude != "" {
		stream = s.path("nginx.stream_include", n.StreamInclude, "")
		if stream == include {
			s.fail("nginx.stream_include", stream, "another file than `include`: nginx reads one in its http block and the other in its stream block")
		}
	}
	return include, stream
}

// command takes a whole command line, nil for none.
func (s *source) command(key string, words []string) []string {
	if len(words) > 0 && !s.policyOnly {
		s.path(key+"[0]", words[0], "")
	}
	return words
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
