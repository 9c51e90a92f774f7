package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
)

// `tidegate status` says so when HAProxy has gone silent, and no longer when it is back. While it talks, the age of the
// oldest open request is shown, because it tells of arrivals.
func TestStatusSaysThatHAProxyIsSilent(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{Arrivals: true})
	shown := func() string {
		t.Helper()
		out, code := cli(t, "status", "-c", f.Config)
		if code != 0 {
			t.Fatalf("status: exit status %d\n%s", code, out)
		}
		return out
	}
	spoe := func(s api.Status) api.Source {
		for _, src := range s.Sources {
			if src.Name == "spoe" {
				return src
			}
		}
		return api.Source{}
	}
	if out := shown(); strings.Contains(out, "! spoe") {
		t.Errorf("HAProxy talks, yet the status says\n%s", out)
	}
	// HAProxy waits a few milliseconds at most for the agent to take an arrival; on a loaded machine one may be untold.
	var s api.Status
	var slow sync.WaitGroup
	seen := false
	for range 8 {
		ended := make(chan struct{})
		for i := range 3 {
			slow.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if err := get("http://" + f.HAProxyAddr + "/?ms=5000"); err != nil {
					t.Errorf("the slow request: %v", err)
				}
			})
		}
		go func() { slow.Wait(); close(ended) }()
		if s, seen = f.before(ended, func(s api.Status) bool { return s.Apps[0].OldestOpenMS > 2000 }); seen {
			break
		}
	}
	if !seen {
		t.Fatal("no open request of two seconds and more was ever told of")
	}
	if a := s.Apps[0]; a.OpenKnown < 1 || a.OldestOpenMS > 9000 {
		t.Errorf("%d open, the oldest for %v ms; want one or more, for at most 9 s", a.OpenKnown, a.OldestOpenMS)
	}
	if out := shown(); !strings.Contains(out, "in flight") || !strings.Contains(out, ", the oldest for ") {
		t.Errorf("the status does not show the age of the oldest open request:\n%s", out)
	}
	slow.Wait()
	f.until("no open request", 20*time.Second, func(s api.Status) bool { return s.Apps[0].OpenKnown == 0 })
	if out := shown(); strings.Contains(out, "the oldest for") {
		t.Errorf("no request is open, yet the status says\n%s", out)
	}

	f.HAProxy.Kill()
	f.until("HAProxy known to be silent", 30*time.Second, func(s api.Status) bool { src := spoe(s); return src.Name != "" && !src.OK })
	if out := shown(); !strings.Contains(out, "! spoe: the last message from HAProxy's filter is ") {
		t.Errorf("HAProxy is dead, yet the status says\n%s", out)
	}
	if err := f.HAProxy.Restart(); err != nil {
		t.Fatal(err)
	}
	f.until("HAProxy back", 30*time.Second, func(s api.Status) bool { return spoe(s).OK })
	if out := shown(); strings.Contains(out, "! spoe") {
		t.Errorf("HAProxy talks again, yet the status says\n%s", out)
	}
}

// Where HAProxy does not tell of arrivals, its counters tell how old the oldest open request is at least.
func TestStatusTellsTheAgeFromTheCounters(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	began := time.Now()
	ended := make(chan struct{})
	var slow sync.WaitGroup
	for range 3 {
		slow.Go(func() {
			if err := get("http://" + f.HAProxyAddr + "/?ms=9000"); err != nil {
				t.Errorf("the slow request: %v", err)
			}
		})
	}
	go func() { slow.Wait(); close(ended) }()
	s, seen := f.before(ended, func(s api.Status) bool { return s.Apps[0].OldestOpenMS > 2000 })
	if a := s.Apps[0]; !seen || a.OpenKnown != -1 || a.OldestOpenMS > float64(time.Since(began).Milliseconds()) {
		t.Errorf("after %v: %d known one by one, the oldest for %v ms; want -1, and 2 s or more", time.Since(began), a.OpenKnown, a.OldestOpenMS)
	}
	if out, code := cli(t, "status", "-c", f.Config); code != 0 || !strings.Contains(out, ", the oldest for at least ") {
		t.Errorf("the status does not show the age of the oldest open request: exit status %d\n%s", code, out)
	}
	slow.Wait()
	f.until("no open request", 20*time.Second, func(s api.Status) bool { return s.Apps[0].OldestOpenMS == 0 })
}
