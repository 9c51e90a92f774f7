package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tidegate/tidegate/api"
	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// Fleet is the running demo: four nodes behind HAProxy and nginx, steered by one controller.
type Fleet struct {
	Rig *harness.Rig
	// HAProxyAddr and NginxAddr take the load, MetricsAddr serves /metrics.
	HAProxyAddr, NginxAddr, MetricsAddr string
	// Config is the controller's configuration file.
	Config  string
	API     *api.Client
	HAProxy *harness.HAProxy
	// Balancers are all HAProxy instances, HAProxy the first of them, with the addresses of their frontends and statistics pages.
	Balancers                    []*harness.HAProxy
	BalancerAddrs, BalancerStats []string
	Nginx                        *harness.Nginx
	Controller                   *harness.Proc
	Gunicorns, Agents            []*harness.Proc
	nodes                        []node
	binary                       string
}

type node struct {
	name, app, agent string
}

// Options of a fleet.
type Options struct {
	// Binary is the tidegate binary to run.
	Binary string
	// Nodes is the number of nodes, MaxWorkers the most workers of one.
	Nodes, MaxWorkers int
	// ServiceMS is how long a request keeps a worker busy, in milliseconds.
	ServiceMS int
	// AppYAML replaces the part of the controller's configuration that says how the app is sized.
	AppYAML string
	// Env is added to the environment of the application; NODE in it stands for the node's name.
	Env []string
	// State is the controller's state folder, inside the rig's folder when empty.
	State string
	// Tick is the controller's, one second when 0.
	Tick time.Duration
	// Balancers is the number of HAProxy instances, lb1, lb2 and so on, in front of the nodes; one, without a name, when 0.
	Balancers int
	// HAProxyGlobal and HAProxyDefaults are further lines of those sections; {{DIR}} in them is the rig's folder.
	HAProxyGlobal, HAProxyDefaults string
	// Arrivals makes HAProxy tell of each request's arrival.
	Arrivals bool
	// NginxDNS tells nginx its weights through DNS, which takes nginx 1.27.3 or later.
	NginxDNS bool
	// Log gets one line for each step of the start.
	Log func(format string, args ...any)
}

// DefaultApp sizes the app of the demo. What a production setting does within minutes is done within seconds here, so that two
// minutes show everything; how much is needed is decided as everywhere.
const DefaultApp = `    strategy: erlang
    slo: 500ms
    lead_time: 4s
    min_workers: 2
    down: {window: 12s, every: 4s, share: 0.34}
    max_out_per_minute: 1
    ramp: [50, 100]
`

// Start brings the whole fleet up; on an error everything started is ended again.
func Start(ctx context.Context, rig *harness.Rig, o Options) (*Fleet, error) {
	f := &Fleet{Rig: rig, binary: o.Binary}
	if o.AppYAML == "" {
		o.AppYAML = DefaultApp
	}
	steps := []struct {
		what string
		do   func(Options) error
	}{
		{"the nodes: gunicorn with the mark middleware, and a node agent each", f.startNodes},
		{"HAProxy with the SPOE filter, nginx with the generated include", f.startProxies},
		{"the controller", f.startController},
	}
	for _, s := range steps {
		o.Log("starting %s", s.what)
		if err := s.do(o); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.what, err)
		}
	}
	return f, f.waitReady(ctx)
}

const wsgi = `from app import app as inner
from tidegate_marks import Marks
app = Marks(inner, %q)
`

func (f *Fleet) startNodes(o Options) error {
	if _, err := f.Rig.Write("marks-py/"+marks.WSGIFile, marks.WSGI); err != nil {
		return err
	}
	for i := range o.Nodes {
		n := node{name: fmt.Sprintf("n%d", i+1)}
		var err error
		if n.app, err = f.Rig.Addr(); err != nil {
			return err
		}
		if n.agent, err = f.Rig.Addr(); err != nil {
			return err
		}
		f.nodes = append(f.nodes, n)
		if err := f.startNode(n, o); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func (f *Fleet) startNode(n node, o Options) error {
	dir := f.Rig.Path("marks", n.name)
	// The application's workers and the agent may be different users on a real node.
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the marks folder: %w", err)
	}
	module := "wsgi_" + n.name
	if _, err := f.Rig.Write("marks-py/"+module+".py", fmt.Sprintf(wsgi, dir)); err != nil {
		return err
	}
	env := []string{fmt.Sprintf("APP_MS=%d", o.ServiceMS)}
	for _, e := range o.Env {
		env = append(env, strings.ReplaceAll(e, "NODE", n.name))
	}
	p, err := f.Rig.StartGunicorn(harness.Gunicorn{
		Name: "gunicorn-" + n.name, Bind: n.app, Workers: 1, App: module + ":app", Path: []string{f.Rig.Path("marks-py")},
		Env: env,
	})
	if err != nil {
		return err
	}
	f.Gunicorns = append(f.Gunicorns, p)
	file, err := f.Rig.Write("agent-"+n.name+".yaml", fmt.Sprintf(`node: %s
listen: %s
apps:
  - name: shop
    marks: %s
    gunicorn: {pid_file: %s}
    workers: {min: 1, max: %d}
`, n.name, n.agent, dir, f.Rig.Path("gunicorn-"+n.name+".pid"), o.MaxWorkers))
	if err != nil {
		return err
	}
	if p, err = f.Rig.Start("agent-"+n.name, nil, o.Binary, "agent", "-c", file); err != nil {
		return err
	}
	f.Agents = append(f.Agents, p)
	if err := harness.WaitListening(n.agent, 10*time.Second); err != nil {
		return fmt.Errorf("%w\n%s", err, p.Log())
	}
	return nil
}

// userHAProxy is what an operator has before tidegate; {{LINES}} are the lines that `tidegate init` prints.
const userHAProxy = `global
    stats socket {{SOCK}} mode 660 level admin
    maxconn 2000
{{GLOBAL}}
defaults
    mode http
{{DEFAULTS}}
    option redispatch
    timeout connect 2s
    timeout client  60s
    timeout server  60s
    timeout queue   60s
frontend web
    bind {{ADDR}}
    default_backend shop
frontend stats
    bind {{STATS}}
    stats enable
    stats uri /stats
    stats admin if TRUE
backend shop
    balance leastconn
{{LINES}}
    default-server check inter 500ms weight 100 maxconn {{MAX}}
{{SERVERS}}
`

func (f *Fleet) startProxies(o Options) error {
	for i := range max(1, o.Balancers) {
		if err := f.startBalancer(o, i); err != nil {
			return err
		}
	}
	f.HAProxy, f.HAProxyAddr = f.Balancers[0], f.BalancerAddrs[0]
	var err error
	if f.NginxAddr, err = f.Rig.Addr(); err != nil {
		return err
	}
	main := f.Rig.NginxMain("nginx", fmt.Sprintf(`    include %s;
    server {
        listen %s;
        location / { proxy_pass http://shop; proxy_read_timeout 60s; proxy_next_upstream off; }
    }
`, f.Rig.Path("conf.d", "tidegate.conf"), f.NginxAddr))
	if err := f.firstInclude(); err != nil {
		return err
	}
	f.Nginx, err = f.Rig.StartNginx("nginx", main)
	return err
}

// startBalancer starts a HAProxy with the SPOE filter; each has files of its own, and all tell one controller.
func (f *Fleet) startBalancer(o Options, i int) error {
	name, spoe, include := "haproxy", "tidegate-spoe.conf", "tidegate.cfg"
	if i > 0 {
		name, spoe, include = fmt.Sprintf("haproxy%d", i+1), fmt.Sprintf("tidegate-spoe%d.conf", i+1), fmt.Sprintf("tidegate%d.cfg", i+1)
	}
	addr, err := f.Rig.Addr()
	if err != nil {
		return err
	}
	stats, err := f.Rig.Addr()
	if err != nil {
		return err
	}
	backend := haproxyconf.Backend{Name: "shop"}
	var haLines strings.Builder
	for i, n := range f.nodes {
		backend.Servers = append(backend.Servers, n.name)
		parked := " disabled"
		if i == 0 {
			parked = ""
		}
		fmt.Fprintf(&haLines, "    server %s %s%s\n", n.name, n.app, parked)
	}
	files, err := haproxyconf.Render(haproxyconf.Params{
		Variant: haproxyconf.Variant26, Backends: []haproxyconf.Backend{backend}, SPOAAddr: "unix@" + f.Rig.Path("spoa.sock"), SPOEFile: f.Rig.Path(spoe),
		Arrivals: o.Arrivals,
	})
	if err != nil {
		return err
	}
	if _, err := f.Rig.Write(spoe, files.SPOE); err != nil {
		return err
	}
	second, err := f.Rig.Write(include, files.Include)
	if err != nil {
		return err
	}
	cfg := strings.NewReplacer("{{ADDR}}", addr, "{{STATS}}", stats, "{{GLOBAL}}", o.HAProxyGlobal, "{{DEFAULTS}}", o.HAProxyDefaults, "{{LINES}}", files.BackendLines, "{{SERVERS}}", haLines.String(), "{{MAX}}", fmt.Sprint(o.MaxWorkers)).Replace(userHAProxy)
	h, err := f.Rig.StartHAProxy(name, cfg, second)
	if err != nil {
		return err
	}
	f.Balancers, f.BalancerAddrs, f.BalancerStats = append(f.Balancers, h), append(f.BalancerAddrs, addr), append(f.BalancerStats, stats)
	return nil
}

// haproxies is the key haproxy of the controller's configuration.
func (f *Fleet) haproxies(o Options) string {
	if o.Balancers == 0 {
		return fmt.Sprintf("{socket: \"unix:%s\"}", f.HAProxy.Socket)
	}
	var list []string
	for i, h := range f.Balancers {
		list = append(list, fmt.Sprintf("{name: lb%d, socket: \"unix:%s\"}", i+1, h.Socket))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func (f *Fleet) startController(o Options) error {
	var nodes, servers strings.Builder
	for i, n := range f.nodes {
		fmt.Fprintf(&nodes, "  - {name: %s, url: \"http://%s\"}\n", n.name, n.agent)
		fmt.Fprintf(&servers, "      - {name: %s, address: \"%s\", node: %s, always_up: %t, workers: {min: 1, max: %d, parked: 1}}\n", n.name, n.app, n.name, i == 0, o.MaxWorkers)
	}
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.State == "" {
		o.State = f.Rig.Path("state")
	}
	var err error
	if f.MetricsAddr, err = f.Rig.Addr(); err != nil {
		return err
	}
	weights := ""
	if o.NginxDNS {
		at, err := f.Rig.Addr()
		if err != nil {
			return err
		}
		weights = fmt.Sprintf(", weights: dns, dns: {listen: %q}", at)
	}
	f.Config, err = f.Rig.Write("tidegate.yaml", fmt.Sprintf(`api: unix:%[1]s/api.sock
metrics: %[7]s
state_dir: %[8]s
tick: %[9]s
spoa: {listen: "unix:%[1]s/spoa.sock"}
haproxy: %[2]s
nginx: {include: %[1]s/conf.d/tidegate.conf, config: %[3]s, prefix: %[1]s, min_membership: 1s, min_weights: 5s, max_per_minute: 30%[10]s}
nodes:
%[4]sapps:
  - name: shop
    haproxy_backend: shop
    nginx_upstream: {name: shop}
    warmup: {path: /warm}
%[5]s    servers:
%[6]s`, f.Rig.Dir, f.haproxies(o), f.Nginx.Conf, nodes.String(), o.AppYAML, servers.String(), f.MetricsAddr, o.State, o.Tick, weights))
	if err != nil {
		return err
	}
	f.API = api.NewClient("unix:" + f.Rig.Path("api.sock"))
	return f.RunController()
}

// RunController starts the controller, again when it was ended.
func (f *Fleet) RunController() error {
	var err error
	f.Controller, err = f.Rig.Start("tidegate", nil, f.binary, "run", "-c", f.Config)
	return err
}

// waitReady waits until every source answers and the heartbeat has come.
func (f *Fleet) waitReady(ctx context.Context) error {
	var last error
	err := harness.WaitFor("the controller to see all its sources", 30*time.Second, func() bool {
		s, err := f.API.Status(ctx)
		last = err
		if err != nil {
			return ctx.Err() != nil || !f.Controller.Running()
		}
		for _, src := range s.Sources {
			if !src.OK {
				last = fmt.Errorf("%s: %s", src.Name, src.Problem)
				return false
			}
		}
		return true
	})
	return errors.Join(err, ctx.Err(), last)
}

// firstInclude writes the include file as `tidegate init` does, so that nginx can start before the controller.
func (f *Fleet) firstInclude() error {
	u := nginxgen.Upstream{Name: "shop"}
	for i, n := range f.nodes {
		u.Servers = append(u.Servers, nginxgen.Server{Name: n.name, Address: n.app, Weight: 1, Down: i > 0})
	}
	text, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{u}})
	if err != nil {
		return err
	}
	_, err = f.Rig.Write("conf.d/tidegate.conf", string(text))
	return err
}

// AgentURL is the address of a node's agent.
func (f *Fleet) AgentURL(i int) string { return "http://" + f.nodes[i].agent }
