package core

import (
	"testing"
)

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

func TestAHoldStopsWhatWasDecidedBefore(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"), managed("c"), managed("d"))
	p.MaxOut, p.Sizing.Down.Share = 0.3, 1
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
			if w.servers["a"].ready+w.servers["b"].ready != 8 || w.inService() != 2 || w.m.Apps["shop"].Sizing.Workers != 8 {
				t.Fatalf("shrank: %v, wanted %d", w.log, w.m.Apps["shop"].Sizing.Workers)
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
	p.MaxOut, p.Sizing.Down.Share = 0.3, 1
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 4)
	}
	w.turns(45)
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
