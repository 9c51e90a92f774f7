package agent_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
)

func busy(n int) func(agent.AppReport) bool {
	return func(r agent.AppReport) bool { return r.Known && r.Busy == n }
}

func TestBusyCountsOfSyncWorkers(t *testing.T) {
	s := newSite(t, 3, nil)
	if r := s.Settled(3); r.Busy != 0 || r.Min != 1 || r.Max != 8 || r.Target != 0 || r.Master == "" || r.Problem != "" {
		t.Errorf("idle: %+v", r)
	}
	for _, n := range []int{1, 3} {
		end := s.Begin(n, "/?ms=1500")
		s.Wait(fmt.Sprintf("%d busy", n), busy(n))
		end()
		s.Wait("0 busy", busy(0))
	}
	// Seven requests on three workers: three are worked on, four wait in the kernel.
	end := s.Begin(7, "/?ms=700")
	most := 0
	s.Wait("the queue to be worked off", func(r agent.AppReport) bool {
		most = max(most, r.Busy)
		return most > 0 && r.Busy == 0 && r.BusyMax > 0
	})
	end()
	if most != 3 {
		t.Errorf("at most %d busy, want 3", most)
	}
	r := s.Wait("the last second to be idle", func(r agent.AppReport) bool { return r.BusyMax == 0 })
	if r.BusyMean != 0 {
		t.Errorf("mean %g with max 0", r.BusyMean)
	}
}

func TestBusyCountsOfStreamsAndExceptions(t *testing.T) {
	s := newSite(t, 2, nil)
	s.Settled(2)
	// The callable has long returned while the body is still being made.
	end := s.Begin(1, "/stream?ms=300")
	s.Wait("1 busy", busy(1))
	end()
	s.Wait("0 busy", busy(0))
	for range 5 {
		if code := s.Post("/boom"); code != 500 {
			t.Fatalf("/boom answers %d", code)
		}
	}
	s.WaitFor("no request's mark after exceptions", func() bool { return s.count("b.") == 0 })
	if n := s.count("w."); n != 2 {
		t.Errorf("%d marks of ready workers, want 2: %v", n, s.names())
	}
}

func TestBusyCountsOfThreads(t *testing.T) {
	s := newSite(t, 1, nil, "--worker-class", "gthread", "--threads", "4")
	s.Settled(1)
	end := s.Begin(3, "/?ms=1500")
	s.Wait("3 busy in one worker", func(r agent.AppReport) bool { return r.Busy == 3 && r.Total == 1 })
	end()
	s.Wait("0 busy", busy(0))
	end = s.Begin(1, "/stream?ms=200")
	s.Wait("1 busy", busy(1))
	end()
	s.Wait("0 busy", busy(0))
}

func TestKilledBusyWorker(t *testing.T) {
	s := newSite(t, 2, nil)
	s.Settled(2)
	s.Begin(1, "/?ms=8000")
	s.Wait("1 busy", busy(1))
	var pid int
	var start uint64
	for _, name := range s.names() {
		if strings.HasPrefix(name, "b.") {
			if _, err := fmt.Sscanf(name, "b.%d.%d", &pid, &start); err != nil {
				t.Fatal(err)
			}
		}
	}
	who := fmt.Sprintf(".%d.%d", pid, start)
	if pid < 2 {
		t.Fatalf("no mark in %v", s.names())
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	s.Wait("0 busy", busy(0))
	s.WaitFor("the stale marks to be removed", func() bool { return s.count("b"+who)+s.count("w"+who) == 0 })
	t.Logf("right again %v after the kill", time.Since(killed).Round(time.Millisecond))
	s.Settled(2)
}

func TestScalingLosesNoRequest(t *testing.T) {
	s := newSite(t, 1, nil)
	s.Settled(1)
	end := s.Load(100, "/?ms=5")
	begin := time.Now()
	s.Target(5)
	s.Settled(5)
	up := time.Since(begin)
	time.Sleep(time.Second) // the count must stay
	s.Settled(5)
	begin = time.Now()
	s.Target(2)
	s.Settled(2)
	t.Logf("1 -> 5 ready in %v, 5 -> 2 in %v", up.Round(10*time.Millisecond), time.Since(begin).Round(10*time.Millisecond))
	time.Sleep(2 * time.Second)
	s.Settled(2)
	sent, failed := end()
	if len(failed) != 0 {
		t.Errorf("of %d requests these did not answer 200 (by status, 0 is no answer): %v", sent, failed)
	}
	t.Logf("%d requests", sent)
	if log := s.proc.Log(); strings.Count(log, "Handling signal: ttin") != 4 || strings.Count(log, "Handling signal: ttou") != 3 {
		t.Errorf("gunicorn handled %d ttin and %d ttou, want 4 and 3", strings.Count(log, "Handling signal: ttin"),
			strings.Count(log, "Handling signal: ttou"))
	}
}

func TestDrainingIsReportedApart(t *testing.T) {
	s := newSite(t, 3, nil)
	s.Settled(3)
	end := s.Begin(3, "/?ms=2500")
	s.Wait("3 busy", busy(3))
	s.Target(1)
	r := s.Wait("2 draining", func(r agent.AppReport) bool { return r.Draining == 2 })
	if r.Total != 3 || r.Ready != 1 || r.Busy != 3 {
		t.Errorf("while two drain: %+v", r)
	}
	end()
	s.Settled(1)
}

func TestTargetIsAppliedAgainAfterReloadAndRestart(t *testing.T) {
	s := newSite(t, 2, nil)
	s.Settled(2)
	s.Target(4)
	s.Settled(4)

	before := s.Report()
	s.signal(syscall.SIGHUP)
	if err := s.proc.WaitLog("Hang up: Master", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	s.WaitFor("the target after the reload", func() bool { return strings.Count(s.proc.Log(), "Handling signal: ttin") == 4 })
	r := s.Settled(4)
	if r.Master != before.Master {
		t.Errorf("the master was %s and is %s after a reload", before.Master, r.Master)
	}

	if err := s.proc.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	r = s.Wait("the master to be missed", func(r agent.AppReport) bool { return strings.Contains(r.Problem, "pid file") })
	if r.Known || r.WorkersKnown || r.Target != 4 || r.Master != "" {
		t.Errorf("without a master: %+v", r)
	}
	s.startGunicorn()
	r = s.Settled(4)
	if r.Master == before.Master || r.Target != 4 {
		t.Errorf("after a restart: %+v", r)
	}
	if n := strings.Count(s.proc.Log(), "Handling signal: ttou"); n != 0 {
		t.Errorf("gunicorn handled %d ttou on the way up", n)
	}
}

func TestSuccessorMasterIsNoWorker(t *testing.T) {
	s := newSite(t, 2, nil)
	s.Settled(2)
	s.Target(3)
	old := s.Settled(3)
	s.signal(syscall.SIGUSR2)
	var pid int
	t.Cleanup(func() { // the successor is in no list of the rig's
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	s.WaitFor("the successor's pid file", func() bool {
		b, err := os.ReadFile(s.Rig.Path("shop.pid.2"))
		if err != nil {
			return false
		}
		n, err := fmt.Sscan(string(b), &pid)
		return n == 1 && err == nil
	})
	s.Settled(3)
	s.signal(syscall.SIGTERM)
	r := s.Wait("the successor", func(r agent.AppReport) bool { return r.Known && r.Master != old.Master && r.Ready == 3 })
	if !strings.HasPrefix(r.Master, fmt.Sprint(pid, ":")) {
		t.Errorf("the master is %s, want pid %d", r.Master, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.WaitFor("the successor's end", func() bool { return syscall.Kill(pid, 0) != nil })
	pid = 0
}

func TestStartingIsToldFromReady(t *testing.T) {
	s := newSite(t, 1, []string{"APP_BOOT_MS=800"})
	s.Settled(1)
	s.Target(2)
	r := s.Wait("a starting worker", func(r agent.AppReport) bool { return r.Starting > 0 })
	if r.Ready != 1 || r.Starting != 1 || r.Total != 2 {
		t.Errorf("while one starts: %+v", r)
	}
	s.Settled(2)
}

func TestPreloadedWorkersAreReadyAtOnce(t *testing.T) {
	s := newSite(t, 1, []string{"APP_BOOT_MS=800"}, "--preload")
	r := s.Settled(1)
	if n := s.count("w." + r.Master[:strings.Index(r.Master, ":")] + "."); n != 1 {
		t.Errorf("the master has %d marks, want 1: %v", n, s.names())
	}
	s.Target(3)
	s.Wait("3 ready without one starting", func(r agent.AppReport) bool {
		if r.Starting != 0 {
			t.Fatalf("a worker of a preloaded application is starting: %+v", r)
		}
		return r.Ready == 3
	})
	end := s.Begin(2, "/?ms=1500")
	s.Wait("2 busy", busy(2)) // the middleware has noticed the fork: each worker marks under its own pid
	end()
	s.Wait("0 busy", busy(0))
}

func TestControllerAndAgentGoneChangeNothing(t *testing.T) {
	s := newSite(t, 1, nil)
	s.Settled(1)
	s.Target(3)
	s.Settled(3)
	signals := func() int { return strings.Count(s.proc.Log(), "Handling signal") }
	n := signals()
	time.Sleep(2 * time.Second) // nobody calls any more
	if r := s.Settled(3); signals() != n || r.Target != 3 {
		t.Errorf("%d signals without a controller: %+v", signals()-n, r)
	}
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Rig.Path("agent.sock")); err == nil {
		t.Error("the socket is left behind")
	}
	for range 3 {
		if code := s.Post("/"); code != 200 {
			t.Errorf("without an agent the application answers %d", code)
		}
	}
	s.StartAgent()
	r := s.Settled(3)
	if r.Target != 0 || r.Epoch != 0 {
		t.Errorf("a new agent has a target: %+v", r)
	}
	time.Sleep(2 * time.Second)
	s.Settled(3)
	if signals() != n {
		t.Errorf("%d signals by an agent without a target", signals()-n)
	}
}

func TestMarksNeverFailARequest(t *testing.T) {
	t.Parallel()
	s := bareSite(t, 1, nil)
	// The directory cannot be made, because a file is in its way.
	if _, err := s.Rig.Write("marks", "in the way"); err != nil {
		t.Fatal(err)
	}
	s.startGunicorn()
	s.StartAgent()
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

func TestApplicationWithoutMiddlewareIsUnknownNotIdle(t *testing.T) {
	t.Parallel()
	s := bareSite(t, 2, nil)
	s.gun.App = "app:app"
	if err := os.MkdirAll(s.marks, 0o755); err != nil {
		t.Fatal(err)
	}
	s.startGunicorn()
	s.StartAgent()
	r := s.Wait("two workers", func(r agent.AppReport) bool { return r.Total == 2 && r.Ready == 2 })
	if r.Known || !r.WorkersKnown || !strings.Contains(r.Problem, "middleware") {
		t.Errorf("an application that never marked anything: %+v", r)
	}
	s.Target(3) // workers can be steered all the same
	s.Wait("three workers", func(r agent.AppReport) bool { return r.Ready == 3 })
}

// Up and down under load, as for each other server.
func TestCyclesOfGunicorn(t *testing.T) {
	s := newSite(t, 2, nil)
	s.Settled(2)
	s.Cycles(s.Times(2), 2, 4, 50, "/?ms=5")
}
