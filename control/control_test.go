package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/internal/quiet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStoreKeepsAMemoryAndPutsABrokenOneAside(t *testing.T) {
	dir := t.TempDir()
	s, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Load(); err != nil || m.Apps != nil {
		t.Fatalf("a first start: %v %v", m, err)
	}
	want := core.Memory{Apps: map[string]core.AppMemory{"shop": {Random: 7, Servers: core.Servers{{Name: "a", ServerMemory: core.ServerMemory{Serve: true, Workers: 3}}}}}}
	for _, sync := range []bool{false, true} {
		if err := s.Save(want, sync); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Load()
	if err != nil || got.Apps["shop"].Servers.Of("a").Workers != 3 {
		t.Fatalf("read back %+v, %v", got, err)
	}
	for name, text := range map[string]string{"cut": `{"version":1,"mem`, "from the future": `{"version":99}`} {
		if err := os.WriteFile(filepath.Join(dir, "memory.json"), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(); err == nil {
			t.Fatalf("%s: accepted", name)
		}
		kept, err := os.ReadFile(filepath.Join(dir, "memory.json.bad"))
		if err != nil || string(kept) != text {
			t.Fatalf("%s: not kept: %q %v", name, kept, err)
		}
	}
}

func TestStoreFailureLeavesTheOldMemory(t *testing.T) {
	dir := t.TempDir()
	s, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(core.Memory{Apps: map[string]core.AppMemory{"old": {}}}, false); err != nil {
		t.Fatal(err)
	}
	// A folder in the temporary file's place stands for a disk that takes no more files.
	if err := os.Mkdir(filepath.Join(dir, "memory.json.tmp"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(core.Memory{Apps: map[string]core.AppMemory{"new": {}}}, false); err == nil {
		t.Fatal("saved into nowhere")
	}
	m, err := s.Load()
	if _, ok := m.Apps["old"]; err != nil || !ok {
		t.Fatalf("the old memory is %+v, %v", m, err)
	}
}

func TestJournalRotatesAndEveryLineIsWhole(t *testing.T) {
	dir := t.TempDir()
	j := NewJournal(dir, 2000)
	for i := range 50 {
		if err := j.Append(Entry{Kind: "outcome", App: fmt.Sprint("app", i), Detail: strings.Repeat("x", 50)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range []string{"journal.jsonl", "journal.1.jsonl"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 2000 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		for line := range strings.Lines(string(text)) {
			var e Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			lines++
		}
	}
	if lines < 10 {
		t.Errorf("%d lines left in two files", lines)
	}
	// The journal goes on where another process left off.
	j = NewJournal(dir, 1<<20)
	if err := j.Append(Entry{Kind: "outcome", App: "after"}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	if err != nil || !strings.Contains(string(text), `"after"`) || !strings.Contains(string(text), `"app49"`) {
		t.Fatalf("%v\n%s", err, text)
	}
}

func TestWarmUpGoesStraightToTheServerAndOnly2xxCounts(t *testing.T) {
	var mu sync.Mutex
	var agents, hosts []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		agents, hosts = append(agents, r.UserAgent()), append(hosts, r.Host)
		mu.Unlock()
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/error":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/hang":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		}
	}))
	defer srv.Close()
	cases := map[string]struct {
		url  string
		want core.WarmState
	}{
		"2xx":         {srv.URL + "/ok", core.WarmOK},
		"redirect":    {srv.URL + "/redirect", core.WarmFailed},
		"error":       {srv.URL + "/error", core.WarmFailed},
		"hang":        {srv.URL + "/hang", core.WarmFailed},
		"unreachable": {"http://127.0.0.1:1/", core.WarmFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			done := make(chan error, 1)
			w := newWarmer(func(_, _ string, err error) { done <- err }, func(a string) string { return a })
			s := Server{Name: "a", WarmURL: c.url, WarmUA: "tidegate-warmup", WarmHost: "shop.example", WarmTimeout: 300 * time.Millisecond}
			w.start(t.Context(), "shop", s)
			err := <-done
			w.wait()
			if got := w.state("shop", "a"); got != c.want {
				t.Fatalf("%s, want %s (%v)", got, c.want, err)
			}
			if (err == nil) != (c.want == core.WarmOK) {
				t.Fatalf("error %v", err)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range agents {
		if agents[i] != "tidegate-warmup" || hosts[i] != "shop.example" {
			t.Errorf("request %d came from %q for host %q", i, agents[i], hosts[i])
		}
	}
}

// faulty is a HAProxy that does what the real one will not do on demand: it fails in chosen turns.
type faulty struct {
	mu    sync.Mutex
	err   error
	state ProxyState
	steps []ProxyStep
}

func (f *faulty) Observe(context.Context, []string) (ProxyState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.err
}

func (f *faulty) Apply(_ context.Context, steps []ProxyStep) ([]error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, steps...)
	return make([]error, len(steps)), f.err
}

func (f *faulty) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func testSetup(p Proxy) Setup {
	srv := core.ProxyServerObs{Known: true, Admin: core.AdminReady, Up: true, Weight: 100}
	if f, ok := p.(*faulty); ok {
		f.state = ProxyState{Process: "1:1", Backends: map[string]ProxyBackend{"shop": {Servers: map[string]core.ProxyServerObs{"a": srv, "b": srv}}}}
	}
	policy := core.AppPolicy{
		Name: "shop", Strategy: core.Latency, Proxied: true, MinServers: 1, Weight: 100, Ramp: []int{100}, MaxOut: 1, RetryAfter: time.Second, StartDeadline: time.Second,
		Latency: core.LatencyPolicy{Requests: 5, Threshold: time.Second, Breaches: 3, Quiet: time.Hour},
		Servers: []core.ServerPolicy{{Name: "a", MinWorkers: 1, MaxWorkers: 1, ParkedWorkers: 1}, {Name: "b", MinWorkers: 1, MaxWorkers: 1, ParkedWorkers: 1}},
	}
	return Setup{
		File: "test.yaml", Tick: time.Hour, Proxies: []Instance{{Proxy: p}}, Nodes: map[string]Node{},
		Apps: []App{{Policy: policy, Backend: "shop", StaleAfter: time.Minute, Servers: []Server{{Name: "a", Address: "127.0.0.1:1"}, {Name: "b", Address: "127.0.0.1:2"}}}},
	}
}

func newTestLoop(t *testing.T, setup Setup, load func() (Setup, error)) *Loop {
	t.Helper()
	dir := t.TempDir()
	store, err := NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Options{Setup: setup, Store: store, Journal: NewJournal(dir, JournalMaxBytes), Log: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Load: load})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.journal.Close() })
	return l
}

func TestAFailingSourceIsShownAndComesBack(t *testing.T) {
	f := &faulty{}
	l := newTestLoop(t, testSetup(f), nil)
	now := time.Unix(1000, 0)
	turn := func() api.Status {
		l.oneTurn(t.Context(), now)
		now = now.Add(time.Second)
		s, ok := l.Status()
		if !ok {
			t.Fatal("no status after a turn")
		}
		return s
	}
	if err := l.Ready(); err == nil {
		t.Error("ready before the first turn")
	}
	turn()
	if err := l.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	f.fail(errors.New("no such socket"))
	s := turn()
	if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("ready says %v", err)
	}
	if s.Apps[0].Hold != "hold_no_data" || s.Apps[0].Servers[0].Phase != "serving" {
		t.Errorf("without HAProxy: %+v", s.Apps[0])
	}
	f.fail(nil)
	turn()
	if err := l.Ready(); err != nil {
		t.Errorf("not ready again: %v", err)
	}
}

func TestAMissingBackendIsNamedOnce(t *testing.T) {
	f := &faulty{}
	setup := testSetup(f)
	f.state.Backends = map[string]ProxyBackend{"another": {}}
	var log strings.Builder
	l := newTestLoop(t, setup, nil)
	l.log = slog.New(slog.NewTextHandler(&log, nil))
	l.quiet = quiet.New(l.log, time.Hour)
	for i := range 10 {
		l.oneTurn(t.Context(), time.Unix(int64(1000+i), 0))
	}
	if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "no backend shop") {
		t.Errorf("ready says %v", err)
	}
	if n := strings.Count(log.String(), "msg=\"a source"); n != 1 {
		t.Errorf("%d lines about the source in ten turns, want one:\n%s", n, log.String())
	}
}

func TestATurnCutOffInTheMiddleDecidesNothing(t *testing.T) {
	f := &faulty{}
	l := newTestLoop(t, testSetup(f), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.oneTurn(ctx, time.Unix(1000, 0))
	if _, ok := l.Status(); ok || len(l.memory.Apps) != 0 {
		t.Fatal("an interrupted turn left traces")
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	f := &faulty{}
	var next Setup
	var loadErr error
	l := newTestLoop(t, testSetup(f), func() (Setup, error) { return next, loadErr })
	l.oneTurn(t.Context(), time.Unix(1000, 0))
	loadErr = errors.New("tick: nonsense")
	if err := l.Reload(); err == nil {
		t.Fatal("a bad configuration was accepted")
	}
	l.oneTurn(t.Context(), time.Unix(1001, 0))
	if s, _ := l.Status(); s.Config.Problem != "tick: nonsense" || len(s.Apps) != 1 {
		t.Fatalf("%+v", s.Config)
	}
	loadErr = nil
	next = testSetup(f)
	next.Apps[0].Policy.Name = "other"
	if err := l.Reload(); err != nil {
		t.Fatal(err)
	}
	l.oneTurn(t.Context(), time.Unix(1002, 0))
	if s, _ := l.Status(); s.Config.Problem != "" || s.Apps[0].Name != "other" {
		t.Fatalf("%+v", s)
	}
	var b strings.Builder
	l.WriteMetrics(&b)
	if strings.Contains(b.String(), `app="shop"`) || !strings.Contains(b.String(), `app="other"`) {
		t.Errorf("series of the app that is gone are still there:\n%s", b.String())
	}
}

func TestAliveAsLongAsTurnsFollowEachOther(t *testing.T) {
	l := newTestLoop(t, testSetup(&faulty{}), nil)
	if err := l.Alive(); err != nil {
		t.Errorf("just started: %v", err)
	}
	l.lastTurn.Store(time.Now().Add(-time.Minute).UnixNano())
	if err := l.Alive(); err == nil {
		t.Error("alive although the last turn was a minute ago")
	}
}

func TestRunEndsAndLeavesNothingRunning(t *testing.T) {
	setup := testSetup(&faulty{})
	setup.Tick = 10 * time.Millisecond
	l := newTestLoop(t, setup, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if s, ok := l.Status(); !ok || s.Turn < 3 {
		t.Errorf("turned %d times", s.Turn)
	}
}
