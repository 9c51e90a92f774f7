package control

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeWeb answers Apply with what it is told to, and lets a test say that somebody else changed the files.
type fakeWeb struct {
	mu      sync.Mutex
	out     WebOutcome
	err     error
	applied int
	wishes  []WebUpstream
	changed func()
	watched int
}

func (f *fakeWeb) Apply(_ context.Context, _ time.Time, upstreams []WebUpstream) (WebOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied, f.wishes = f.applied+1, upstreams
	return f.out, f.err
}

func (f *fakeWeb) Live() (map[string]map[string]int, bool) { return nil, true }

func (f *fakeWeb) Watch(ctx context.Context, changed func()) {
	f.mu.Lock()
	f.changed, f.watched = changed, f.watched+1
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.watched--
	f.mu.Unlock()
}

func (f *fakeWeb) set(out WebOutcome, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out, f.err = out, err
}

// state returns how often Apply was called, how many watches there are, and the function that tells of a change.
func (f *fakeWeb) state() (applied, watched int, changed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied, f.watched, f.changed
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestWebWorkerLooksAgainWhenSomebodyElseChangesTheFiles(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.web.run(ctx) })
	defer wg.Wait()
	defer stop()
	first, second := &fakeWeb{}, &fakeWeb{}
	l.web.look(first)
	l.web.want(first, []WebUpstream{{Name: "shop"}})
	waitFor(t, "the first update and a watch", func() bool { n, w, _ := first.state(); return n == 1 && w == 1 })

	first.set(WebOutcome{Deferred: true, Held: "drift", Reason: "drift", Drift: "a file was edited", Why: "a file was edited by somebody else"}, nil)
	_, _, changed := first.state()
	changed()
	waitFor(t, "another look, with the last wish", func() bool {
		n, _, _ := first.state()
		return n == 2 && first.wishes[0].Name == "shop"
	})
	waitFor(t, "the word", func() bool { _, _, wrong := l.web.report(); return wrong != nil })
	if _, s, wrong := l.web.report(); s.Drift != "a file was edited" || s.Held != "drift" || s.HeldSince.IsZero() || !strings.Contains(wrong.Error(), "by somebody else") {
		t.Fatalf("%+v %v", s, wrong)
	}

	// A new configuration has another nginx, and the next none: the old one is let alone.
	l.web.look(second)
	l.web.want(second, nil)
	waitFor(t, "the second's watch alone", func() bool {
		_, a, _ := first.state()
		n, b, _ := second.state()
		return a == 0 && b == 1 && n >= 1
	})
	l.web.look(nil)
	waitFor(t, "no watch", func() bool { _, w, _ := second.state(); return w == 0 })
	_, _, changed = second.state()
	changed()
	if n, _, _ := first.state(); n != 2 {
		t.Fatalf("the first was updated %d times", n)
	}
}

func TestWebWorkerKeepsTheLastReload(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	web := &fakeWeb{}
	l.web.want(web, nil)
	web.set(WebOutcome{Changed: true, Reloaded: true, Reason: "weights", Took: 120 * time.Millisecond, Why: "more workers"}, nil)
	l.web.apply(t.Context())
	web.set(WebOutcome{Deferred: true, Reason: "membership_gain", Held: "quiet", Why: "not still", OldGenerations: 2}, nil)
	l.web.apply(t.Context())
	n, s, _ := l.web.report()
	if r := s.LastReload; n != 1 || r == nil || r.Reason != "weights" || r.TookMS != 120 || r.Error != "" || s.Held != "quiet" || s.HeldReason != "membership_gain" || s.OldGenerations != 2 {
		t.Fatalf("%d reloads, %+v %+v", n, s, r)
	}
	web.set(WebOutcome{Reloaded: true, Reason: "membership_gain", Why: "rolled back"}, errors.New("port taken"))
	l.web.apply(t.Context())
	if n, s, wrong := l.web.report(); n != 2 || s.LastReload.Error != "port taken" || s.Held != "" || wrong == nil {
		t.Fatalf("%d reloads, %+v %v", n, s, wrong)
	}
}

func TestUpstreamsGetTheRatesOfTheirBackends(t *testing.T) {
	setup := sizedSetup()
	setup.Apps = setup.Apps[:1]
	setup.Apps[0].Policy.Web, setup.Apps[0].Upstream.Name = true, "shop"
	l := newTestLoop(t, setup, nil)
	s := &sight{traffic: map[string]TrafficReport{setup.Apps[0].Backend: {Rate: 7}}}
	if got := l.rated(s, []WebUpstream{{Name: "shop"}, {Name: "other"}}); got[0].Rate != 7 || got[1].Rate != 0 {
		t.Fatalf("%+v", got)
	}
}

// What nginx is told without a reload is an event of its own; why the file waits is another matter.
func TestWebWorkerTellsWhatNginxIsTold(t *testing.T) {
	l := newTestLoop(t, sizedSetup(), nil)
	web := &fakeWeb{}
	l.web.want(web, nil)
	web.set(WebOutcome{Changed: true, Told: "other weights", Deferred: true, Reason: "membership_gain", Held: "quiet", Why: "not still"}, nil)
	l.web.apply(t.Context())
	if n, s, _ := l.web.report(); n != 0 || s.Held != "quiet" || s.Why != "not still" || s.LastReload != nil {
		t.Fatalf("%d reloads, %+v", n, s)
	}
	if e := l.events.newest()[0]; e.Code != "nginx_weights" || e.Sentence != "nginx: other weights" {
		t.Fatalf("%+v", e)
	}
	web.set(WebOutcome{Changed: true, Reloaded: true, Told: "other weights", Reason: "membership_gain", Why: "one more server"}, nil)
	l.web.apply(t.Context())
	if e := l.events.newest()[0]; e.Code != "nginx_reload" || e.Sentence != "nginx: one more server" {
		t.Fatalf("%+v", e)
	}
}
