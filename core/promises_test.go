package core

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

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
		since := w.m.Apps["shop"].Servers.Of(a.Server).Since
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
