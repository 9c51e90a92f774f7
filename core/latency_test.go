package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func slow(n int) []time.Duration { return slices.Repeat([]time.Duration{800 * time.Millisecond}, n) }
func fast(n int) []time.Duration { return slices.Repeat([]time.Duration{20 * time.Millisecond}, n) }

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
	w.turns(75)
	if w.servers["b"].admin != AdminReady || w.servers["c"].admin != AdminMaint {
		t.Fatalf("b %s, c %s", w.servers["b"].admin, w.servers["c"].admin)
	}
	// A human brings c in; a restart with memory must not apply the initial state again.
	w.servers["c"].admin, w.servers["c"].up, w.servers["c"].weight = AdminReady, true, 100
	w.turn()
	if !w.m.Apps["shop"].Servers.Of("c").Serve {
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
