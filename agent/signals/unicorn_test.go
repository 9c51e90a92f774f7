package signals_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// unicorn is one real Unicorn with the mark middleware, and an agent with its client.
type unicorn struct {
	agentrig.Site
	conf  harness.AppServer
	proc  *harness.Proc
	marks string
}

// newUnicorn starts Unicorn with so many workers, and an agent for it with limits 0 and 8.
func newUnicorn(t *testing.T, workers int, env []string, extra ...string) *unicorn {
	t.Helper()
	t.Parallel()
	harness.Need(t, "unicorn")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := filepath.Abs("../../conf/marks/rack")
	if err != nil {
		t.Fatal(err)
	}
	s := &unicorn{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}, marks: rig.Path("marks", "shop")}
	s.App = agent.App{Name: "shop", Source: filemarks.New(s.marks), Actuator: signals.NewUnicorn(rig.Path("shop.pid"), 0, 8), Max: 8}
	s.conf = harness.AppServer{Name: "shop", Bind: addr, Workers: workers, Extra: extra,
		Env: append([]string{"MARKS_LIB=" + lib, "MARKS=" + s.marks}, env...)}
	s.start()
	s.StartAgent()
	return s
}

func (s *unicorn) start() {
	s.T.Helper()
	p, err := s.Rig.StartUnicorn(s.conf)
	if err != nil {
		s.T.Fatal(err)
	}
	s.proc = p
}

func (s *unicorn) signal(sig syscall.Signal) {
	s.T.Helper()
	if err := s.proc.Signal(sig); err != nil {
		s.T.Fatal(err)
	}
}

func TestUnicornCounts(t *testing.T) {
	s := newUnicorn(t, 3, nil)
	if r := s.Settled(3); r.Min != 0 || r.Max != 8 || r.Problem != "" {
		t.Errorf("idle: %+v", r)
	}
	s.Counts(3, "/?ms=1500")
	end := s.Begin(1, "/stream?ms=300")
	s.Wait("the streaming one busy", func(r agent.AppReport) bool { return r.Busy == 1 })
	end()
	s.Wait("0 busy", func(r agent.AppReport) bool { return r.BusyKnown && r.Busy == 0 })
}

func TestUnicornMarks(t *testing.T) {
	s := newUnicorn(t, 2, nil)
	s.Settled(2)
	s.Marks(s.marks, 2, "/?ms=8000", true)
}

// Where marks cannot be made every request is answered all the same.
func TestUnicornWithoutAPlaceForMarks(t *testing.T) {
	s := newUnicorn(t, 1, []string{"MARKS=/proc/no/such"})
	for _, path := range []string{"/", "/stream", "/status?code=404"} {
		if code := s.Post(path); code != 200 && code != 404 {
			t.Errorf("%s answers %d without marks", path, code)
		}
	}
	r := s.Wait("the problem", func(r agent.AppReport) bool { return r.WorkersKnown && r.Problem != "" })
	if r.Known || r.BusyKnown || r.Total != 1 {
		t.Errorf("without marks: %+v", r)
	}
}

func TestUnicornCycles(t *testing.T) {
	s := newUnicorn(t, 2, nil)
	s.Settled(2)
	s.Cycles(10, 2, 4, 40, "/?ms=5")
}

// The workers with the highest numbers leave, whoever is busy, and are told apart as draining.
func TestUnicornDrainsTheHighestNumber(t *testing.T) {
	s := newUnicorn(t, 3, nil)
	s.Settled(3)
	end := s.Begin(3, "/?ms=3000")
	s.Wait("3 busy", func(r agent.AppReport) bool { return r.Busy == 3 })
	s.Target(1)
	r := s.Wait("2 draining", func(r agent.AppReport) bool { return r.Draining == 2 })
	if r.Total != 3 || r.Ready != 1 || r.Busy != 3 {
		t.Errorf("while two drain: %+v", r)
	}
	end()
	s.Settled(1)
	pid := s.Get("/pid")
	title, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || !strings.Contains(string(title), "worker[0]") {
		t.Errorf("the worker %s that is left is %q, %v; want number 0", pid, title, err)
	}
}

func TestUnicornGoesToZeroAndBack(t *testing.T) {
	s := newUnicorn(t, 2, nil)
	s.Settled(2)
	s.Target(0)
	if r := s.Settled(0); r.Master == "" || r.Problem != "" || !r.WorkersKnown {
		t.Errorf("at zero: %+v", r)
	}
	time.Sleep(2 * time.Second) // it must stay there, and be no error
	s.Settled(0)
	answered := make(chan int, 1)
	go func() { answered <- s.Post("/") }()
	select {
	case code := <-answered:
		t.Fatalf("answered %d without a worker", code)
	case <-time.After(500 * time.Millisecond):
	}
	s.Target(2)
	if code := <-answered; code != 200 {
		t.Errorf("the request that waited for a worker got %d", code)
	}
	s.Settled(2)
}

// On HUP with preload_app all workers leave and nobody reaps them while the master loads the application: that is no count to
// be corrected by more signals, which it would all heed later.
func TestUnicornTargetOutlivesReload(t *testing.T) {
	s := newUnicorn(t, 2, []string{"APP_BOOT_MS=4000"}, "preload_app true")
	s.Settled(2)
	s.Target(3)
	before := s.Settled(3)
	s.signal(syscall.SIGHUP)
	s.Wait("the workers to leave", func(r agent.AppReport) bool { return r.Total == 0 })
	most := 0
	r := s.Wait("the target after the reload", func(r agent.AppReport) bool {
		most = max(most, r.Total)
		return r.Known && r.Total == 3 && r.Ready == 3
	})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		most = max(most, s.Report().Total) // what it was told too much, it would do now
	}
	if r.Master != before.Master || most > 3 {
		t.Errorf("the master was %s and is %s after a reload; at most %d workers, want 3", before.Master, r.Master, most)
	}
	s.Settled(3)
}

func TestUnicornTargetOutlivesKill(t *testing.T) {
	s := newUnicorn(t, 2, nil)
	s.Settled(2)
	s.Target(4)
	before := s.Settled(4)
	s.signal(syscall.SIGKILL)
	s.Wait("the master to be missed", func(r agent.AppReport) bool { return !r.WorkersKnown && r.Target == 4 })
	s.start()
	if r := s.Settled(4); r.Master == before.Master {
		t.Errorf("after a restart the master is %s still", r.Master)
	}
}

// USR2 makes a second master with the configured count; the first one stays until somebody ends it.
func TestUnicornUpgrade(t *testing.T) {
	s := newUnicorn(t, 2, []string{"APP_BOOT_MS=1200"}, "preload_app true")
	s.Settled(2)
	s.Target(3)
	old := s.Settled(3)
	var pid int
	t.Cleanup(func() { // the successor is in no list of the rig's
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	s.signal(syscall.SIGUSR2)
	s.WaitFor("the successor's pid file", func() bool {
		b, err := os.ReadFile(s.Rig.Path("shop.pid"))
		n, scanErr := fmt.Sscan(string(b), &pid)
		return err == nil && scanErr == nil && n == 1 && pid != s.proc.PID()
	})
	// As long as it loads the application, its predecessor's workers are the application's.
	if r := s.Report(); !r.WorkersKnown || r.Master != old.Master || r.Total != 3 {
		t.Errorf("while the successor is loading: %+v", r)
	}
	r := s.Wait("the successor with three", func(r agent.AppReport) bool { return r.Known && r.Master != old.Master && r.Ready == 3 && r.Total == 3 })
	if !strings.HasPrefix(r.Master, fmt.Sprint(pid, ":")) {
		t.Errorf("the master is %s, want pid %d", r.Master, pid)
	}
	s.signal(syscall.SIGQUIT)
	if _, err := s.proc.ExitCode(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.Settled(3)
	if code := s.Post("/"); code != 200 {
		t.Errorf("after the upgrade: %d", code)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.WaitFor("the successor's end", func() bool { return syscall.Kill(pid, 0) != nil })
	pid = 0
}
