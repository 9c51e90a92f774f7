package core

import (
	"slices"
	"testing"
	"time"
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
	w.turns(90) // one has left, the others wait for their minute
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
	w.turns(130)
	if n := w.inService(); n != 3 {
		t.Fatalf("%d of 4 in service within a minute of the first leaving, at most 30 %% (or one server) may go", n)
	}
	if !w.has(CodeLimited) {
		t.Fatalf("not explained: %v", w.reasons)
	}
	w.turns(600)
	if w.inService() != 1 {
		t.Fatalf("%d in service at the end", w.inService())
	}
}

// eightOfTwenty are eight servers with 20 workers each, of which a fifth may leave within a minute.
func eightOfTwenty() AppPolicy {
	var servers []ServerPolicy
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		s := managed(name)
		s.MaxWorkers, s.AlwaysUp = 20, true
		servers = append(servers, s)
	}
	p := policy(BusyRatio, servers...)
	p.MaxWorkers, p.MaxOut, p.Sizing.Down.Share = 160, 0.2, 1
	return p
}

// Where not all workers of a server may leave now, as many leave as may.
func TestTheLimiterLetsGoWhatMayGo(t *testing.T) {
	p := eightOfTwenty()
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 20)
	}
	ready := func() (n int) {
		for _, f := range w.servers {
			n += f.ready
		}
		return n
	}
	for range 300 {
		if w.turn(); ready() < 160 {
			break
		}
	}
	told := 160
	for _, a := range w.log {
		if a.Kind == SetWorkers {
			told -= 20 - a.Value
		}
	}
	if told != 128 {
		t.Fatalf("%d of 160 workers are to stay, want 128: a fifth may leave within a minute, and the largest server has 20", told)
	}
	w.turns(600)
	if n := ready(); n != 8 {
		t.Errorf("%d workers at the end, want the least of each server", n)
	}
}

// A maxconn is in other units than workers: the limiter holds it back or lets it pass, and never makes one of its own.
func TestTheLimiterMakesNoMaxConnOfItsOwn(t *testing.T) {
	p := eightOfTwenty()
	p.MaxConnPerWorker = 3
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 20).maxconn = 60
	}
	w.turns(600)
	orders := 0
	for _, a := range w.log {
		if a.Kind == SetMaxConn {
			if orders++; a.Value%3 != 0 {
				t.Errorf("%s was given maxconn %d with 3 for each worker", a.Server, a.Value)
			}
		}
	}
	if orders == 0 {
		t.Error("no maxconn was set")
	}
}

// Between the decision that a server leaves and HAProxy's drain the others can die.
func TestTheLastReadyServerIsNotDrained(t *testing.T) {
	for name, hurt := range map[string]func(w *world){
		"fails its checks":         func(w *world) { w.servers["b"].up = false },
		"a human set weight 0":     func(w *world) { w.servers["b"].weight = 0 },
		"has no worker any more":   func(w *world) { w.servers["b"].ready = 0 },
		"its agent fell silent":    func(w *world) { w.servers["b"].agentOK = false },
		"is drained by a human":    func(w *world) { w.servers["b"].admin = AdminDrain },
		"HAProxy was not readable": func(w *world) { w.proxyOK = false },
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(Latency, managed("c"), managed("a"), managed("b"))
			p.Latency.Quiet = time.Hour
			w := newWorld(t, p)
			w.serving("a", 4)
			w.serving("b", 4)
			w.turns(65)
			app := w.m.Apps["shop"]
			app.Servers = slices.Clone(app.Servers)
			for i := range app.Servers {
				if a := &app.Servers[i]; a.Name == "a" {
					a.Serve, a.Phase, a.Since = false, PhaseLeaving, w.now
				}
			}
			w.m.Apps["shop"] = app
			hurt(w)
			w.turn()
			if w.servers["a"].admin != AdminReady {
				t.Fatalf("a was drained while b %s: %v", name, w.log)
			}
		})
	}
}

// nginx is a way to take a server out, too.
func TestNginxKeepsWhatTheLimiterHoldsBack(t *testing.T) {
	for _, proxied := range []bool{true, false} {
		p := policy(Latency, server("a"), server("b"), server("c"), server("d"), server("e"))
		p.Proxied, p.Web, p.MaxOut, p.Latency.Quiet = proxied, true, 0.2, time.Second
		w := newWorld(t, p)
		for _, s := range p.Servers {
			w.serving(s.Name, 4)
		}
		w.turns(61)
		for range 58 {
			w.turn()
			up := 0
			for _, weight := range w.web {
				if weight > 0 {
					up++
				}
			}
			if up < 4 {
				t.Fatalf("proxied %v: %d of 5 left in nginx within a minute of the first leaving: %v", proxied, up, w.web)
			}
		}
		if !w.has(CodeLimited) {
			t.Fatalf("proxied %v: nothing was held back", proxied)
		}
	}
}

// What left before the first sight is not known.
func TestNothingLeavesInTheFirstMinute(t *testing.T) {
	p := policy(Latency, server("a"), server("b"), server("c"))
	p.MaxOut, p.Latency.Quiet = 0.2, time.Second
	w := newWorld(t, p)
	for _, s := range p.Servers {
		w.serving(s.Name, 4)
	}
	w.turns(60)
	if w.inService() != 3 {
		t.Fatalf("%d of 3 in service after a minute: %v", w.inService(), w.log)
	}
	w.turns(5)
	if w.inService() != 2 {
		t.Fatalf("%d of 3 in service soon after: %v", w.inService(), w.reasons)
	}
}
