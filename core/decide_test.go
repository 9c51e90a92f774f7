package core

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func wantKinds(t *testing.T, got []ActionKind, want ...ActionKind) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("steps (-want +got)\n%s", diff)
	}
}

func TestShrinkingGoesNginxThenDrainThenMaintThenWorkers(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.Web = true
	w := newWorld(t, p)
	w.serving("a", 4)
	b := w.serving("b", 4)
	b.current = 1
	w.turns(75)
	if b.admin != AdminDrain || w.web["b"] != 0 {
		t.Fatalf("b is %s with nginx weight %d, want drain and 0", b.admin, w.web["b"])
	}
	w.turns(20)
	if b.admin != AdminDrain || b.ready < 2 {
		t.Fatalf("with a request running b is %s with %d workers", b.admin, b.ready)
	}
	b.current = 0
	w.turn()
	if b.admin != AdminDrain {
		t.Fatal("parked after one empty look; it takes two")
	}
	w.turns(10)
	got := w.kinds("b")
	i, j, k := slices.Index(got, Drain), slices.Index(got, Park), len(got)-1
	if !(i >= 0 && i < j && j < k && got[k] == SetWorkers) || b.ready != 1 {
		t.Fatalf("steps of b: %v, workers %d", got, b.ready)
	}
}

func TestNginxFailureKeepsTheServerServing(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.Web = true
	w := newWorld(t, p)
	w.serving("a", 4)
	b := w.serving("b", 4)
	w.turn()
	w.webOK = false
	w.turns(90)
	if b.admin != AdminReady {
		t.Fatalf("nginx may still send requests to b, but it is %s", b.admin)
	}
}

func TestHAProxyRestartRestoresWhatServed(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b"), server("c")))
	w.serving("a", 4)
	w.serving("b", 4)
	w.turns(3)
	if len(w.log) != 0 {
		t.Fatalf("a settled world was changed: %v", w.log)
	}
	// All slots are `disabled` in the configuration with weight 100.
	w.process = "2:2"
	for _, f := range w.servers {
		f.admin, f.fromConfig, f.weight, f.up = AdminMaint, true, 100, false
	}
	w.turn()
	if w.inService() != 2 || w.servers["c"].weight != 0 || w.servers["c"].admin != AdminMaint {
		t.Fatalf("after one turn %d are in service, c is %+v", w.inService(), *w.servers["c"])
	}
	n := len(w.log)
	w.turns(5)
	if len(w.log) != n {
		t.Fatalf("not settled: %v", w.log[n:])
	}
}

func TestRestoringIsTriedAgainWithoutAnotherWarmUp(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b")))
	w.serving("a", 4)
	w.serving("b", 4)
	w.turns(3)
	w.process = "2:2"
	for _, f := range w.servers {
		f.admin, f.fromConfig, f.weight, f.up = AdminMaint, true, 100, false
	}
	w.deaf = true
	w.turns(3)
	w.deaf = false
	w.turn()
	if w.inService() != 2 || slices.Contains(w.kinds("a"), Warm) {
		t.Fatalf("%d in service, steps of a: %v", w.inService(), w.kinds("a"))
	}
}

func TestAnUnhealthyServerIsReplaced(t *testing.T) {
	t.Run("to keep the floor", func(t *testing.T) {
		p := policy(Latency, server("a"), server("b"))
		p.Servers[0].AlwaysUp = true
		w := newWorld(t, p)
		a := w.serving("a", 4)
		w.turn()
		for range 10 {
			a.up = false
			w.turn()
		}
		if w.servers["b"].admin != AdminReady || !w.has(CodeFloor) {
			t.Fatalf("a is down and b is %s: %v", w.servers["b"].admin, w.reasons)
		}
	})
	t.Run("to keep the workers", func(t *testing.T) {
		p := policy(BusyRatio, managed("a"), managed("b"), managed("c"))
		w := newWorld(t, p)
		a, b := w.serving("a", 4), w.serving("b", 4)
		w.turn()
		// Its node is gone; what is left is not busy enough to grow by itself.
		b.agentOK = false
		a.busy = 3
		for range 12 {
			b.up = false
			w.turn()
		}
		if c := w.servers["c"]; c.admin != AdminReady || c.ready != 4 {
			t.Fatalf("b is gone, c is %s with %d workers: %v", c.admin, c.ready, w.reasons)
		}
	})
	t.Run("an always_up one that never comes does not block the rest", func(t *testing.T) {
		p := policy(Latency, server("a"), server("b"), server("c"))
		p.Servers[0].AlwaysUp = true
		w := newWorld(t, p)
		w.serving("b", 4)
		for range 50 {
			w.turn()
			w.servers["a"].up = false
		}
		if w.phase("a") != PhaseChecking {
			t.Fatalf("a is %s, the test wants it stuck", w.phase("a"))
		}
		w.traffic.Responses = slow(8)
		w.turn()
		w.traffic.Responses = nil
		w.turns(8)
		if w.servers["c"].admin != AdminReady {
			t.Fatalf("c is %s: %v", w.servers["c"].admin, w.reasons)
		}
	})
}

func TestAHumanWins(t *testing.T) {
	t.Run("maintenance", func(t *testing.T) {
		w := newWorld(t, policy(Latency, server("a"), server("b")))
		w.serving("a", 4)
		b := w.serving("b", 4)
		w.turns(2)
		b.admin, b.up = AdminMaint, false
		w.turns(100)
		if w.phase("b") != PhaseForeign || !w.has(CodeForeign) || len(w.kinds("b")) != 0 {
			t.Fatalf("phase %s, steps %v", w.phase("b"), w.kinds("b"))
		}
		if w.servers["a"].admin != AdminReady {
			t.Fatal("with b held by a human the last server left")
		}
		b.admin, b.up = AdminReady, true
		w.turn()
		if w.phase("b") != PhaseServing || !w.has(CodeForeignOver) {
			t.Fatalf("after release: %s", w.phase("b"))
		}
	})
	t.Run("drain", func(t *testing.T) {
		w := newWorld(t, policy(Latency, server("a"), server("b")))
		w.serving("a", 4)
		b := w.serving("b", 4)
		w.turns(2)
		b.admin = AdminDrain
		w.turns(10)
		if w.phase("b") != PhaseForeign || b.admin != AdminDrain {
			t.Fatalf("phase %s, %s", w.phase("b"), b.admin)
		}
	})
	t.Run("weight", func(t *testing.T) {
		w := newWorld(t, policy(Latency, server("a"), server("b")))
		w.serving("a", 4)
		b := w.serving("b", 4)
		w.turns(2)
		b.weight = 37
		w.turns(10)
		if b.weight != 37 || !w.has(CodeForeign) {
			t.Fatalf("weight %d, reasons %v", b.weight, w.reasons)
		}
	})
}

func TestServerThatNeverPassesItsCheckIsSentBack(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b")))
	w.serving("a", 4)
	w.turn()
	w.traffic.Responses = slow(8)
	w.turn()
	w.traffic.Responses = nil
	b := w.servers["b"]
	for range 100 {
		w.turn()
		b.up = false
	}
	if !w.has(CodeStartFailed) || b.admin != AdminMaint || b.weight != 0 || w.has(CodeForeign) {
		t.Fatalf("b is %s with weight %d; %v", b.admin, b.weight, w.reasons)
	}
}
