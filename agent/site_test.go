package agent_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// The tests with a gunicorn mostly wait; two at a time, one per CPU of a small machine, would make them slow.
func TestMain(m *testing.M) {
	if ran, err := soleAgent(); ran {
		if err != nil {
			panic(err)
		}
		return
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// site is one real gunicorn with the mark middleware, and an agent with its client.
type site struct {
	agentrig.Site
	gun   harness.Gunicorn
	proc  *harness.Proc
	marks string
}

const wsgi = `import os
from app import app as inner
from tidegate_marks import Marks
app = Marks(inner, os.environ["MARKS"])
`

// newSite starts gunicorn with so many workers, and an agent for it with limits 1 and 8.
func newSite(t *testing.T, workers int, env []string, extra ...string) *site {
	t.Helper()
	t.Parallel()
	s := bareSite(t, workers, env, extra...)
	s.startGunicorn()
	s.StartAgent()
	return s
}

// bareSite starts nothing yet.
func bareSite(t *testing.T, workers int, env []string, extra ...string) *site {
	t.Helper()
	harness.Need(t, "gunicorn")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Write("marked/marked.py", wsgi); err != nil {
		t.Fatal(err)
	}
	middleware, err := filepath.Abs("../conf/marks/wsgi")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}, marks: rig.Path("marks", "shop")}
	s.App = agent.App{Name: "shop", Source: filemarks.New(s.marks), Actuator: signals.NewGunicorn(rig.Path("shop.pid"), 1, 8), Min: 1, Max: 8}
	s.gun = harness.Gunicorn{Name: "shop", Bind: addr, Workers: workers, App: "marked:app", Extra: extra,
		Path: []string{rig.Path("marked"), middleware}, Env: append([]string{"MARKS=" + s.marks}, env...)}
	return s
}

func (s *site) startGunicorn() {
	s.T.Helper()
	p, err := s.Rig.StartGunicorn(s.gun)
	if err != nil {
		s.T.Fatal(err)
	}
	s.proc = p
}

// names lists the mark directory.
func (s *site) names() []string {
	s.T.Helper()
	es, err := os.ReadDir(s.marks)
	if err != nil {
		s.T.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// count tells how many marks begin with prefix.
func (s *site) count(prefix string) (n int) {
	s.T.Helper()
	for _, name := range s.names() {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

func (s *site) signal(sig syscall.Signal) {
	s.T.Helper()
	if err := s.proc.Signal(sig); err != nil {
		s.T.Fatal(err)
	}
}
