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

const e2eWarm = 150 * time.Millisecond

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
	server  int    // its process
	seats   *seats // nil: as the kernel likes
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
	seats, err := shareOut(o.free, 1)
	if err != nil {
		return err
	}
	e := &e2e{report: rep, opts: o, dir: dir, scenarios: map[string]*scenario{}}
	defer e.close()
	if err := e.compare(seats); err != nil {
		return fmt.Errorf("through HAProxy: %w", err)
	}
	return nil
}

func (e *e2e) close() {
	slices.Reverse(e.ends)
	for _, end := range e.ends {
		end()
	}
	e.ends = nil
}

// start brings up the server and one HAProxy for each scenario; all live until the end. It returns what there is.
func (e *e2e) start(scenarios ...string) (what string, err error) {
	server, err := e.startBackend()
	if err != nil {
		return "", err
	}
	for _, name := range scenarios {
		if err := e.startScenario(name); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	out, _ := exec.Command(must(find("haproxy")), "-v").Output()
	version, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(version)
	return fmt.Sprintf("%s; nbthread 1, in front of %s", strings.Join(words[:min(3, len(words))], " "), server), nil
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
	if s.pid, err = e.startLogged(e.seats, log, must(find("haproxy")), append([]string{"-db", "-f", base + ".cfg"}, more...)...); err != nil {
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
	return e.startLogged(nil, "servers.log", argv0, args...)
}

// startLogged is startServer with a log of its own, for one that is compared if s is not nil.
func (e *e2e) startLogged(s *seats, name, argv0 string, args ...string) (pid int, err error) {
	log, err := os.OpenFile(filepath.Join(e.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(argv0, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setsid: e.opts.sessions}
	if err := s.start(cmd); err != nil {
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
