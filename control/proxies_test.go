package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
)

// hanging is a HAProxy that hangs on demand: its answer comes when it is let go.
type hanging struct {
	faulty
	hangs chan struct{}
}

func (h *hanging) Observe(ctx context.Context, backends []string) (ProxyState, error) {
	h.mu.Lock()
	hangs := h.hangs
	h.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	return h.faulty.Observe(ctx, backends)
}

func (h *hanging) hang(c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs = c
}

// stateless is a fakeTraffic that also has a state to show.
type stateless struct{ fakeTraffic }

func (stateless) State() api.SPOA { return api.SPOA{} }

// pairSetup has the app of testSetup on two instances.
func pairSetup(one *faulty, two *hanging) Setup {
	setup := testSetup(one)
	testSetup(&two.faulty)
	two.state.Process = "2:2"
	setup.Traffic = &stateless{fakeTraffic{report: TrafficReport{Last: time.Unix(1000, 0)}}}
	setup.Proxies = []Instance{{"lb1", one}, {"lb2", two}}
	return setup
}

func TestEachInstanceGetsItsOwnSteps(t *testing.T) {
	one, two := &faulty{}, &hanging{}
	l := newTestLoop(t, pairSetup(one, two), nil)
	now := time.Unix(1000, 0)
	turn := func() api.Status {
		l.oneTurn(t.Context(), now)
		now = now.Add(time.Second)
		s, _ := l.Status()
		return s
	}
	s := turn()
	if a := s.Apps[0]; len(a.Proxies) != 2 || !a.Proxies[1].Known || a.Servers[0].Phase != "serving" || len(a.Servers[0].Proxies) != 2 {
		t.Fatalf("%+v", a)
	}
	// lb2 loses its state.
	two.mu.Lock()
	two.state.Process = "9:9"
	for _, name := range []string{"a", "b"} {
		two.state.Backends["shop"].Servers[name] = core.ProxyServerObs{Known: true, Admin: core.AdminMaint, FromConfig: true, Weight: 100}
	}
	two.mu.Unlock()
	turn()
	if len(one.steps) != 0 || len(two.steps) != 2 || two.steps[0].Kind != core.Ready {
		t.Fatalf("lb1 got %v, lb2 %v", one.steps, two.steps)
	}
}

func TestAnInstanceThatHangsDelaysTheOthersOnce(t *testing.T) {
	one, two := &faulty{}, &hanging{}
	setup := pairSetup(one, two)
	setup.Tick = 10 * time.Millisecond
	l := newTestLoop(t, setup, nil)
	now := time.Unix(1000, 0)
	turn := func() api.Status {
		l.oneTurn(t.Context(), now)
		now = now.Add(time.Second)
		s, _ := l.Status()
		return s
	}
	turn()
	two.fail(errors.New("no complete answer in time"))
	turn()
	// Had a turn to wait for the answer now, the test would not end.
	release := make(chan struct{})
	two.hang(release)
	for range 3 {
		s := turn()
		if a := s.Apps[0]; a.Proxies[1].Known || a.Proxies[1].Gone || !a.Proxies[0].Known || a.Hold != "hold_no_data" {
			t.Fatalf("%+v", a)
		}
	}
	if err := l.Ready(); err == nil || !strings.Contains(err.Error(), "haproxy lb2: no complete answer in time") {
		t.Errorf("ready says %v", err)
	}
	two.fail(nil)
	two.hang(nil)
	close(release)
	l.asking.Wait()
	s := turn()
	if a := s.Apps[0]; !a.Proxies[1].Known || a.Hold != "" {
		t.Fatalf("lb2 answers again: %+v", a)
	}
}

func TestAnInstanceWithoutAProcessIsGone(t *testing.T) {
	one, two := &faulty{}, &hanging{}
	l := newTestLoop(t, pairSetup(one, two), nil)
	l.oneTurn(t.Context(), time.Unix(1000, 0))
	two.fail(fmt.Errorf("connection refused: %w", ErrGone))
	l.oneTurn(t.Context(), time.Unix(1001, 0))
	s, _ := l.Status()
	if a := s.Apps[0]; !a.Proxies[1].Gone || a.Hold != "" || a.Servers[0].Phase != "serving" {
		t.Fatalf("%+v", a)
	}
	one.fail(fmt.Errorf("connection refused: %w", ErrGone))
	l.oneTurn(t.Context(), time.Unix(1002, 0))
	if s, _ = l.Status(); s.Apps[0].Hold != "hold_no_data" {
		t.Fatalf("without any HAProxy: %+v", s.Apps[0])
	}
}

// An app on one of two instances is observed as one on one.
func TestAnAppOnOneOfSeveralInstances(t *testing.T) {
	one, two := &faulty{}, &hanging{}
	setup := pairSetup(one, two)
	setup.Apps[0].Proxies = []string{"lb2"}
	l := newTestLoop(t, setup, nil)
	now := time.Unix(1000, 0)
	o := l.observation(l.observe(t.Context(), now), now)
	if a := o.Apps[0]; len(a.Proxies) != 0 || a.Proxy.Process != "2:2" || !a.Servers[0].Proxy.Known {
		t.Fatalf("%+v", a)
	}
	if got := setup.backends("lb1"); len(got) != 0 {
		t.Errorf("lb1 is asked for %v", got)
	}
	two.mu.Lock()
	two.state.Backends["shop"].Servers["a"] = core.ProxyServerObs{Known: true, Admin: core.AdminReady, Up: true, Weight: 50}
	two.mu.Unlock()
	l.act(t.Context(), l.observe(t.Context(), now), core.Plan{Apps: []core.AppPlan{{Name: "shop", Actions: []core.Action{{App: "shop", Server: "a", Kind: core.SetWeight, Value: 60}}}}}, now)
	if len(one.steps) != 0 || len(two.steps) != 1 {
		t.Errorf("lb1 got %v, lb2 %v", one.steps, two.steps)
	}
}

// The second load balancer is taken out of the configuration while it hangs.
func TestAReloadForgetsAnInstance(t *testing.T) {
	one, two := &faulty{}, &hanging{}
	setup := pairSetup(one, two)
	setup.Tick = 10 * time.Millisecond
	next := setup
	next.Proxies = []Instance{{"", one}}
	l := newTestLoop(t, setup, func() (Setup, error) { return next, nil })
	l.oneTurn(t.Context(), time.Unix(1000, 0))
	two.fail(errors.New("no complete answer in time"))
	l.oneTurn(t.Context(), time.Unix(1001, 0))
	release := make(chan struct{})
	two.hang(release)
	l.oneTurn(t.Context(), time.Unix(1002, 0))
	if err := l.Reload(); err != nil {
		t.Fatal(err)
	}
	l.oneTurn(t.Context(), time.Unix(1003, 0))
	s, _ := l.Status()
	if a := s.Apps[0]; a.Hold != "" || len(a.Proxies) != 0 || a.Servers[0].Phase != "serving" || len(one.steps) != 0 {
		t.Fatalf("%+v, steps %v", a, one.steps)
	}
	for _, src := range s.Sources {
		if strings.Contains(src.Name, "lb2") {
			t.Errorf("the instance is still a source: %+v", src)
		}
	}
	close(release)
	l.asking.Wait()
}
