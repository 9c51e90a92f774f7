package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/tests/harness"
)

// lateServer is an app server of the tests' own. It exits as soon as it is told to have no more workers than when parked,
// cutting whatever is left on it, and answers 503 for a while after each start.
type lateServer struct {
	addr        string
	late, takes time.Duration
	// most is the number of requests that it is meant to have at once for each worker.
	most int
	// honest: its agent tells starting workers from ready ones.
	honest bool
	// long ends requests for /long.
	long chan struct{}

	mu     sync.Mutex
	srv    *http.Server
	since  time.Time
	target int
	starts int

	busy, peak, over, posts atomic.Int64
}

func (s *lateServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	late := time.Since(s.since) < s.late
	workers := s.target
	s.mu.Unlock()
	if late {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost {
		return
	}
	s.posts.Add(1)
	n := s.busy.Add(1)
	defer s.busy.Add(-1)
	for old := s.peak.Load(); n > old && !s.peak.CompareAndSwap(old, n); old = s.peak.Load() {
	}
	if s.most > 0 && n > int64(s.most*workers) {
		s.over.Add(1)
	}
	takes := s.takes
	if strings.HasPrefix(r.URL.Path, "/long") {
		takes = time.Hour
	}
	select {
	case <-time.After(takes):
	case <-s.long:
	case <-r.Context().Done():
	}
}

// setWorkers starts the server for more than the parked worker, and ends it for that one.
func (s *lateServer) setWorkers(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = n
	if n > 1 && s.srv == nil {
		ln, err := net.Listen("tcp", s.addr)
		if err != nil {
			s.target = 1
			return fmt.Errorf("start the app server: %w", err)
		}
		s.srv, s.since = &http.Server{Handler: s}, time.Now()
		s.starts++
		go s.srv.Serve(ln)
	}
	if n <= 1 && s.srv != nil {
		_ = s.srv.Close()
		s.srv = nil
	}
	return nil
}

func (s *lateServer) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv != nil
}

func (s *lateServer) pool() core.PoolObs {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(1, s.target)
	out := core.PoolObs{Known: true, BusyKnown: true, Total: n, Ready: n, Busy: float64(s.busy.Load()), Target: s.target}
	if s.honest && s.srv != nil && time.Since(s.since) < s.late {
		out.Ready, out.Starting = 0, n
	}
	return out
}

// moveNode is the agent of a node, for the app servers on it by app.
type moveNode map[string]*lateServer

func (n moveNode) Report(context.Context) (control.NodeReport, error) {
	out := control.NodeReport{CPU: -1, Memory: -1, Pools: map[string]core.PoolObs{}}
	for app, s := range n {
		out.Pools[app] = s.pool()
	}
	return out, nil
}

func (n moveNode) SetWorkers(_ context.Context, app string, workers int, _ uint64) error {
	return n[app].setWorkers(workers)
}

// moveApp is one app of a site: what stands in its backend, on its server lines and in tidegate's file.
type moveApp struct {
	name string
	// backend and server are lines and options for HAProxy; in both, SRV is the server's name.
	backend, server string
	// yaml is more of the app, at four spaces; each server's own lines are at eight.
	yaml, serverYAML string
	// users of the load, 0 for requests without cookies.
	users  int
	late   time.Duration
	most   int
	honest bool
	// first is more on the line of the first server.
	first string
	// missing names servers that HAProxy's configuration does not have.
	missing string
}

// moveSite is a real HAProxy in front of app servers, with the control loop and the adapters of `tidegate run`.
type moveSite struct {
	t       *testing.T
	rig     *harness.Rig
	haproxy *harness.HAProxy
	loop    *control.Loop
	tick    time.Duration
	servers map[string]map[string]*lateServer // by app and name
	fronts  map[string]string
	file    string
}

// moveHead has patience: a machine with much else to do answers a check or a connection late, which is not what these tests are about.
// Without idle-close-on-response a HAProxy that is reloaded closes idle connections at once, and a client that begins a request on one just
// then gets an end of file.
const moveHead = `global
    stats socket {{SOCK}} mode 600 level admin
    maxconn 4000
defaults
    mode http
    balance leastconn
    timeout connect 20s
    timeout check 20s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
    timeout http-keep-alive 60s
    option idle-close-on-response
    default-server weight 100 disabled
`

// moveServers are the servers of each app; the first one always serves.
var moveServers = []string{"n1", "n2", "n3"}

// moveConfs are the configurations of HAProxy and of tidegate for the apps.
func (s *moveSite) confs(apps []moveApp) (haproxy, tidegate string) {
	var h, c strings.Builder
	h.WriteString(moveHead)
	fmt.Fprintf(&c, "state_dir: %s\napi: unix:%s\ntick: %v\nhaproxy:\n  socket: unix:%s\n  timeout: 20s\nnodes:\n", s.rig.Path("state"), s.rig.Path("api.sock"), s.tick, s.rig.Path("haproxy.sock"))
	for _, n := range moveServers {
		fmt.Fprintf(&c, "- {name: %s, url: \"http://127.0.0.1:1\"}\n", n)
	}
	c.WriteString("apps:\n")
	for _, a := range apps {
		front, err := s.rig.Addr()
		if err != nil {
			s.t.Fatal(err)
		}
		s.fronts[a.name], s.servers[a.name] = front, map[string]*lateServer{}
		fmt.Fprintf(&h, "frontend f-%[1]s\n    bind %[2]s\n    default_backend %[1]s\nbackend %[1]s\n%[3]s", a.name, front, a.backend)
		fmt.Fprintf(&c, "- name: %[1]s\n  haproxy_backend: %[1]s\n  strategy: schedule\n  schedule: [{from: \"00:00\", to: \"24:00\", workers: 4}]\n  fill: 1\n  lead_time: 1s\n  max_out_per_minute: 1\n  retry_after: 1s\n  ramp: [25, 100]\n  down: {window: 1s, every: 1s, share: 1, tolerance: 0}\n%[2]s  servers:\n", a.name, a.yaml)
		for i, n := range moveServers {
			port, err := s.rig.Port()
			if err != nil {
				s.t.Fatal(err)
			}
			// An address that nobody takes for an outgoing connection while the server is down.
			addr := fmt.Sprintf("127.77.0.%d:%d", i+1, port)
			s.servers[a.name][n] = &lateServer{addr: addr, late: a.late, takes: 100 * time.Millisecond, most: a.most, honest: a.honest, long: make(chan struct{})}
			line := a.server
			if i == 0 {
				line += " " + a.first
			}
			if !strings.Contains(a.missing, n) {
				fmt.Fprintf(&h, "    server %s %s %s\n", n, addr, strings.ReplaceAll(line, "SRV", n))
			}
			always := ""
			if i == 0 {
				always = ", always_up: true"
			}
			fmt.Fprintf(&c, "  - {name: %[1]s, address: \"%[2]s\", node: %[1]s, workers: {min: 2, max: 4, parked: 1}%[3]s%[4]s}\n", n, addr, always, a.serverYAML)
		}
	}
	return h.String(), c.String()
}

// startMoves starts HAProxy and the loop, and waits until the first server of each app serves.
func startMoves(t *testing.T, tick time.Duration, apps ...moveApp) *moveSite {
	t.Helper()
	harness.Need(t, "haproxy")
	s := &moveSite{t: t, rig: harness.ForTest(t), tick: tick, servers: map[string]map[string]*lateServer{}, fronts: map[string]string{}}
	haproxyText, text := s.confs(apps)
	var err error
	if s.haproxy, err = s.rig.StartHAProxy("haproxy", haproxyText); err != nil {
		t.Fatal(err)
	}
	if s.file, err = s.rig.Write("tidegate.yaml", text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, app := range s.servers {
			for _, srv := range app {
				_ = srv.setWorkers(1)
			}
		}
	})
	s.run()
	for _, a := range apps {
		s.until(a.name+"'s first server in service", func() bool { return s.phase(a.name, "n1") == string(core.PhaseServing) })
	}
	return s
}

// setup reads tidegate's file and builds what `tidegate run` does, but with the nodes of the test.
func (s *moveSite) setup() (control.Setup, error) {
	c, err := conf.LoadController(s.file)
	if err != nil {
		return control.Setup{}, err
	}
	r := &rooms{log: slog.New(slog.DiscardHandler), set: metrics.NewSet()}
	setup, err := r.build(context.Background(), c)
	if err != nil {
		return setup, err
	}
	// Servers come and go here more often than the blast radius allows, which has tests of its own.
	for i := range setup.Apps {
		at := setup.Apps[i].At
		setup.Apps[i].At = func(now time.Time) core.AppPolicy {
			p := at(now)
			p.MaxOut = 1000
			return p
		}
	}
	for name := range setup.Nodes {
		node := moveNode{}
		for app, servers := range s.servers {
			node[app] = servers[name]
		}
		setup.Nodes[name] = node
	}
	return setup, nil
}

func (s *moveSite) run() {
	s.t.Helper()
	setup, err := s.setup()
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := control.NewStore(s.rig.Path("state"))
	if err != nil {
		s.t.Fatal(err)
	}
	// The apps are known for long, so that servers may leave.
	known := core.Memory{Apps: map[string]core.AppMemory{}}
	for _, a := range setup.Apps {
		known.Apps[a.Policy.Name] = core.AppMemory{Since: time.Now().Add(-time.Hour), Random: 1}
	}
	if err := store.Save(known, false); err != nil {
		s.t.Fatal(err)
	}
	s.loop, err = control.New(control.Options{
		Setup: setup, Store: store, Journal: control.NewJournal(s.rig.Path("state"), control.JournalMaxBytes), Log: slog.New(slog.DiscardHandler), Load: s.setup,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.loop.Run(ctx)
	}()
	s.t.Cleanup(func() { cancel(); <-done })
}

func (s *moveSite) app(name string) api.App {
	status, _ := s.loop.Status()
	for _, a := range status.Apps {
		if a.Name == name {
			return a
		}
	}
	return api.App{}
}

func (s *moveSite) server(app, name string) api.Server {
	for _, v := range s.app(app).Servers {
		if v.Name == name {
			return v
		}
	}
	return api.Server{}
}

func (s *moveSite) phase(app, name string) string { return s.server(app, name).Phase }

// until polls; a loaded machine gets all the time it needs.
func (s *moveSite) until(what string, cond func() bool) {
	s.t.Helper()
	if err := harness.WaitFor(what, 90*time.Second, cond); err != nil {
		status, _ := s.loop.Status()
		for _, e := range status.Events {
			s.t.Logf("%s %s %s %s %s %s", e.Time.Format("05.000"), e.App, e.Server, e.Code, e.Sentence, e.Error)
		}
		s.t.Fatalf("%v; apps %+v", err, status.Apps)
	}
}

// pin orders a number of workers for an app: 12 is all three servers, 4 the first alone.
func (s *moveSite) pin(app string, workers int) {
	s.t.Helper()
	if _, err := s.loop.Order(api.OrderRequest{Kind: string(sizing.OrderPin), App: app, Owner: "test", Workers: workers}); err != nil {
		s.t.Fatal(err)
	}
}

// up brings all servers of an app into service, down takes all but the first out until their processes have ended.
func (s *moveSite) up(app string) {
	s.t.Helper()
	s.pin(app, 12)
	s.until(app+" to have all servers in service", func() bool {
		return s.phase(app, "n2") == string(core.PhaseServing) && s.phase(app, "n3") == string(core.PhaseServing)
	})
}

func (s *moveSite) down(app string) {
	s.t.Helper()
	s.pin(app, 4)
	s.until(app+" to have one server in service", func() bool {
		for _, n := range moveServers[1:] {
			if s.phase(app, n) != string(core.PhaseParked) || s.servers[app][n].alive() {
				return false
			}
		}
		return true
	})
}

// load sends requests to an app until stop is called, which waits for the last answer and says what failed.
func (s *moveSite) load(app moveApp, rate float64) (stop func() (sent, failed int, errors string)) {
	tally := &harness.Tally{}
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		harness.Load{
			URL: "http://" + s.fronts[app.name] + "/", For: time.Hour, KeepAlive: true, Users: app.users, Timeout: 2 * time.Minute, MaxInFlight: 20000, OnDone: tally.Add,
			Rate: func(time.Duration) float64 {
				if ended.Load() {
					return -1
				}
				return rate
			},
		}.Run(context.Background())
	}()
	once := sync.OnceFunc(func() { ended.Store(true); <-done })
	s.t.Cleanup(once)
	return func() (int, int, string) {
		once()
		sent, failed := tally.Counts()
		return sent, failed, tally.Errors()
	}
}
