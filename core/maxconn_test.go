package core

import (
	"slices"
	"testing"
)

// A server's maxconn is set before it gets traffic, and follows its ready workers: raised after they came, lowered before they leave.
func TestMaxConnFollowsTheReadyWorkers(t *testing.T) {
	p := policy(BusyRatio, managed("a"), managed("b"))
	p.MaxConnPerWorker = 3
	w := newWorld(t, p)
	a, b := w.serving("a", 2), w.servers["b"]
	a.maxconn, b.maxconn, a.busy = 100, 100, 4
	w.turn()
	if a.maxconn != 6 {
		t.Fatalf("a has 2 workers and maxconn %d", a.maxconn)
	}
	// Each turn: no server that gets traffic has more than its ready workers can take.
	for range 30 {
		w.turn()
		for name, f := range w.servers {
			if f.admin == AdminReady && f.maxconn > 3*f.ready {
				t.Fatalf("%s gets traffic with %d workers and maxconn %d", name, f.ready, f.maxconn)
			}
		}
	}
	if b.admin != AdminReady || b.maxconn != 3*b.ready || a.maxconn != 3*a.ready {
		t.Fatalf("in service: a %+v, b %+v", *a, *b)
	}
	b.busy, a.busy = 0, 1
	for range 80 {
		before := map[string]int{"a": a.target, "b": b.target}
		maxconn := map[string]int{"a": a.maxconn, "b": b.maxconn}
		w.turn()
		for name, f := range w.servers {
			if f.admin == AdminReady && f.target < before[name] && maxconn[name] > 3*f.target {
				t.Fatalf("%s was told to have %d workers while its maxconn was %d", name, f.target, maxconn[name])
			}
		}
	}
	if a.ready >= 4 || a.maxconn != 3*a.ready {
		t.Fatalf("after the load: a %+v", *a)
	}
}

func TestMaxConnIsNeverZeroAndNotLoweredOnBadData(t *testing.T) {
	p := policy(Latency, managed("a"), managed("b"))
	p.MaxConnPerWorker = 2
	w := newWorld(t, p)
	a := w.serving("a", 4)
	a.maxconn = 8
	w.turns(3)
	a.agentOK = false
	w.turns(3)
	a.agentOK, a.ready = true, 0
	w.turn()
	if a.maxconn != 8 {
		t.Fatalf("without a report, and then without a ready worker, the maxconn is %d", a.maxconn)
	}
}

func TestAHumansMaxConnIsReportedAndLeftAlone(t *testing.T) {
	p := policy(Latency, managed("a"))
	p.MaxConnPerWorker = 2
	w := newWorld(t, p)
	a := w.serving("a", 4)
	w.turns(3)
	a.maxconn = 5
	w.turns(5)
	if a.maxconn != 5 || !w.has(CodeForeign) {
		t.Fatalf("maxconn %d, reasons %v", a.maxconn, w.reasons)
	}
	n := 0
	for _, r := range w.reasons {
		if r.Code == CodeForeign {
			n++
		}
	}
	if n != 1 {
		t.Errorf("reported %d times", n)
	}
	// A new process has nobody's maxconn.
	w.process, a.maxconn = "2:2", 100
	w.turns(2)
	if a.maxconn != 8 {
		t.Errorf("after a restart of HAProxy the maxconn is %d", a.maxconn)
	}
}

func TestMaxConnIsPutBackBeforeTrafficAfterARestart(t *testing.T) {
	p := policy(Latency, managed("a"))
	p.MaxConnPerWorker = 2
	w := newWorld(t, p)
	a := w.serving("a", 4)
	w.turns(3)
	w.process, w.log = "2:2", nil
	a.admin, a.fromConfig, a.weight, a.up, a.maxconn = AdminMaint, true, 100, false, 100
	w.turn()
	wantKinds(t, w.kinds("a"), SetMaxConn, Ready)
	if a.maxconn != 8 {
		t.Fatalf("maxconn %d", a.maxconn)
	}
}

func TestWhatFollowsTheDrainDeadline(t *testing.T) {
	for then, want := range map[DrainThen][]ActionKind{
		ThenPark: {Drain, Park}, "": {Drain, Park}, ThenWait: {Drain}, ThenCut: {Drain, Park, Cut},
	} {
		t.Run(string(then), func(t *testing.T) {
			p := policy(Latency, managed("a"), managed("b"))
			p.DrainThen = then
			p.Servers[0].AlwaysUp = true
			w := newWorld(t, p)
			w.serving("a", 4)
			b := w.serving("b", 4)
			b.current = 2
			w.turns(130)
			got := slices.DeleteFunc(w.kinds("b"), func(k ActionKind) bool { return k == SetWorkers || k == SetWeight })
			wantKinds(t, got, want...)
			if late := w.has(CodeDrainLate); late != (then == ThenWait || then == ThenCut) {
				t.Errorf("reported: %v", late)
			}
			if then == ThenWait {
				b.current = 0
				w.turns(10)
			}
			if gone := b.ready == 1; gone == (then == ThenPark || then == "") {
				t.Errorf("%d workers with %d requests", b.ready, b.current)
			}
		})
	}
}
