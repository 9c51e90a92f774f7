package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func slow(n int) []time.Duration { return slices.Repeat([]time.Duration{800 * time.Millisecond}, n) }
func fast(n int) []time.Duration { return slices.Repeat([]time.Duration{20 * time.Millisecond}, n) }

func wantKinds(t *testing.T, got []ActionKind, want ...ActionKind) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("steps (-want +got)\n%s", diff)
	}
}

func TestLatencyGrowsAfterBreachesInARowAndOnlyOnce(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b"), server("c")))
	w.serving("a", 4)
	w.turn()
	grown := func() int { return strings.Count(fmt.Sprint(w.reasons), string(CodeGrowLatency)) }

	w.traffic.Responses = slow(4) // fewer than the window: nothing is decided
	w.turn()
	if grown() != 0 {
		t.Fatal("grew before there were enough requests")
	}
	w.traffic.Responses = slow(1) // the fifth: one breach
	w.turn()
	w.traffic.Responses = fast(5) // the first of them still leaves 644 ms on average, the second ends the row
	w.turn()
	w.traffic.Responses = slow(4) // average above the threshold with the 4th (3.2 s/5): one breach
	w.turn()
	if grown() != 0 {
		t.Fatalf("grew without three breaches in a row: %v", w.reasons)
	}
	w.traffic.Responses = slow(40)
	w.turn()
	if grown() != 1 {
		t.Fatalf("grew %d times, want once: %v", grown(), w.reasons)
	}
	w.turn()
	w.turn()
	if grown() != 1 {
		t.Fatal("grew again while a server was on its way in")
	}
}

func TestLatencyBringsAServerInWarmAndChecked(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b")))
	w.serving("a", 4)
	w.turn()
	w.traffic.Responses = slow(8)
	w.turn()
	w.traffic.Responses = nil
	w.turns(10)
	wantKinds(t, w.kinds("b"), Warm, Enter, Ready, SetWeight)
	if b := w.servers["b"]; b.weight != 100 || w.phase("b") != PhaseServing {
		t.Fatalf("b ended with weight %d in phase %s", b.weight, w.phase("b"))
	}
	var weights []int
	for _, a := range w.log {
		if a.Server == "b" && a.Kind != Warm {
			weights = append(weights, a.Value)
		}
	}
	if diff := cmp.Diff([]int{10, 10, 50, 100}, weights); diff != "" {
		t.Fatalf("ramp (-want +got)\n%s", diff)
	}
}

func TestAFailedWarmUpKeepsTheServerOut(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b")))
	w.serving("a", 4)
	w.servers["b"].warmFails = true
	w.turn()
	w.traffic.Responses = slow(8)
	w.turn()
	w.traffic.Responses = nil
	w.turns(5)
	wantKinds(t, w.kinds("b"), Warm)
	if !w.has(CodeWarmFailed) || w.servers["b"].admin != AdminMaint {
		t.Fatalf("reasons %v, b is %s", w.reasons, w.servers["b"].admin)
	}
	w.traffic.Responses = slow(8)
	w.turn()
	if !w.has(CodeAtMax) {
		t.Fatalf("with no other server to try, at_max must be told: %v", w.reasons)
	}
	w.servers["b"].warmFails = false
	w.now = w.now.Add(w.p.RetryAfter)
	w.turns(10)
	if w.phase("b") != PhaseServing {
		t.Fatalf("after the rest b must be tried again and serve, it is %s", w.phase("b"))
	}
}

func TestQuietPeriodTakesOneServerOutAndBeginsAgain(t *testing.T) {
	p := policy(Latency, server("a"), server("b"), server("c"))
	p.Servers[0].AlwaysUp = true
	w := newWorld(t, p)
	w.m.Apps = map[string]AppMemory{"shop": {Since: w.now, Activity: w.now, Random: 3}} // a draw that would take "a" first
	for _, n := range []string{"a", "b", "c"} {
		w.serving(n, 4)
	}
	w.turns(59)
	if w.inService() != 3 {
		t.Fatalf("%d in service before the period was over", w.inService())
	}
	w.turns(10)
	if w.inService() != 2 {
		t.Fatalf("%d in service after one period, want 2", w.inService())
	}
	w.turns(45)
	if w.inService() != 2 {
		t.Fatal("the period did not begin again")
	}
	w.turns(30)
	if w.inService() != 1 || w.servers["a"].admin != AdminReady {
		t.Fatalf("%d in service, always_up is %s", w.inService(), w.servers["a"].admin)
	}
	w.turns(200)
	if w.inService() != 1 {
		t.Fatal("the always_up server went down")
	}
	for _, r := range w.reasons {
		if r.Code == CodeShrinkQuiet && r.Server == "a" {
			t.Fatalf("the always_up server was chosen: %+v", r)
		}
	}
	for _, n := range []string{"b", "c"} {
		wantKinds(t, w.kinds(n), Drain, Park)
		if w.servers[n].weight != 0 {
			t.Fatalf("%s is parked with weight %d, want 0: that is the mark of our own maintenance", n, w.servers[n].weight)
		}
	}
}

func TestInitialStatesAreAppliedOnceAndNeverAfterARestart(t *testing.T) {
	p := policy(Latency, server("a"), server("b"), server("c"))
	p.Servers[1].Initial, p.Servers[2].Initial = "up", "down"
	w := newWorld(t, p)
	w.serving("a", 4)
	w.serving("c", 4)
	w.turns(15)
	if w.servers["b"].admin != AdminReady || w.servers["c"].admin != AdminMaint {
		t.Fatalf("b %s, c %s", w.servers["b"].admin, w.servers["c"].admin)
	}
	// A human brings c in; a restart with memory must not apply the initial state again.
	w.servers["c"].admin, w.servers["c"].up, w.servers["c"].weight = AdminReady, true, 100
	w.turn()
	if !w.m.Apps["shop"].Servers["c"].Serve {
		t.Fatal("a server seen serving is not known to be active")
	}
	text, err := json.Marshal(w.m)
	if err != nil {
		t.Fatal(err)
	}
	w.m = Memory{}
	if err := json.Unmarshal(text, &w.m); err != nil {
		t.Fatal(err)
	}
	n := len(w.log)
	w.turns(20)
	if len(w.log) != n || w.servers["c"].admin != AdminReady {
		t.Fatalf("after a restart: %v", w.log[n:])
	}
}

func TestBusyRatioGrowsFastAndShrinksSlowly(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	w := newWorld(t, p)
	w.serving("a", 2)
	w.turn()
	total := func() int {
		n := 0
		for _, f := range w.servers {
			if f.admin == AdminReady {
				n += f.ready
			}
		}
		return n
	}
	w.servers["a"].busy = 2
	w.queued = 5
	w.turns(15)
	if total() < 7 {
		t.Fatalf("demand 7 at a target of 0.7 wants 10 workers, %d are in service", total())
	}
	up := total()
	w.queued = 0
	for _, f := range w.servers {
		f.busy = 0.1
	}
	w.turns(15)
	if total() < up {
		t.Fatalf("shrank from %d to %d within the window", up, total())
	}
	w.turns(120)
	if total() > 2 || w.inService() != 1 {
		t.Fatalf("%d workers on %d servers are left", total(), w.inService())
	}
	for n, f := range w.servers {
		if f.admin == AdminMaint && f.ready != 1 {
			t.Errorf("parked %s keeps %d workers", n, f.ready)
		}
	}
}

func TestShrinkingGoesNginxThenDrainThenMaintThenWorkers(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.Web = true
	w := newWorld(t, p)
	w.serving("a", 4)
	b := w.serving("b", 4)
	b.current = 1
	w.turns(45)
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

func TestWorkersStayUntilThoseThatReplaceThemAreReady(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.Busy.Fill = 0.75
	w := newWorld(t, p)
	a := w.serving("a", 3)
	w.turn()
	// Four workers are needed: two and two, so one of a's three is to go, but not before b's two are in service.
	a.busy = 2.5
	for range 30 {
		before := a.ready
		w.turn()
		if b := w.servers["b"]; a.ready < before && (b.admin != AdminReady || b.ready < 2) {
			t.Fatalf("a went from %d to %d workers while b is %s with %d", before, a.ready, b.admin, b.ready)
		}
	}
	if a.ready != 2 || w.servers["b"].ready != 2 || w.inService() != 2 {
		t.Fatalf("a %d, b %d, %d in service", a.ready, w.servers["b"].ready, w.inService())
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

func TestTheLastHealthyServerStays(t *testing.T) {
	p := policy(Latency, server("a"), server("b"))
	p.Servers[0].AlwaysUp = true
	w := newWorld(t, p)
	a := w.serving("a", 4)
	w.serving("b", 4)
	for range 200 {
		a.up = false
		w.turn()
	}
	if w.servers["b"].admin != AdminReady || !w.has(CodeLimited) {
		t.Fatalf("a fails its checks and b is %s: %v", w.servers["b"].admin, w.reasons)
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

func TestAHoldStopsWhatWasDecidedBefore(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	p.MaxOut, p.Busy.DownShare = 0.3, 1
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 4)
	}
	w.turns(30) // one has left, the others wait for their minute
	n := w.inService()
	if n < 3 {
		t.Fatalf("%d in service, the test wants servers that wait to leave", n)
	}
	w.traffic.Errors = 0.9
	w.turns(300)
	if w.inService() != n {
		t.Fatalf("%d left during the hold", n-w.inService())
	}
}

func TestWhenAllAreBusyHalfAsManyAgainAreAskedFor(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	p.Busy.Target = 0.9
	w := newWorld(t, p)
	w.serving("a", 4).busy = 4
	w.serving("b", 4).busy = 4
	w.turn()
	if got := w.m.Apps["shop"].Busy.Workers; got != 12 {
		t.Fatalf("8 of 8 busy at a target of 0.9: %d workers are wanted, want 12", got)
	}
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

func TestBadNewsNeverShrinks(t *testing.T) {
	cases := map[string]struct {
		hurt func(w *world)
		code Code
	}{
		"HAProxy cannot be read":  {func(w *world) { w.proxyOK = false }, CodeHoldNoData},
		"an agent is silent":      {func(w *world) { w.servers["b"].agentOK = false }, CodeHoldNoData},
		"marks cannot be counted": {func(w *world) { w.servers["b"].marksGone = true }, CodeHoldNoData},
		"errors":                  {func(w *world) { w.traffic.Errors = 0.9 }, CodeHoldErrors},
		"all zero but sessions":   {func(w *world) { w.servers["a"].current = 9 }, CodeHoldZero},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
			w.serving("a", 4)
			w.serving("b", 4)
			w.turn()
			c.hurt(w)
			w.turns(200)
			if !w.has(c.code) {
				t.Fatalf("no %s among %v", c.code, w.reasons)
			}
			if w.servers["a"].ready+w.servers["b"].ready != 8 || w.inService() != 2 || w.m.Apps["shop"].Busy.Workers != 8 {
				t.Fatalf("shrank: %v, wanted %d", w.log, w.m.Apps["shop"].Busy.Workers)
			}
		})
	}
	t.Run("latency without timing", func(t *testing.T) {
		w := newWorld(t, policy(Latency, server("a"), server("b")))
		w.serving("a", 4)
		w.serving("b", 4)
		w.turn()
		w.traffic.Known = false
		w.turns(200)
		if w.inService() != 2 || !w.has(CodeHoldNoData) {
			t.Fatalf("shrank without data: %v", w.log)
		}
		w.traffic.Known = true
		w.turns(100)
		if w.inService() != 1 || !w.has(CodeDataBack) {
			t.Fatal("did not go on when the data came back")
		}
	})
}

func TestLimiterPacesWhatLeaves(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	p.MaxOut, p.Busy.DownShare = 0.3, 1
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 4)
	}
	w.turns(30)
	if n := w.inService(); n < 3 {
		t.Fatalf("%d of 4 in service within a minute of the first leaving, at most 30 %% may go", n)
	}
	if !w.has(CodeLimited) {
		t.Fatalf("not explained: %v", w.reasons)
	}
	w.turns(600)
	if w.inService() != 1 {
		t.Fatalf("%d in service at the end", w.inService())
	}
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

func TestNoopChangesNothing(t *testing.T) {
	p := policy(Noop, managed("a"), managed("b"))
	p.Servers[0].AlwaysUp = true
	w := newWorld(t, p)
	w.serving("b", 4)
	w.traffic.Responses = slow(50)
	w.turns(400)
	if len(w.log) != 0 {
		t.Fatalf("noop acted: %v", w.log)
	}
}

func TestDecideIsPure(t *testing.T) {
	w := newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
	w.serving("a", 2).busy = 2
	w.turns(5)
	before, err := json.Marshal(w.m)
	if err != nil {
		t.Fatal(err)
	}
	obs := w.observe()
	p1, m1 := Decide(Policy{Apps: []AppPolicy{w.p}}, w.m, obs)
	p2, m2 := Decide(Policy{Apps: []AppPolicy{w.p}}, w.m, obs)
	after, err := json.Marshal(w.m)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Fatal("Decide changed its argument")
	}
	if diff := cmp.Diff(p1, p2) + cmp.Diff(m1, m2); diff != "" {
		t.Fatalf("the same input gave different output:\n%s", diff)
	}
}

// Whatever happens to the world, the plan keeps its promises.
func TestPromisesHoldInAnyWorld(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		strategy := rapid.SampledFrom([]Strategy{Latency, BusyRatio}).Draw(rt, "strategy")
		p := policy(strategy, managed("a"), managed("b"), managed("c"))
		p.Web = rapid.Bool().Draw(rt, "web")
		p.MinServers = rapid.IntRange(1, 2).Draw(rt, "min")
		w := newWorld(t, p)
		w.serving("a", 2)
		w.serving("b", 2)
		for range rapid.IntRange(1, 120).Draw(rt, "turns") {
			w.shake(rt)
			serving := w.inService()
			plan := w.turn()
			for _, a := range plan.Actions {
				checkAction(rt, w, a, serving)
			}
			text, err := json.Marshal(w.m)
			if err != nil {
				rt.Fatal(err)
			}
			var back Memory
			if err := json.Unmarshal(text, &back); err != nil {
				rt.Fatal(err)
			}
			w.m = back
		}
	})
}

func (w *world) shake(rt *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "server")
	f := w.servers[name]
	switch rapid.IntRange(0, 11).Draw(rt, "event") {
	case 0:
		f.busy = rapid.Float64Range(0, 4).Draw(rt, "busy")
	case 1:
		w.queued = rapid.IntRange(0, 20).Draw(rt, "queued")
	case 2:
		f.agentOK = !f.agentOK
	case 3:
		w.proxyOK = !w.proxyOK
	case 4:
		f.current = rapid.IntRange(0, 5).Draw(rt, "current")
	case 5:
		w.traffic.Responses = slow(rapid.IntRange(0, 30).Draw(rt, "slow"))
	case 6:
		w.traffic.Responses = nil
	case 7:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "pause")) * time.Second)
	case 8:
		f.warmFails = !f.warmFails
	case 9:
		if w.p.Web {
			w.webOK = !w.webOK
		}
	case 10:
		w.process += "+"
		for _, f := range w.servers {
			f.admin, f.fromConfig, f.weight, f.up = AdminMaint, true, 100, false
		}
	}
}

func checkAction(rt *rapid.T, w *world, a Action, servingBefore int) {
	f := w.servers[a.Server]
	switch a.Kind {
	case SetWorkers:
		if a.Value < 1 || a.Value > 4 {
			rt.Fatalf("%+v is outside 1..4", a)
		}
	case Drain:
		if servingBefore <= w.p.MinServers {
			rt.Fatalf("%+v with %d in service and a floor of %d", a, servingBefore, w.p.MinServers)
		}
	case Park:
		since := w.m.Apps["shop"].Servers[a.Server].Since
		if f.current > 0 && !f.fromConfig && w.now.Sub(since) < w.p.DrainDeadline && strings.Contains(a.Why, "no request is left") {
			rt.Fatalf("%+v with %d requests running", a, f.current)
		}
	case Ready, Enter, SetWeight:
		if a.Value < 1 || a.Value > 256 {
			rt.Fatalf("%+v: a weight outside 1..256", a)
		}
	}
	if a.Why == "" {
		rt.Fatalf("%+v has no reason", a)
	}
}
