package agent_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/tests/harness"
)

// The tests with a gunicorn mostly wait; two at a time, one per CPU of a small machine, would make them slow.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// site is one real gunicorn with the mark middleware, and an agent with its client.
type site struct {
	t     *testing.T
	rig   *harness.Rig
	gun   harness.Gunicorn
	proc  *harness.Proc
	marks string
	url   string

	client *agent.Client
	agent  *running
}

// running is an agent whose Run has not returned yet.
type running struct {
	stop func() error
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
	s.startAgent()
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
	s := &site{t: t, rig: rig, marks: rig.Path("marks", "shop"), url: "http://" + addr}
	s.gun = harness.Gunicorn{Name: "shop", Bind: addr, Workers: workers, App: "marked:app", Extra: extra,
		Path: []string{rig.Path("marked"), middleware}, Env: append([]string{"MARKS=" + s.marks}, env...)}
	return s
}

func (s *site) startGunicorn() {
	s.t.Helper()
	p, err := s.rig.StartGunicorn(s.gun)
	if err != nil {
		s.t.Fatal(err)
	}
	s.proc = p
}

// startAgent runs an agent on a unix socket in the rig's folder.
func (s *site) startAgent() {
	s.t.Helper()
	a, err := agent.New(agent.Options{
		Node:   "n1",
		Listen: "unix:" + s.rig.Path("agent.sock"),
		Apps:   []agent.App{{Name: "shop", Source: filemarks.New(s.marks), Actuator: signals.NewGunicorn(s.rig.Path("shop.pid"), 1, 8), Min: 1, Max: 8}},
		Log:    slog.New(slog.NewTextHandler(testLog{s.t}, nil)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.client == nil {
		s.client, err = agent.NewClient(agent.ClientOptions{URL: "unix:" + s.rig.Path("agent.sock"), Timeout: 5 * time.Second})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.agent = run(s.t, a)
	s.waitFor("the agent's socket", func() bool { _, err := s.client.Report(context.Background()); return err == nil })
}

// run runs the agent until stop or the end of the test.
func run(t *testing.T, a *agent.Agent) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r := &running{stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	return r
}

// testLog passes the agent's log to the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("agent: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

func (s *site) waitFor(what string, cond func() bool) {
	s.t.Helper()
	if err := harness.WaitFor(what, 20*time.Second, cond); err != nil {
		s.t.Fatalf("%v; the agent says %+v", err, s.report())
	}
}

// report is what the agent says of the application.
func (s *site) report() agent.AppReport {
	r, err := s.client.Report(context.Background())
	if err != nil {
		s.t.Errorf("report: %v", err)
	}
	return r.Apps["shop"]
}

// wait waits for a report that satisfies cond and returns it.
func (s *site) wait(what string, cond func(agent.AppReport) bool) (r agent.AppReport) {
	s.t.Helper()
	s.waitFor(what, func() bool {
		r = s.report()
		return cond(r)
	})
	return r
}

// settled waits until n workers are ready and nothing else is there.
func (s *site) settled(n int) agent.AppReport {
	s.t.Helper()
	return s.wait(fmt.Sprintf("%d ready workers", n), func(r agent.AppReport) bool { return r.Known && r.Total == n && r.Ready == n })
}

func (s *site) target(n int) {
	s.t.Helper()
	if r, err := s.client.SetTarget(context.Background(), "shop", n, 1); err != nil || r.Target != n {
		s.t.Fatalf("set the target: %+v, %v", r, err)
	}
}

// post sends one request on a fresh connection and returns the status, 0 when it failed.
func (s *site) post(path string) int {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Post(s.url+path, "text/plain", strings.NewReader("x"))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

// begin sends n requests at once; the function it returns waits for their end.
func (s *site) begin(n int, path string) (end func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { s.post(path) })
	}
	s.t.Cleanup(wg.Wait)
	return wg.Wait
}

// load sends rate requests a second, open loop, until the function it returns is called; that one tells how many were
// sent and what came of those that did not answer 200.
func (s *site) load(rate int, path string) (end func() (sent int, failed map[int]int)) {
	stop := make(chan struct{})
	failed := map[int]int{}
	sent := 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for sent < 60*rate { // bounded, whatever happens
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			sent++
			wg.Go(func() {
				if code := s.post(path); code != 200 {
					mu.Lock()
					failed[code]++
					mu.Unlock()
				}
			})
		}
	})
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	s.t.Cleanup(finish)
	return func() (int, map[int]int) {
		finish()
		return sent, failed
	}
}

// names lists the mark directory.
func (s *site) names() []string {
	s.t.Helper()
	es, err := os.ReadDir(s.marks)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

// count tells how many marks begin with prefix.
func (s *site) count(prefix string) (n int) {
	s.t.Helper()
	for _, name := range s.names() {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

func (s *site) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.proc.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
