package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
)

// Scenarios beside the contestants.
const (
	none    = "none"
	sampled = "ours-10%"
)

const (
	e2eConns = 32
	e2eWarm  = 150 * time.Millisecond
	openRate = 1000
)

// scenario is one HAProxy, the agent behind it if it has one, and the address of its frontend.
type scenario struct {
	name, front string
	agent       *agentProc
	// pid is HAProxy's, server that of the server behind it.
	pid, server int
}

type e2e struct {
	*report
	opts    options
	dir     string
	backend string
	server  int // its process
	// logged: each HAProxy writes a line about each request to a file, NAME.log.
	logged    bool
	scenarios map[string]*scenario
	ends      []func()
}

func runE2E(rep *report, o options, dir string) error {
	if _, err := find("haproxy"); err != nil {
		rep.printf("\n== Through HAProxy: left out, %v\n", err)
		return nil
	}
	e := &e2e{report: rep, opts: o, dir: dir, scenarios: map[string]*scenario{}}
	defer e.close()
	if err := e.start(none, peer, ours, normal, limit, sampled); err != nil {
		return fmt.Errorf("through HAProxy: %w", err)
	}
	if err := firstOf(e.saturated(), e.open()); err != nil {
		return fmt.Errorf("through HAProxy: %w", err)
	}
	return nil
}

func (e *e2e) close() {
	slices.Reverse(e.ends)
	for _, end := range e.ends {
		end()
	}
}

// start brings up the server and one HAProxy for each scenario; all live until the end.
func (e *e2e) start(scenarios ...string) error {
	what, err := e.startBackend()
	if err != nil {
		return err
	}
	out, _ := exec.Command(must(find("haproxy")), "-v").Output()
	version, _, _ := strings.Cut(string(out), "\n")
	e.printf("\n== Through HAProxy (%s; nbthread 1) in front of %s\n", strings.Join(strings.Fields(version)[:min(3, len(strings.Fields(version)))], " "), what)
	for _, name := range scenarios {
		if err := e.startScenario(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// must is for a program that was found a moment ago.
func must(path string, _ error) string { return path }

func (e *e2e) startBackend() (what string, err error) {
	if e.backend, err = freeAddr(); err != nil {
		return "", err
	}
	nginx, err := find("nginx")
	if e.opts.backend == "nginx" && err != nil {
		return "", err
	}
	if e.opts.backend == "go" || err != nil {
		c, err := startChild("responder", e.backend)
		if err != nil {
			return "", err
		}
		e.ends, e.server = append(e.ends, c.stop), c.cmd.Process.Pid
		_, err = c.line()
		return "a responder in Go", err
	}
	conf := filepath.Join(e.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
master_process off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path %[1]s/nginx-1;
    proxy_temp_path %[1]s/nginx-2;
    fastcgi_temp_path %[1]s/nginx-3;
    uwsgi_temp_path %[1]s/nginx-4;
    scgi_temp_path %[1]s/nginx-5;
    server { listen %[2]s; location / { return 200 "ok\n"; } }
}
`, e.dir, e.backend)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return "", err
	}
	if e.server, err = e.startServer(nginx, "-p", e.dir, "-c", conf, "-e", "stderr"); err != nil {
		return "", err
	}
	return "nginx `return 200`, 1 worker", waitListening(e.backend)
}

const e2eConfig = `global
    nbthread 1
    maxconn 4000
    stats socket %[1]s.sock mode 600 level admin
%[5]sdefaults
    mode http
    timeout connect 1s
    timeout client  1m
    timeout server  10s
frontend front
    bind %[2]s
%[6]s    default_backend shop
backend shop
%[3]s    server node1 %[4]s
`

func (e *e2e) startScenario(name string) error {
	s := &scenario{name: name, server: e.server}
	front, err := freeAddr()
	if err != nil {
		return err
	}
	s.front = front
	base := filepath.Join(e.dir, strings.TrimSuffix(name, "%"))
	lines, more := "", []string(nil)
	if name != none {
		kind, sample := name, 100
		if name == sampled {
			kind, sample = ours, 10
		}
		sock := base + "-spoa.sock"
		if s.agent, err = startAgent(kind, "unix:"+sock); err != nil {
			return err
		}
		e.ends = append(e.ends, s.agent.stop)
		files, err := haproxyconf.Render(haproxyconf.Params{
			Backends: []haproxyconf.Backend{{Name: "shop", Servers: []string{"node1"}}},
			SPOAAddr: "unix@" + sock, SPOEFile: base + "-spoe.conf", Sample: sample,
		})
		if err != nil {
			return err
		}
		if err := firstOf(os.WriteFile(base+"-spoe.conf", []byte(files.SPOE), 0o644), os.WriteFile(base+"-tidegate.cfg", []byte(files.Include), 0o644)); err != nil {
			return err
		}
		lines, more = files.BackendLines, []string{"-f", base + "-tidegate.cfg"}
	}
	global, frontend, log := "", "", "servers.log"
	if e.logged {
		global, frontend, log = logGlobal, logFrontend, filepath.Base(base)+".log"
	}
	if err := os.WriteFile(base+".cfg", fmt.Appendf(nil, e2eConfig, base, front, lines, e.backend, global, frontend), 0o644); err != nil {
		return err
	}
	if s.pid, err = e.startLogged(log, must(find("haproxy")), append([]string{"-db", "-f", base + ".cfg"}, more...)...); err != nil {
		return err
	}
	e.scenarios[name] = s
	return firstOf(waitListening(front), s.ready())
}

// ready waits until HAProxy speaks to the agent: requests are seen by it.
func (s *scenario) ready() error {
	if s.agent == nil {
		return nil
	}
	for range 50 {
		before, err := s.agent.usage()
		if err != nil {
			return err
		}
		if _, err := load(httpRun{Addr: s.front, Conns: 1, Rate: 200, Long: 100 * time.Millisecond}); err != nil {
			return err
		}
		if after, err := s.agent.usage(); err != nil || after.Done > before.Done {
			return err
		}
	}
	return errors.New("no request reaches the agent")
}

// turn makes one run of load on a scenario and tells what it cost.
type turn struct {
	httpResult
	// Microseconds per request; allCPU is that of HAProxy, the agent, the server and the load together.
	proxyCPU, agentCPU, allCPU float64
	seen                       float64 // share of the requests the agent was told of
}

func (s *scenario) turn(r httpRun) (t turn, err error) {
	r.Addr = s.front
	var a0, a1 usage
	if s.agent != nil {
		if a0, err = s.agent.usage(); err != nil {
			return t, err
		}
	}
	c0, err := cpuOf(s.pid)
	if err != nil {
		return t, err
	}
	b0, err := cpuOf(s.server)
	if err != nil {
		return t, err
	}
	if t.httpResult, err = load(r); err != nil {
		return t, fmt.Errorf("%s: %w", s.name, err)
	}
	c1, err := cpuOf(s.pid)
	if err != nil {
		return t, err
	}
	b1, err := cpuOf(s.server)
	if err != nil {
		return t, err
	}
	n := float64(t.Total)
	t.proxyCPU = micros(c1-c0) / n
	t.allCPU = (micros(c1-c0) + micros(b1-b0) + t.CPU) / n
	if s.agent != nil {
		if a1, err = s.agent.usage(); err != nil {
			return t, err
		}
		t.agentCPU = micros(a1.CPU-a0.CPU) / n
		t.allCPU += t.agentCPU
		// An agent may count a portion only after it has acknowledged it.
		for range 20 {
			if float64(a1.Done-a0.Done) >= n {
				break
			}
			time.Sleep(5 * time.Millisecond)
			if a1, err = s.agent.usage(); err != nil {
				return t, err
			}
		}
		t.seen = float64(a1.Done-a0.Done) / n
	}
	return t, nil
}

// measured are the figures of one kind of load, by scenario.
type measured struct{ rate, p50, p99, proxy, agent, all, seen series }

func (e *e2e) measure(names []string, r httpRun) (m measured, err error) {
	m = measured{series{}, series{}, series{}, series{}, series{}, series{}, series{}}
	err = rounds(e.opts.e2eRounds, names, func(name string) error {
		t, err := e.scenarios[name].turn(r)
		m.rate.add(name, t.PerSecond)
		m.p50.add(name, t.P50)
		m.p99.add(name, t.P99)
		m.proxy.add(name, t.proxyCPU)
		m.all.add(name, t.allCPU)
		if name != none {
			m.agent.add(name, t.agentCPU)
			m.seen.add(name, t.seen)
		}
		return err
	})
	return m, err
}

func (e *e2e) saturated() error {
	names := []string{none, peer, ours, normal, limit, sampled}
	e.printf("  closed loop, %d connections, all processes on the same processors\n", e2eConns)
	m, err := e.measure(names, httpRun{Conns: e2eConns, Warm: e2eWarm, Long: e.opts.e2eSlot})
	if err != nil {
		return err
	}
	relative, share := series{}, series{}
	for _, n := range names {
		relative[n] = m.rate.ratios(n, none)
		for i, all := range m.all[n] {
			share[n] = append(share[n], m.all[none][i]/all)
		}
	}
	e.table(names, []string{"requests/s", "of none", "none's CPU of its own", "p50 us", "HAProxy CPU us/request", "agent CPU us/request", "seen by the agent"},
		[]series{m.rate, relative, share, m.p50, m.proxy, m.agent, m.seen})
	e.line(series{none: m.rate[none], ours: m.rate[ours], peer: m.rate[peer], limit: m.rate[limit]}.conclude("e2e/saturated", "requests/s"))
	e.line(series{none: m.rate[none], ours: m.rate[sampled]}.conclude("e2e/saturated/sampling=10%", "requests/s"))
	e.printf("  ours beside ours-normal, by round: %s x the requests, %s x the processor time of a request\n", spread(m.rate.ratios(ours, normal)), spread(m.all.ratios(ours, normal)))
	e.line(series{ours: m.rate[ours], normal: m.rate[normal]}.conclude("e2e/saturated/batch", "requests/s"))
	e.line(series{ours: m.all[ours], normal: m.all[normal]}.conclude("e2e/saturated/batch/cpu", "us/request"))
	e.goal("through HAProxy, saturated: >= 0.75 of no filter", relative[ours], 0.75, false)
	e.goal("the same with 10 % sampling: >= 0.85", relative[sampled], 0.85, false)
	return nil
}

func (e *e2e) open() error {
	names := []string{none, peer, ours, normal, limit}
	e.printf("  open loop, %d requests/s\n", openRate)
	m, err := e.measure(names, httpRun{Conns: 8, Rate: openRate, Warm: e2eWarm, Long: e.opts.e2eSlot})
	if err != nil {
		return err
	}
	added := series{}
	for _, n := range names {
		added[n] = m.p50.differences(n, none)
	}
	e.table(names, []string{"p50 us", "added p50 us", "p99 us", "HAProxy CPU us/request", "agent CPU us/request", "seen by the agent"},
		[]series{m.p50, added, m.p99, m.proxy, m.agent, m.seen})
	over := added.differences(ours, limit)
	r := series{peer: added[peer], ours: added[ours], limit: added[limit]}.conclude("e2e/open/added-p50", "us")
	r.OverLimit = figure(median(over))
	e.line(r)
	e.goal("at 1,000 requests/s: added p50 at most 30 us above echo's", over, 30, true)
	return nil
}

// find looks for a program in PATH and in the sbin folders, which a user's PATH may lack.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s is not installed (make deps installs it)", program)
}

// startServer runs a server in the foreground until the end. What it says goes to the log in the folder.
func (e *e2e) startServer(argv0 string, args ...string) (pid int, err error) {
	return e.startLogged("servers.log", argv0, args...)
}

func (e *e2e) startLogged(name, argv0 string, args ...string) (pid int, err error) {
	log, err := os.OpenFile(filepath.Join(e.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(argv0, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setsid: e.opts.sessions}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", argv0, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	e.ends = append(e.ends, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	select {
	case <-ended:
		text, _ := os.ReadFile(log.Name())
		return 0, fmt.Errorf("%s ended at once:\n%s", argv0, text)
	case <-time.After(100 * time.Millisecond):
		return cmd.Process.Pid, nil
	}
}

func waitListening(addr string) error {
	var err error
	for range 250 {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("wait for a listener at %s: %w", addr, err)
}
