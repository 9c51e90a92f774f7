package core

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// pair is two servers behind two instances: a serves, b too when both.
func pair(t *testing.T, strategy Strategy, both bool) *world {
	server := server
	if strategy != Latency {
		server = managed
	}
	w := newWorld(t, policy(strategy, server("a"), server("b")))
	w.serving("a", 4)
	if both {
		w.serving("b", 4)
	}
	return w.on("lb1", "lb2")
}

// steps lists the kinds of the actions for a server on an instance ("" for those of no instance), repeats folded.
func (w *world) steps(server, lb string) []ActionKind {
	var out []ActionKind
	for _, a := range w.log {
		if a.Server == server && a.Proxy == lb && (len(out) == 0 || out[len(out)-1] != a.Kind) {
			out = append(out, a.Kind)
		}
	}
	return out
}

func (w *world) says(text string) bool {
	return slices.ContainsFunc(w.reasons, func(r Reason) bool { return strings.Contains(r.Sentence, text) })
}

// untilDraining waits until b drains on an instance: nothing is busy, so it leaves.
func (w *world) untilDraining(lb string) {
	w.t.Helper()
	for range 90 {
		if w.turn(); w.lb(lb).servers["b"].admin == AdminDrain {
			return
		}
	}
	w.t.Fatalf("b does not leave %s", lb)
}

func TestGrowingReachesEveryInstance(t *testing.T) {
	w := pair(t, BusyRatio, false)
	w.servers["a"].busy = 4
	w.turns(25)
	for _, lb := range []string{"lb1", "lb2"} {
		wantKinds(t, w.steps("b", lb), Enter, Ready, SetWeight)
		if f := w.lb(lb).servers["b"]; f.admin != AdminReady || f.weight < 50 {
			t.Errorf("on %s b is %s with weight %d", lb, f.admin, f.weight)
		}
	}
	wantKinds(t, w.steps("b", ""), SetWorkers, Warm)
}

func TestGrowingDoesNotWaitForAnInstanceThatIsDown(t *testing.T) {
	for name, down := range map[string]func(*fakeLB){"gone": func(b *fakeLB) { b.gone = true }, "silent": func(b *fakeLB) { b.silent = true }} {
		t.Run(name, func(t *testing.T) {
			w := pair(t, BusyRatio, false)
			w.turns(2)
			down(w.lb("lb2"))
			w.servers["a"].busy = 4
			w.turns(20)
			if f := w.lb("lb1").servers["b"]; f.admin != AdminReady || w.phase("b") != PhaseServing {
				t.Fatalf("b is %s on lb1 and %s: %v", f.admin, w.phase("b"), w.reasons)
			}
			worked := len(w.steps("b", ""))
			w.lb("lb2").restart("9:9")
			w.turns(2)
			for _, server := range []string{"a", "b"} {
				if f := w.lb("lb2").servers[server]; f.admin != AdminReady {
					t.Errorf("two turns after lb2 came back %s is %s there", server, f.admin)
				}
			}
			w.turns(5)
			if n := len(w.steps("b", "")); n != worked {
				t.Errorf("the workers of b were warm, and yet: %v", w.steps("b", ""))
			}
			if slices.Contains(w.steps("a", "lb1"), Ready) {
				t.Error("lb1 was told again what it knew")
			}
		})
	}
}

func TestEachInstanceDrainsByItselfAndTheWorkersGoLast(t *testing.T) {
	w := pair(t, BusyRatio, true)
	w.lb("lb2").servers["b"].current = 1
	w.untilDraining("lb1")
	w.turns(10)
	one, two := w.lb("lb1").servers["b"], w.lb("lb2").servers["b"]
	if one.admin != AdminMaint || one.weight != 0 || two.admin != AdminDrain {
		t.Fatalf("b is %s (weight %d) on lb1, %s on lb2", one.admin, one.weight, two.admin)
	}
	if w.servers["b"].ready < 2 || w.phase("b") != PhaseDraining {
		t.Fatalf("with a request on lb2 b is %s with %d workers", w.phase("b"), w.servers["b"].ready)
	}
	two.current = 0
	w.turns(8)
	if two.admin != AdminMaint || w.servers["b"].ready != 1 || w.phase("b") != PhaseParked {
		t.Fatalf("b is %s on lb2, %s with %d workers", two.admin, w.phase("b"), w.servers["b"].ready)
	}
}

func TestWorkersStayWhileASilentInstanceMaySend(t *testing.T) {
	w := pair(t, BusyRatio, true)
	w.lb("lb1").servers["b"].current = 1
	w.untilDraining("lb1")
	w.lb("lb1").silent = true
	w.turns(40)
	if w.lb("lb2").servers["b"].admin != AdminMaint {
		t.Fatalf("lb2 waits for lb1: b is %s there", w.lb("lb2").servers["b"].admin)
	}
	if w.servers["b"].ready < 2 || !w.has(CodeHoldNoData) || !w.says("on lb1, which may still send requests") {
		t.Fatalf("b has %d workers; %v", w.servers["b"].ready, w.reasons)
	}
	t.Run("until it answers", func(t *testing.T) {
		w := *w
		lb := *w.lb("lb1")
		lb.silent = false
		lb.servers["b"].current = 0
		w.lbs = []*fakeLB{&lb, w.lb("lb2")}
		w.turns(8)
		if w.servers["b"].ready != 1 || w.phase("b") != PhaseParked {
			t.Fatalf("b is %s with %d workers", w.phase("b"), w.servers["b"].ready)
		}
	})
}

func TestAnInstanceWithoutAProcessHoldsNothingUp(t *testing.T) {
	w := pair(t, BusyRatio, true)
	w.lb("lb1").servers["b"].current = 1
	w.untilDraining("lb1")
	w.lb("lb1").gone = true
	w.turns(8)
	if w.servers["b"].ready != 1 || w.has(CodeHoldNoData) || w.phase("b") != PhaseParked {
		t.Fatalf("b is %s with %d workers: %v", w.phase("b"), w.servers["b"].ready, w.reasons)
	}
	// Its next process begins with its configuration, in which the servers may be enabled.
	w.lb("lb1").restart("9:9")
	b := w.lb("lb1").servers["b"]
	b.admin, b.fromConfig, b.up = AdminReady, false, true
	w.turns(10)
	if b.admin != AdminMaint || b.weight != 0 || w.lb("lb1").servers["a"].admin != AdminReady {
		t.Fatalf("b is %s with weight %d, a %s", b.admin, b.weight, w.lb("lb1").servers["a"].admin)
	}
}

func TestShrinkingBeginsWithOneInstanceGone(t *testing.T) {
	w := pair(t, BusyRatio, true)
	w.turns(2)
	w.lb("lb2").gone = true
	w.turns(90)
	if w.lb("lb1").servers["b"].admin != AdminMaint || w.servers["b"].ready != 1 {
		t.Fatalf("b is %s on lb1 with %d workers: %v", w.lb("lb1").servers["b"].admin, w.servers["b"].ready, w.reasons)
	}
}

func TestARestartOfOneInstanceIsRepairedThereAlone(t *testing.T) {
	w := pair(t, Latency, true)
	w.turns(3)
	if len(w.log) != 0 {
		t.Fatalf("a settled world was changed: %v", w.log)
	}
	w.lb("lb2").restart("9:9")
	w.turn()
	if f := w.lb("lb2").servers; f["a"].admin != AdminReady || f["b"].admin != AdminReady || !w.says("b on lb2 is put back") {
		t.Fatalf("after one turn a is %s, b %s: %v", f["a"].admin, f["b"].admin, w.reasons)
	}
	n := len(w.log)
	w.turns(5)
	if len(w.log) != n || slices.ContainsFunc(w.log, func(a Action) bool { return a.Proxy != "lb2" }) {
		t.Fatalf("more than lb2 was touched: %v", w.log)
	}
}

func TestAHumanOnOneInstanceHoldsThatInstance(t *testing.T) {
	t.Run("maintenance", func(t *testing.T) {
		w := pair(t, Latency, true)
		w.turns(2)
		held := w.lb("lb2").servers["b"]
		held.admin, held.up = AdminMaint, false
		w.turns(30)
		if held.admin != AdminMaint || w.phase("b") != PhaseServing || len(w.log) != 0 || !w.says("b on lb2 is in maint") {
			t.Fatalf("b is %s on lb2 and %s: %v %v", held.admin, w.phase("b"), w.log, w.reasons)
		}
		if l := w.m.Apps["shop"].Servers.Of("b"); l.On("lb2").Phase != PhaseForeign || l.On("lb1").Phase != PhaseServing {
			t.Fatalf("the memory: %+v %+v", l.On("lb1"), l.On("lb2"))
		}
		held.admin, held.up = AdminReady, true
		w.turn()
		if l := w.m.Apps["shop"].Servers.Of("b"); l.On("lb2").Phase != PhaseServing || !w.has(CodeForeignOver) {
			t.Fatalf("after release: %+v", l.On("lb2"))
		}
	})
	t.Run("on every instance", func(t *testing.T) {
		w := pair(t, Latency, true)
		w.turns(2)
		for _, b := range w.lbs {
			b.servers["b"].admin, b.servers["b"].up = AdminMaint, false
		}
		w.turns(5)
		if w.phase("b") != PhaseForeign {
			t.Fatalf("b is %s", w.phase("b"))
		}
	})
	t.Run("weight", func(t *testing.T) {
		w := pair(t, BusyRatio, true)
		w.servers["a"].busy, w.servers["b"].busy = 2.5, 2.5
		w.turns(2)
		w.lb("lb1").servers["b"].weight = 37
		w.turns(20)
		if got := w.lb("lb1").servers["b"].weight; got != 37 {
			t.Fatalf("the weight on lb1 became %d", got)
		}
		if l := w.m.Apps["shop"].Servers.Of("b"); !l.On("lb1").Human || l.On("lb2").Human {
			t.Fatalf("the memory: %+v %+v", l.On("lb1"), l.On("lb2"))
		}
	})
	t.Run("a drain while the server leaves keeps the workers", func(t *testing.T) {
		w := pair(t, BusyRatio, true)
		w.turns(2)
		w.lb("lb2").servers["b"].admin = AdminDrain
		w.turns(90)
		if w.lb("lb1").servers["b"].admin != AdminMaint || w.lb("lb2").servers["b"].admin != AdminDrain {
			t.Fatalf("b is %s on lb1, %s on lb2", w.lb("lb1").servers["b"].admin, w.lb("lb2").servers["b"].admin)
		}
		if w.servers["b"].target == 1 {
			t.Fatal("sticky clients may still come through lb2, and the workers went")
		}
	})
}

func TestAServerThatOneInstanceFindsHealthyIsNotLost(t *testing.T) {
	w := pair(t, BusyRatio, true)
	w.p.Servers = append(w.p.Servers, managed("c"))
	w.servers["c"] = &fakeServer{admin: AdminMaint, checked: true, agentOK: true, ready: 1}
	for _, b := range w.lbs {
		b.servers["c"] = &fakeServer{admin: AdminMaint, checked: true}
	}
	w.servers["a"].busy, w.servers["b"].busy = 2.5, 2.5
	w.turns(2)
	w.lb("lb1").servers["b"].up = false
	w.turns(15)
	if w.phase("c") != PhaseParked {
		t.Fatalf("lb2 still sends to b, and c is %s: %v", w.phase("c"), w.reasons)
	}
	for range 20 {
		w.lb("lb1").servers["b"].up, w.lb("lb2").servers["b"].up = false, false
		w.turn()
	}
	if w.phase("c") != PhaseServing {
		t.Fatalf("nobody sends to b, and c is %s: %v", w.phase("c"), w.reasons)
	}
}

func TestFirstSightWaitsForASilentInstanceButNotForEver(t *testing.T) {
	w := pair(t, Latency, true)
	w.lb("lb1").silent = true
	w.turns(5)
	if w.phase("a") != "" {
		t.Fatalf("a was taken for %s before lb1 was seen", w.phase("a"))
	}
	w.turns(10)
	if w.phase("a") != PhaseServing {
		t.Fatalf("after the start deadline a is %q", w.phase("a"))
	}
	w.lb("lb1").silent = false
	w.turns(3)
	if len(w.log) != 0 {
		t.Fatalf("nothing was out of order, and yet: %v", w.log)
	}
}

// A second load balancer is added to the configuration, and taken out again: the first one's lives go on.
func TestLivesGoOnWhenInstancesComeAndGo(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b")))
	w.serving("a", 4)
	w.turns(3)
	since := w.m.Apps["shop"].Servers.Of("a").Since
	w.on("lb1", "lb2")
	w.lb("lb1").process = w.process
	w.lb("lb2").restart("9:9")
	w.turns(8)
	m := w.m.Apps["shop"].Servers.Of("a")
	if one := m.On("lb1"); !one.Since.Equal(since) || one.Process != w.process || one.Phase != PhaseServing {
		t.Fatalf("on lb1: %+v", one)
	}
	if f := w.lb("lb2").servers; f["a"].admin != AdminReady || f["b"].admin != AdminMaint || f["b"].weight != 0 {
		t.Fatalf("lb2 was not brought to the wanted state: %+v %+v", *f["a"], *f["b"])
	}
	if len(w.steps("a", "lb1")) != 0 || len(w.steps("a", "")) != 0 {
		t.Fatalf("lb1 was touched: %v", w.log)
	}
	*w.servers["a"], *w.servers["b"] = *w.lb("lb2").servers["a"], *w.lb("lb2").servers["b"]
	w.process, w.lbs = "9:9", nil
	n := len(w.log)
	w.turns(5)
	if m := w.m.Apps["shop"].Servers.Of("a"); m.Proxies != nil || m.Process != "9:9" || m.Phase != PhaseServing || len(w.log) != n {
		t.Fatalf("with lb2 alone: %+v %v", m, w.log[n:])
	}
}

// The memory that a turn was given is not changed by it.
func TestDecideLeavesTheLivesItWasGiven(t *testing.T) {
	w := pair(t, Latency, true)
	w.turns(3)
	before, was := w.m, w.m.Apps["shop"].Servers.Of("a").On("lb2")
	w.lb("lb2").restart("9:9")
	w.turn()
	if got := before.Apps["shop"].Servers.Of("a").On("lb2"); got != was {
		t.Fatalf("%+v became %+v", was, got)
	}
	if w.m.Apps["shop"].Servers.Of("a").On("lb2") == was {
		t.Fatal("the new memory has the old life")
	}
	w.turns(4)
	settled := w.m.Apps["shop"].Servers.Of("a").Proxies
	w.now = w.now.Add(time.Second)
	w.turn()
	if w.m.Apps["shop"].Servers.Of("a").Proxies != settled {
		t.Error("lives that did not change were copied")
	}
}

// What a human changed stays as it is when HAProxy is reloaded: with a state file everything comes back, without one what the
// configuration says.
func TestWhatAHumanHoldsSurvivesAReload(t *testing.T) {
	start := func(t *testing.T, change func(b *fakeServer)) (*world, *fakeServer) {
		w := newWorld(t, policy(Latency, server("a"), server("b")))
		w.serving("a", 4)
		b := w.serving("b", 4)
		w.turns(2)
		change(b)
		w.turns(2)
		w.process = "2:2"
		return w, b
	}
	maint := func(b *fakeServer) { b.admin, b.up = AdminMaint, false }
	t.Run("maintenance of a server that the configuration disables", func(t *testing.T) {
		w, b := start(t, maint)
		b.fromConfig = true
		w.turns(5)
		if b.admin != AdminMaint || b.weight != 100 || w.phase("b") != PhaseForeign {
			t.Fatalf("b is %s with weight %d, %s", b.admin, b.weight, w.phase("b"))
		}
	})
	t.Run("drain with a state file", func(t *testing.T) {
		w, b := start(t, func(b *fakeServer) { b.admin = AdminDrain })
		w.turns(5)
		if b.admin != AdminDrain || w.phase("b") != PhaseForeign {
			t.Fatalf("b is %s, %s", b.admin, w.phase("b"))
		}
	})
	t.Run("weight with a state file", func(t *testing.T) {
		w, b := start(t, func(b *fakeServer) { b.weight = 37 })
		w.turns(5)
		if m := w.m.Apps["shop"].Servers.Of("b"); b.weight != 37 || !m.Human {
			t.Fatalf("b has weight %d: %+v", b.weight, m)
		}
		b.weight = 100
		w.turn()
		if m := w.m.Apps["shop"].Servers.Of("b"); m.Human || m.HumanWeight != 0 || !w.has(CodeForeignOver) {
			t.Fatalf("given back: %+v %v", m, w.reasons)
		}
	})
	t.Run("weight without one", func(t *testing.T) {
		w, b := start(t, func(b *fakeServer) { b.weight = 37 })
		b.admin, b.fromConfig, b.weight, b.up = AdminMaint, true, 90, false
		w.turns(5)
		if m := w.m.Apps["shop"].Servers.Of("b"); b.weight != 100 || m.Human || b.admin != AdminReady {
			t.Fatalf("b is %s with weight %d: %+v", b.admin, b.weight, m)
		}
	})
}
