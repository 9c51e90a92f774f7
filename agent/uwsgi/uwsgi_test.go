package uwsgi

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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

// site is one real uWSGI, and an agent with its client.
type site struct {
	agentrig.Site
	conf harness.AppServer
	proc *harness.Proc
}

// manual is what an agent wants to find in a configuration.
var manual = []string{"cheaper = 1", "cheaper-algo = manual"}

// newSite prepares uWSGI with 6 processes at most, of which initial are there at first, and an agent for it with limits 1 and
// 8; nothing runs yet.
func newSite(t *testing.T, initial, threads int, extra ...string) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, "uwsgi_python3")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}}
	s.conf = harness.AppServer{Name: "shop", Bind: addr, Workers: 6, Threads: threads,
		Extra: append([]string{fmt.Sprintf("cheaper-initial = %d", initial)}, extra...)}
	server := New("unix:"+rig.Path("shop-stats.sock"), rig.Path("shop.fifo"), 1, 8)
	s.App = agent.App{Name: "shop", Source: server, Actuator: server, Min: 1, Max: 8}
	return s
}

// run starts uWSGI and the agent.
func (s *site) run() *site {
	s.T.Helper()
	s.start()
	s.StartAgent()
	return s
}

func (s *site) start() {
	s.T.Helper()
	p, err := s.Rig.StartUWSGI(s.conf)
	if err != nil {
		s.T.Fatal(err)
	}
	s.proc = p
}

// fifo plays the person who writes to the FIFO.
func (s *site) fifo(text string) {
	s.T.Helper()
	f, err := os.OpenFile(s.Rig.Path("shop.fifo"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		s.T.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.T.Fatal(err)
	}
}

func busy(n int) func(agent.AppReport) bool {
	return func(r agent.AppReport) bool { return r.Known && r.Busy == n }
}

func TestCounts(t *testing.T) {
	s := newSite(t, 3, 1, manual...).run()
	if r := s.Settled(3); r.Max != 6 || r.Min != 1 || r.BusyTrust != adapter.Exact || r.Problem != "" {
		t.Errorf("idle: %+v", r)
	}
	s.Counts(3, "/?ms=1500")
	s.Counts(3, "/stream?ms=300")
}

func TestCountsOfThreads(t *testing.T) {
	s := newSite(t, 2, 3, manual...).run()
	s.Settled(2)
	for _, n := range []int{1, 4, 6} {
		end := s.Begin(n, "/?ms=2000")
		s.Wait(fmt.Sprintf("%d busy", n), busy(n))
		end()
		s.Wait("0 busy", busy(0))
	}
}

func TestCycles(t *testing.T) {
	s := newSite(t, 2, 1, manual...).run()
	s.Settled(2)
	s.Cycles(s.Times(4), 2, 5, 40, "/?ms=5") // two seconds each
}

// "-" takes idle workers only: it waits while all are busy, and is no debt afterwards, also when it is taken back.
func TestBusyWorkersLeaveLater(t *testing.T) {
	s := newSite(t, 4, 1, manual...).run()
	s.Settled(4)
	end := s.Begin(4, "/?ms=4000")
	s.Wait("4 busy", busy(4))
	s.Target(1)
	end()
	s.Settled(1)
	s.Target(4)
	s.Settled(4)

	end = s.Begin(4, "/?ms=5000")
	s.Wait("4 busy", busy(4))
	s.Target(2)
	time.Sleep(2500 * time.Millisecond) // the order is written and waits
	s.Target(5)                         // the load comes back
	end()
	s.Settled(5)
	time.Sleep(2 * time.Second)
	if r := s.Settled(5); r.Problem != "" {
		t.Errorf("after all: %+v", r)
	}
}

// A debt that somebody else has made swallows the first orders; they are made again until the count is right.
func TestDebtOfSomebodyElse(t *testing.T) {
	s := newSite(t, 3, 1, manual...).run()
	s.Settled(3)
	s.fifo("-----") // two below zero
	s.Wait("no worker", func(r agent.AppReport) bool { return r.WorkersKnown && r.Ready == 0 })
	s.Target(3)
	s.Settled(3)
}

func TestReloadAndKillResetTheCount(t *testing.T) {
	s := newSite(t, 2, 1, manual...).run()
	s.Settled(2)
	s.Target(4)
	before := s.Settled(4)
	s.fifo("r")
	if err := s.proc.WaitLog("binary reloading uWSGI", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	// That there are fewer may be over before the agent looks; two plus two started again stays to be seen.
	s.WaitFor("four new workers", func() bool { return strings.Count(s.proc.Log(), "spawned uWSGI worker ") >= 8 })
	if r := s.Settled(4); r.Master != before.Master {
		t.Errorf("the master was %s and is %s after a reload", before.Master, r.Master)
	}

	if err := s.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := s.Wait("the master to be missed", func(r agent.AppReport) bool { return !r.WorkersKnown })
	if r.Target != 4 || r.Problem == "" {
		t.Errorf("without a master: %+v", r)
	}
	s.WaitFor("the workers' end", func() bool { return s.Post("/") == 0 })
	s.start()
	if r := s.Settled(4); r.Master == before.Master {
		t.Errorf("after a restart the master is %s still", r.Master)
	}
}

// A worker that loads the application says "idle"; it accepts nothing yet.
func TestLazyWorkersAreStartingFirst(t *testing.T) {
	s := newSite(t, 1, 1, append([]string{"lazy-apps = true"}, manual...)...)
	s.conf.Env = []string{"APP_BOOT_MS=1500"}
	s.run()
	s.Settled(1)
	s.Target(2)
	r := s.Wait("a starting worker", func(r agent.AppReport) bool { return r.Starting > 0 })
	if r.Ready != 1 || r.Starting != 1 || r.Total != 2 {
		t.Errorf("while one starts: %+v", r)
	}
	s.Settled(2)
}

// A killed worker is a zombie, and busy as far as uWSGI says, until the master has noticed. It must not count.
func TestKilledWorkerIsNotBusy(t *testing.T) {
	s := newSite(t, 2, 1, manual...)
	s.start() // without an agent, whose questions would wake the master
	own := New("unix:"+s.Rig.Path("shop-stats.sock"), "/nonexistent.fifo", 1, 2)
	for try := 1; ; try++ {
		end := s.Begin(1, "/?ms=20000")
		var pid int
		for range 2 { // it must have been busy before
			err := harness.WaitFor("1 busy", 30*time.Second, func() bool {
				c, err := own.Count(nil)
				for p := range c.ByProc {
					pid = p.PID
				}
				return err == nil && c.Busy == 1
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for st, err := own.proc.Stat(pid); err == nil && !st.Dead(); st, err = own.proc.Stat(pid) {
			runtime.Gosched() // its end wakes the master: there is little time
		}
		r, err := own.read()
		end()
		if err != nil {
			t.Logf("try %d: %v", try, err)
		} else {
			said := slices.ContainsFunc(r.slots, func(s slot) bool { return s.PID == pid && s.busy() == 1 })
			if c := own.tally(r); c.Busy != 0 {
				t.Fatalf("%d busy after the kill: %+v", c.Busy, c)
			}
			if said {
				t.Logf("uWSGI said that the dead worker was busy in try %d", try)
				break
			}
		}
		if try == 20 {
			t.Fatal("uWSGI was always faster: nothing was tested")
		}
	}
	// A master that is told to end while it replaces a worker waits for long.
	if err := harness.WaitFor("a new worker", 30*time.Second, func() bool {
		r, err := own.read()
		return err == nil && r.slots[0].Accepting+r.slots[1].Accepting == 2
	}); err != nil {
		t.Fatal(err)
	}
}

// With an automatic algorithm orders are undone; the report says so.
func TestAutomaticAlgorithmIsNamed(t *testing.T) {
	s := newSite(t, 1, 1, "cheaper = 1", "cheaper-algo = spare", "cheaper-overload = 1").run()
	s.Settled(1)
	s.Target(4)
	s.Wait("the sentence", func(r agent.AppReport) bool {
		return r.WorkersKnown && strings.Contains(r.Problem, "cheaper-algo = manual")
	})
}

// The shipped WSGI mark counts as uWSGI itself does, also after a kill: the killed worker is a zombie for up to a second.
func TestMarks(t *testing.T) {
	s := newSite(t, 2, 2, append([]string{"enable-threads = true"}, manual...)...)
	lib, err := filepath.Abs("../../conf/marks/wsgi")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rig.Write("marked/marked.py", `import os
from app import app as inner
from tidegate_marks import Marks
app = Marks(inner, os.environ["MARKS"])
`); err != nil {
		t.Fatal(err)
	}
	marks := s.Rig.Path("marks", "shop")
	s.conf.App, s.conf.Path, s.conf.Env = "marked:app", []string{s.Rig.Path("marked"), lib}, []string{"MARKS=" + marks}
	s.App.Source = filemarks.New(marks)
	s.run()
	s.Settled(2)
	for _, path := range []string{"/?ms=1500", "/stream?ms=300"} {
		end := s.Begin(3, path)
		s.Wait("3 busy", busy(3))
		end()
		s.Wait("0 busy", busy(0))
	}
	for range 5 {
		if code := s.Post("/boom"); code == 200 {
			t.Fatal("/boom answers 200")
		}
	}
	s.Wait("0 busy after exceptions", busy(0))
	s.Begin(1, "/?ms=8000")
	s.Wait("1 busy", busy(1))
	names, err := filepath.Glob(marks + "/b.*")
	var pid int
	if err != nil || len(names) != 1 {
		t.Fatalf("marks %v, %v; want one", names, err)
	}
	if _, err := fmt.Sscanf(filepath.Base(names[0]), "b.%d.", &pid); err != nil || pid < 2 {
		t.Fatalf("mark %s: %v", names[0], err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Wait("0 busy after the kill", busy(0))
	s.Settled(2)
}
