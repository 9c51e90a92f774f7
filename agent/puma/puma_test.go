package puma

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

const token = "0123456789abcdef-secret"

// site is one real Puma with its control app on a unix socket, and an agent with its client.
type site struct {
	agentrig.Site
	conf harness.AppServer
	opt  Options
	proc *harness.Proc
}

// newSite prepares Puma with so many workers and threads in each, and an agent for it with limits 1 and 8; nothing runs yet.
func newSite(t *testing.T, workers, threads int, extra ...string) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, "puma")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}}
	control := fmt.Sprintf("activate_control_app %q, { auth_token: %q }", "unix://"+rig.Path("control.sock"), token)
	s.conf = harness.AppServer{Name: "shop", Bind: addr, Workers: workers, Threads: threads, Extra: append([]string{control}, extra...)}
	s.opt = Options{PIDFile: rig.Path("shop.pid"), Control: "unix:" + rig.Path("control.sock"), Token: token, Min: 1, Max: 8}
	return s
}

// run starts Puma and the agent.
func (s *site) run() {
	s.T.Helper()
	if s.App.Name == "" {
		server := New(s.opt)
		s.App = agent.App{Name: "shop", Source: server, Actuator: server, Min: 1, Max: 8}
	}
	s.start()
	s.StartAgent()
}

func (s *site) start() {
	s.T.Helper()
	p, err := s.Rig.StartPuma(s.conf)
	if err != nil {
		s.T.Fatal(err)
	}
	s.proc = p
}

// marked lets the application mark its requests, and the agent count them.
func (s *site) marked() {
	s.T.Helper()
	lib, err := filepath.Abs("../../conf/marks/rack")
	if err != nil {
		s.T.Fatal(err)
	}
	s.conf.Env = append(s.conf.Env, "MARKS_LIB="+lib, "MARKS="+s.Rig.Path("marks"))
	s.App = agent.App{Name: "shop", Source: filemarks.New(s.Rig.Path("marks")), Actuator: New(s.opt), Min: 1, Max: 8}
}

func (s *site) signal(sig syscall.Signal) {
	s.T.Helper()
	if err := s.proc.Signal(sig); err != nil {
		s.T.Fatal(err)
	}
}

func busy(n int) func(agent.AppReport) bool {
	return func(r agent.AppReport) bool { return r.Known && r.Busy == n }
}

// The counts come late, so that they are right only when requests last longer than a worker's interval.
func TestCountsByTheControlApp(t *testing.T) {
	// With queue_requests a worker may take more connections than it has threads, while another one has nothing to do.
	s := newSite(t, 2, 2, "worker_check_interval 1", "queue_requests false")
	s.run()
	s.Settled(2)
	s.Wait("figures", func(r agent.AppReport) bool { return r.Known && r.BusyTrust == adapter.Delayed && r.Busy == 0 })
	for _, n := range []int{1, 4} {
		end := s.Begin(n, "/?ms=4000")
		r := s.Wait(fmt.Sprintf("%d busy", n), busy(n))
		if r.Total != 2 || r.BusyAgeMS > 30_000 {
			t.Errorf("%d busy: %+v", n, r)
		}
		end()
		s.Wait("0 busy", busy(0))
	}
	most := 0
	end := s.Begin(6, "/?ms=3000")
	s.Wait("two more requests than threads to be worked off", func(r agent.AppReport) bool {
		most = max(most, r.Busy)
		return most > 0 && r.Busy == 0
	})
	end()
	if most != 4 {
		t.Errorf("with 6 requests on 4 threads at most %d were busy, want 4", most)
	}
}

func TestCountsByMarks(t *testing.T) {
	s := newSite(t, 3, 1, "queue_requests false")
	s.marked()
	s.run()
	s.Settled(3)
	s.Counts(3, "/?ms=1500")
	s.Counts(3, "/stream?ms=300")
}

// exit in a request is an error like others to Puma's threads: the worker lives on.
func TestMarksOfThreads(t *testing.T) {
	s := newSite(t, 2, 3, "queue_requests false")
	s.marked()
	s.run()
	s.Settled(2)
	for _, path := range []string{"/?ms=1500", "/stream?ms=300"} {
		end := s.Begin(5, path)
		s.Wait("5 busy", busy(5))
		end()
		s.Wait("0 busy", busy(0))
	}
	s.Marks(s.Rig.Path("marks"), 2, "/?ms=8000", true)
}

// With queue_requests (the default) a worker that leaves closes the connections on which nothing has come yet, and a client
// that was about to send has no answer: on a machine with much to do that was one request in 400.
func TestCycles(t *testing.T) {
	s := newSite(t, 2, 1, "queue_requests false")
	s.marked()
	s.run()
	s.Settled(2)
	s.Cycles(10, 2, 4, 40, "/?ms=5")
}

// A phased restart keeps the count; the workers of the phase before are workers as long as they are there.
func TestPhasedRestartKeepsTheCount(t *testing.T) {
	s := newSite(t, 2, 1, "worker_check_interval 1", "queue_requests false")
	s.run()
	s.Settled(2)
	s.Target(3)
	before := s.Settled(3)
	end := s.Load(20, "/?ms=5")
	s.signal(syscall.SIGUSR1)
	s.WaitFor("three workers of the new phase", func() bool { return strings.Count(s.proc.Log(), "s, phase: 1") >= 3 })
	r := s.Settled(3)
	if sent, failed := end(); len(failed) != 0 {
		t.Errorf("of %d requests failed: %v", sent, failed)
	}
	if r.Master != before.Master {
		t.Errorf("the master was %s and is %s", before.Master, r.Master)
	}
	time.Sleep(3 * time.Second) // the count must stay
	s.Settled(3)
}

// USR2 is an exec: the same pid, the configured count, and for a moment a process that TTIN would stop.
func TestTargetOutlivesRestartAndKill(t *testing.T) {
	s := newSite(t, 2, 1, "worker_check_interval 1")
	s.conf.Env = []string{"APP_BOOT_MS=300"}
	s.run()
	s.Settled(2)
	s.Target(4)
	before := s.Settled(4)
	s.signal(syscall.SIGUSR2)
	// That they are gone for a moment may be over before the agent looks; two plus two started again stays to be seen.
	s.WaitFor("four new workers", func() bool { return strings.Count(s.proc.Log(), "booted in") >= 8 })
	if r := s.Settled(4); r.Master != before.Master {
		t.Errorf("the master was %s and is %s after an exec", before.Master, r.Master)
	}

	s.signal(syscall.SIGKILL)
	s.Wait("the master to be missed", func(r agent.AppReport) bool { return !r.WorkersKnown && r.Target == 4 })
	s.WaitFor("the workers' end", func() bool { return s.Post("/") == 0 })
	s.start()
	if r := s.Settled(4); r.Master == before.Master {
		t.Errorf("after a restart the master is %s still", r.Master)
	}
}

func TestSingleModeHasNothingToSteer(t *testing.T) {
	s := newSite(t, 0, 3)
	s.run()
	r := s.Wait("the sentence", func(r agent.AppReport) bool { return strings.Contains(r.Problem, "single mode") })
	if r.WorkersKnown || !r.BusyKnown || strings.Count(r.Problem, ";") != 0 {
		t.Errorf("in single mode: %+v", r)
	}
	end := s.Begin(2, "/?ms=1500")
	r = s.Wait("2 busy", func(r agent.AppReport) bool { return r.BusyKnown && r.Busy == 2 })
	if r.BusyTrust != adapter.Exact {
		t.Errorf("the count is %s, want exact", r.BusyTrust)
	}
	end()
}
