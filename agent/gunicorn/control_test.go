package gunicorn

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests mostly wait.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const wsgi = `import os
from app import app as inner
from tidegate_marks import Marks
app = Marks(inner, os.environ["MARKS"])
`

// site is one real gunicorn with a control socket, and an agent with its client.
type site struct {
	agentrig.Site
	gun     harness.Gunicorn
	proc    *harness.Proc
	control string
}

// newSite starts gunicorn from the folder that TIDEGATE_TEST_GUNICORN names (scripts/gunicorn-version.sh gets it), since
// Debian 12 has 20.1, without a control socket.
func newSite(t *testing.T, workers int, extra ...string) *site {
	t.Helper()
	t.Parallel()
	lib := os.Getenv("TIDEGATE_TEST_GUNICORN")
	if lib == "" {
		t.Skip("TIDEGATE_TEST_GUNICORN names no gunicorn 25.1 or later (make test-matrix gets one from a newer Debian suite)")
	}
	s := &site{Site: agentrig.Site{T: t, Rig: harness.ForTest(t)}}
	addr, err := s.Rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"marked/marked.py": wsgi, "marked/" + marks.WSGIFile: marks.WSGI} {
		if _, err := s.Rig.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	s.URL, s.control = "http://"+addr, s.Rig.Path("ctl")
	dir := s.Rig.Path("marks")
	s.gun = harness.Gunicorn{Name: "shop", Bind: addr, Workers: workers, App: "marked:app", Env: []string{"MARKS=" + dir},
		Path: []string{lib, s.Rig.Path("marked")}, Program: []string{"python3", "-m", "gunicorn"},
		Extra: append([]string{"--control-socket", s.control}, extra...)}
	s.App = agent.App{Name: "shop", Source: filemarks.New(dir), Actuator: New(s.control, 1, 8), Min: 1, Max: 8}
	s.startGunicorn()
	s.StartAgent()
	return s
}

func (s *site) startGunicorn() {
	s.T.Helper()
	var err error
	if s.proc, err = s.Rig.StartGunicorn(s.gun); err != nil {
		s.T.Fatal(err)
	}
}

func TestCountsAndCycles(t *testing.T) {
	s := newSite(t, 3)
	s.Settled(3)
	s.Counts(3, "/?ms=1500")
	s.Cycles(s.Times(3), 2, 6, 100, "/?ms=5")
}

func TestBusyWorkersDrain(t *testing.T) {
	s := newSite(t, 4)
	s.Settled(4)
	end := s.Begin(4, "/?ms=2500")
	s.Wait("four busy", func(r agent.AppReport) bool { return r.Busy == 4 })
	s.Target(1)
	r := s.Wait("three draining", func(r agent.AppReport) bool { return r.Draining == 3 })
	if r.Total != 4 || r.Ready != 1 || r.Busy != 4 {
		t.Errorf("while three drain: %+v", r)
	}
	end()
	s.Settled(1)
}

func TestTargetIsAppliedAgainAfterReloadAndRestart(t *testing.T) {
	s := newSite(t, 2)
	s.Settled(2)
	s.Target(5)
	before := s.Settled(5)
	if err := s.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := s.proc.WaitLog("Hang up: Master", 15*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Wait("the reload", func(agent.AppReport) bool {
		var st stats
		return ask(s.control, "show stats", &st) == nil && st.Reloads == 1 && st.Target == 5
	})
	if r := s.Settled(5); r.Master != before.Master {
		t.Errorf("the master was %s and is %s after a reload", before.Master, r.Master)
	}
	if err := s.proc.Stop(15 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.Wait("the master to be missed", func(r agent.AppReport) bool { return !r.WorkersKnown && strings.Contains(r.Problem, "ask gunicorn at") })
	s.startGunicorn()
	if r := s.Settled(5); r.Master == before.Master {
		t.Errorf("the master is %s as before", r.Master)
	}
}

func TestMissingSocket(t *testing.T) {
	c := New(filepath.Join(t.TempDir(), "ctl"), 1, 4)
	if _, err := c.Observe(time.Now()); err == nil || !strings.Contains(err.Error(), "ask gunicorn at") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if step, err := c.Steer(time.Now(), 3, nil); step != 0 || err != nil {
		t.Errorf("%d, %v", step, err)
	}
	if fmt.Sprint(c.Owns()) != "["+c.path+"]" {
		t.Errorf("it owns %v", c.Owns())
	}
}
