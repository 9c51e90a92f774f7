package supervise_test

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/proc"
	"github.com/tidegate/tidegate/agent/supervise"
	"github.com/tidegate/tidegate/tests/harness"
)

// problem waits until the report's sentence holds all the parts.
func (s *site) problem(parts ...string) agent.AppReport {
	s.T.Helper()
	return s.Wait("a problem with "+strings.Join(parts, ", "), func(r agent.AppReport) bool {
		for _, p := range parts {
			if !strings.Contains(r.Problem, p) {
				return false
			}
		}
		return !strings.Contains(r.Problem, "\n")
	})
}

func TestCrashLoop(t *testing.T) {
	s := newSite(t)
	s.spec.Options.Command = []string{"sh", "-c", "exit 3"}
	s.start()
	s.Target(2)
	early := regexp.MustCompile(`^worker \d ended after .* \(exit status 3\), (\d+) early ends in a row; the next start is in `)
	r := s.Wait("four early ends", func(r agent.AppReport) bool {
		m := early.FindStringSubmatch(r.Problem)
		return m != nil && (len(m[1]) > 1 || m[1] >= "4")
	})
	if !r.WorkersKnown || r.Ready != 0 {
		t.Errorf("in a crash loop: %+v", r)
	}
	if m := s.metrics(); !strings.Contains(m, "worker_exits_total") || strings.Contains(m, `worker_exits_total{app="shop"} 0`) {
		t.Errorf("metrics: %s", m)
	}
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(o *supervise.Options){
		"cannot be run":       func(o *supervise.Options) { o.Command = []string{"/no/such/program"} },
		"was not found":       func(o *supervise.Options) { o.Command = []string{"no-such-program"} },
		"no user nobody-here": func(o *supervise.Options) { o.User = "nobody-here" },
		"no group none-here":  func(o *supervise.Options) { o.Group = "none-here" },
		"/no/such/folder":     func(o *supervise.Options) { o.Directory = "/no/such/folder" },
		"/no/such/env":        func(o *supervise.Options) { o.EnvFile = "/no/such/env" },
		"/no/such/log":        func(o *supervise.Options) { o.Log = "/no/such/log" },
	} {
		old := s.spec.Options
		change(&s.spec.Options)
		s.start()
		if r := s.problem(want); r.Ready != 0 {
			t.Errorf("%s: %+v", want, r)
		}
		if err := s.StopAgent(); err != nil {
			t.Fatal(err)
		}
		s.spec.Options = old
	}
	// Mended, it runs at once: a new agent knows nothing of the early ends.
	s.spec.Options.Command = []string{"python3", s.Rig.Path("worker.py")}
	s.start()
	s.Settled(2)
}

func TestReadyByNotify(t *testing.T) {
	s := newSite(t, "BOOT_MS=700", "NOTIFY=1")
	s.spec.Options.Ready.Notify = true
	s.spec.Marks = ""
	s.start()
	s.Target(1)
	s.Wait("a starting worker", func(r agent.AppReport) bool { return r.Starting == 1 && r.Ready == 0 })
	// A process that is no worker has no say.
	c, err := net.Dial("unixgram", s.Rig.Path("state", "shop.notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("READY=1")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if r := s.Report(); r.Ready != 0 && len(s.log(1)) == 0 {
		t.Errorf("a stranger's READY=1 counted: %+v", r)
	}
	s.Wait("a ready worker", func(r agent.AppReport) bool { return r.Starting == 0 && r.Ready == 1 })
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	s.start() // what was ready stays so
	if r := s.Wait("the worker", func(r agent.AppReport) bool { return r.WorkersKnown && r.Total == 1 }); r.Ready != 1 {
		t.Errorf("after a restart: %+v", r)
	}
}

func TestDeadlines(t *testing.T) {
	s := newSite(t, "IGNORE_TERM=1")
	s.spec.Options.Ready.Notify, s.spec.Options.StartDeadline = true, 1500*time.Millisecond
	s.spec.Options.StopDeadline = time.Second
	s.spec.Marks = ""
	s.start()
	s.Target(1)
	s.problem("not ready by the start deadline")
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	s.spec.Options.Ready = supervise.Readiness{After: 300 * time.Millisecond}
	s.start()
	before := strings.Count(s.log(1), "umask")
	s.Wait("a ready worker", func(r agent.AppReport) bool { return r.Ready == 1 && strings.Count(s.log(1), "umask") > before })
	s.Target(0)
	s.Wait("a draining worker", func(r agent.AppReport) bool { return r.Draining == 1 && r.Ready == 0 })
	s.Wait("its end", func(r agent.AppReport) bool { return r.WorkersKnown && r.Total == 0 })
	if m := s.metrics(); !strings.Contains(m, `worker_kills_total{app="shop"} 1`) {
		t.Errorf("metrics: %s", m)
	}
}

func TestOneAgentAtATime(t *testing.T) {
	s := newSite(t)
	s.start()
	s.Target(1)
	s.Settled(1)
	o := s.spec.Options
	second := supervise.New(o)
	if _, err := second.Observe(time.Now()); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	// The holder was killed: another one takes its place.
	holder := s.saved().Holder.PID
	s.kill(holder, syscall.SIGKILL)
	s.WaitFor("another holder", func() bool { p := s.saved().Holder.PID; return p != 0 && p != holder })
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	// What an agent cannot read it leaves alone.
	good, err := os.ReadFile(s.Rig.Path("state", "shop.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", `{"version":9}`, `{"version":1,"workers":[{"number":1,"pid":1}]}`} {
		if err := os.WriteFile(s.Rig.Path("state", "shop.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		a := supervise.New(o)
		if _, err := a.Observe(time.Now()); err == nil || !strings.Contains(err.Error(), "left alone") {
			t.Errorf("state %q: %v", bad, err)
		}
	}
	if err := os.WriteFile(s.Rig.Path("state", "shop.json"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := s.Post("/"); code != 200 {
		t.Errorf("the worker answers %d", code)
	}
	// A holder that is too slow for a new agent is found later: the listener comes from the worker meanwhile.
	holder = s.saved().Holder.PID
	s.kill(holder, syscall.SIGSTOP)
	var reader proc.Reader
	if err := harness.WaitFor("the holder to stop", 30*time.Second, func() bool {
		st, err := reader.Stat(holder)
		return err == nil && st.State == 'T'
	}); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.WaitFor("an agent without a holder", func() bool { return s.saved().Holder.PID == 0 })
	s.problem("another process serves this socket")
	s.kill(holder, syscall.SIGCONT)
	s.WaitFor("the holder to be found", func() bool { return s.saved().Holder.PID == holder })
	s.Settled(1)
}

// A worker of another user has the listener, its log and the notify socket all the same.
func TestWorkersOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start workers as another user")
	}
	s := newSite(t, "NOTIFY=1")
	s.spec.Options.User, s.spec.Options.Ready.Notify = "nobody", true
	s.spec.Marks = ""
	s.start()
	s.Target(1)
	s.Wait("a ready worker", func(r agent.AppReport) bool { return r.Ready == 1 })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pids()[1]))
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^Uid:\s+` + nobody.Uid + `\s`).Match(status) {
		t.Errorf("the worker is another user's:\n%s", status)
	}
	if code := s.Post("/"); code != 200 {
		t.Errorf("it answers %d", code)
	}
}

// Another address in the configuration: new workers on the new one, the old ones finish and go.
func TestAnotherAddress(t *testing.T) {
	s := newSite(t)
	s.start()
	s.Target(2)
	s.Settled(2)
	before, holder := s.pids(), s.saved().Holder.PID
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{"unix:" + s.Rig.Path("shop.sock"), "[::1]:0"} {
		if listen == "[::1]:0" {
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				t.Logf("no IPv6 here: %v", err)
				break
			}
			listen = ln.Addr().String()
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s.spec.Options.Listen = listen
		s.start()
		s.Settled(2)
		now := s.pids()
		for n, pid := range now {
			if before[n] == pid {
				t.Errorf("worker %d of the old address is still there", n)
			}
		}
		if err := harness.WaitFor("the old holder's end", 10*time.Second, func() bool { return s.saved().Holder.PID != holder }); err != nil {
			t.Error(err)
		}
		network, addr := "tcp", listen
		if path, ok := strings.CutPrefix(listen, "unix:"); ok {
			network, addr = "unix", path
		}
		c := clientTo(network, addr)
		resp, err := c.Get("http://shop/")
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("on %s: %v %v", listen, resp, err)
		}
		_ = resp.Body.Close()
		if err := s.StopAgent(); err != nil {
			t.Fatal(err)
		}
		before, holder = now, s.saved().Holder.PID
	}
}

// Each worker is a gunicorn of its own with one process: the marks of its child are the worker's. gunicorn finds the listener by
// LISTEN_FDS; with --bind fd://3 besides it would use it twice and end.
func TestGunicornAsAWorker(t *testing.T) {
	s := newSite(t)
	harness.Need(t, "gunicorn")
	if _, err := s.Rig.Write("wsgi/marked.py", "import os\nfrom app import app as inner\nfrom tidegate_marks import Marks\napp = Marks(inner, os.environ['MARKS'])\n"); err != nil {
		t.Fatal(err)
	}
	s.spec.Options.Command = []string{"gunicorn", "--workers", "1", "--worker-tmp-dir", s.Rig.Dir, "marked:app"}
	s.start()
	s.Target(3)
	s.Settled(3)
	s.Counts(3, "/?ms=1500")
	s.Cycles(1, 1, 3, 50, "/?ms=5")
}
