package agentrig

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/tests/harness"
)

// patience bounds a wait for something that must come; machines may be slow.
const patience = 30 * time.Second

// Site is one application on a real server, and an agent with its client.
type Site struct {
	T   *testing.T
	Rig *harness.Rig
	// URL is where the application answers, http://HOST:PORT.
	URL string
	// App is what the agent is told of it.
	App agent.App

	Client *agent.Client
	stop   func() error
}

// StartAgent runs an agent for s.App on a socket in the rig's folder, until StopAgent or the end of the test. It may be
// started again with new adapters in s.App.
func (s *Site) StartAgent() {
	s.T.Helper()
	a, err := agent.New(agent.Options{Node: "n1", Listen: "unix:" + s.Rig.Path("agent.sock"), Apps: []agent.App{s.App},
		Log: slog.New(slog.NewTextHandler(testLog{s.T}, nil))})
	if err != nil {
		s.T.Fatal(err)
	}
	if s.Client == nil {
		s.Client, err = agent.NewClient(agent.ClientOptions{URL: "unix:" + s.Rig.Path("agent.sock"), Timeout: 5 * time.Second})
		if err != nil {
			s.T.Fatal(err)
		}
	}
	s.stop = Run(s.T, a)
	s.WaitFor("the agent's socket", func() bool { _, err := s.Client.Report(context.Background()); return err == nil })
}

// StopAgent ends the agent and waits for its end.
func (s *Site) StopAgent() error { return s.stop() }

// Run runs an agent until stop or the end of the test.
func Run(t *testing.T, a *agent.Agent) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	return stop
}

// testLog passes the agent's log to the test's.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("agent: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// WaitFor ends the test when cond does not come true.
func (s *Site) WaitFor(what string, cond func() bool) {
	s.T.Helper()
	if err := harness.WaitFor(what, patience, cond); err != nil {
		s.T.Fatalf("%v; the agent says %+v", err, s.Report())
	}
}

// Report is what the agent says of the application.
func (s *Site) Report() agent.AppReport {
	s.T.Helper()
	r, err := s.ask()
	if err != nil {
		s.T.Errorf("report: %v", err)
	}
	return r
}

func (s *Site) ask() (agent.AppReport, error) {
	r, err := s.Client.Report(context.Background())
	return r.Apps[s.App.Name], err
}

// Wait waits for a report that satisfies cond and returns it. An agent that takes another configuration, or is started again,
// does not answer for a moment.
func (s *Site) Wait(what string, cond func(agent.AppReport) bool) (r agent.AppReport) {
	s.T.Helper()
	s.WaitFor(what, func() bool {
		var err error
		r, err = s.ask()
		return err == nil && cond(r)
	})
	return r
}

// Settled waits until n workers are ready and nothing else is there.
func (s *Site) Settled(n int) agent.AppReport {
	s.T.Helper()
	return s.Wait(fmt.Sprintf("%d ready workers", n), func(r agent.AppReport) bool { return r.Known && r.Total == n && r.Ready == n })
}

// Target orders n workers.
func (s *Site) Target(n int) {
	s.T.Helper()
	if r, err := s.Client.SetTarget(context.Background(), s.App.Name, n, 1); err != nil || r.Target != n || !r.Ordered {
		s.T.Fatalf("set the target: %+v, %v", r, err)
	}
}

// Post sends one request on a fresh connection and returns the status, 0 when it failed. POST, because Go repeats GETs.
func (s *Site) Post(path string) int {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Post(s.URL+path, "text/plain", strings.NewReader("x"))
	if err != nil {
		s.T.Logf("no answer: %v", err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.T.Logf("half an answer: %v", err)
		return 0
	}
	return resp.StatusCode
}

// Begin sends n requests at once; the function it returns waits for their end.
func (s *Site) Begin(n int, path string) (end func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { s.Post(path) })
	}
	s.T.Cleanup(wg.Wait)
	return wg.Wait
}

// Load sends rate requests a second, open loop, until the function it returns is called (for two minutes at most); that
// one tells how many were sent and what came of those that did not answer 200, by status (0 is no answer).
func (s *Site) Load(rate int, path string) (end func() (sent int, failed map[int]int)) {
	stop := make(chan struct{})
	failed := map[int]int{}
	sent := 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for sent < 120*rate { // bounded, whatever happens
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			sent++
			wg.Go(func() {
				if code := s.Post(path); code != 200 {
					mu.Lock()
					failed[code]++
					mu.Unlock()
				}
			})
		}
	})
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	s.T.Cleanup(finish)
	return func() (int, map[int]int) {
		finish()
		return sent, failed
	}
}

// Get is the body of an answer, without white space at its ends.
func (s *Site) Get(path string) string {
	s.T.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(s.URL + path)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
