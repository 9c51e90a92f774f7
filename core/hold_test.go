package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// An operator's hold stops everything, whatever sizes the app: what has begun stays where it is, need and quiet change nothing, and
// a server that fails is not replaced. Only what a restart of HAProxy has taken out of service is put back.
func TestAHoldStopsEverything(t *testing.T) {
	for _, strategy := range []Strategy{Latency, BusyRatio, Erlang} {
		t.Run(string(strategy), func(t *testing.T) {
			p := policy(strategy, managed("a"), managed("b"), managed("c"))
			p.Web, p.MinServers = true, 2
			w := newWorld(t, p)
			a := w.serving("a", 1)
			w.turns(2)
			if w.phase("b") != PhaseStarting && w.phase("b") != PhaseWarming {
				t.Fatalf("b is %s, want it on its way in", w.phase("b"))
			}
			before := w.m.Apps["shop"]
			w.orders = []sizing.Order{{ID: "hold-1", Kind: sizing.OrderHold, Owner: "ann", Note: "deploy", From: w.now}}
			w.log, w.reasons = nil, nil
			a.busy, a.current, w.queued, w.traffic.Responses = 1, 30, 50, slow(8)
			w.turns(90)
			a.busy, a.current, w.queued, w.traffic.Responses = 0, 0, 0, nil
			w.turns(90)
			if len(w.log) > 0 || w.last.Web != nil {
				t.Fatalf("under a hold: %v, nginx %v", w.log, w.last.Web)
			}
			for _, m := range w.m.Apps["shop"].Servers {
				if was := before.Servers.Of(m.Name); m.Serve != was.Serve || m.Workers != was.Workers || m.Phase != was.Phase {
					t.Errorf("%s was %+v, is %+v", m.Name, was, m)
				}
			}
			if n := strings.Count(fmt.Sprint(w.reasons), "hold-1 of ann (deploy)"); n != 1 {
				t.Errorf("the hold was reported %d times: %v", n, w.reasons)
			}

			// HAProxy restarts: what served serves again.
			w.process, a.admin, a.up, a.weight, a.fromConfig = "2:2", AdminMaint, false, 100, true
			w.turns(3)
			if len(w.log) != 1 || w.log[0].Kind != Ready || w.log[0].Server != "a" {
				t.Errorf("after HAProxy's restart: %v", w.log)
			}

			w.orders[0].Until = w.now
			w.log = nil
			w.turns(12)
			if !w.has(CodeHoldOver) || w.phase("b") != PhaseServing {
				t.Errorf("after the hold b is %s: %v", w.phase("b"), w.reasons)
			}
		})
	}
}

func TestAHoldWaitsForItsTimeAndNoopReportsIt(t *testing.T) {
	w := newWorld(t, policy(Noop, server("a")))
	w.serving("a", 1)
	w.orders = []sizing.Order{
		{ID: "pin-1", Kind: sizing.OrderPin, From: w.now, Workers: 1},
		{ID: "hold-2", Kind: sizing.OrderHold, From: w.now.Add(10 * time.Second), Until: w.now.Add(20 * time.Second)},
	}
	w.turns(9)
	if w.has(CodeHoldOrder) {
		t.Fatal("held before its time")
	}
	w.turns(5)
	if !w.has(CodeHoldOrder) || !w.m.Apps["shop"].Held {
		t.Fatal("not held")
	}
	w.turns(9)
	if !w.has(CodeHoldOver) || w.m.Apps["shop"].Held {
		t.Fatal("held after its time")
	}
}

// Slow answers and a quiet period under a hold count for nothing, neither during it nor when it ends.
func TestAHoldStopsTheLatencyStrategy(t *testing.T) {
	w := newWorld(t, policy(Latency, server("a"), server("b"), server("c")))
	w.serving("a", 4)
	w.serving("b", 4)
	w.turns(2)
	w.orders = []sizing.Order{{ID: "hold-1", Kind: sizing.OrderHold, From: w.now}}
	w.log = nil
	w.traffic.Responses = slow(40)
	w.turns(5)
	if w.m.Apps["shop"].Servers.Of("c").Serve {
		t.Fatal("slow answers bring c in")
	}
	w.traffic.Responses = nil
	w.turns(100) // longer than the quiet period
	w.orders = nil
	w.turns(30)
	if servers := w.m.Apps["shop"].Servers; len(w.log) > 0 || !servers.Of("a").Serve || !servers.Of("b").Serve || servers.Of("c").Serve {
		t.Fatalf("steps %v, servers %+v", w.log, servers)
	}
	w.turns(60)
	if !w.has(CodeShrinkQuiet) {
		t.Error("the quiet period after the hold was not used")
	}
}
