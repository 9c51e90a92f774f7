package core

import (
	"testing"
	"time"
)

// A server that is to be elsewhere goes out as one that is parked does, but its workers stay; one that is out already goes at once.
func TestServersAreReaddressedOneAfterAnother(t *testing.T) {
	p := policy(Latency, managed("a"), managed("b"), managed("c"))
	for i := range p.Servers {
		p.Servers[i].Address = "10.0.0.1:8" + p.Servers[i].Name
	}
	p.Latency.Quiet = time.Hour
	w := newWorld(t, p)
	a, b := w.serving("a", 4), w.serving("b", 4)
	for _, f := range w.servers {
		f.address = "10.9.9.9:1"
	}
	a.current = 1
	w.turns(66)
	if a.admin != AdminDrain || b.admin != AdminReady || w.servers["c"].address != "10.0.0.1:8c" {
		t.Fatalf("a %+v, b %+v, c %+v", *a, *b, *w.servers["c"])
	}
	a.current = 0
	for range 140 {
		if w.turn(); w.inService() == 0 {
			t.Fatal("no server is in service")
		}
	}
	if w.inService() != 2 || a.address != "10.0.0.1:8a" || b.address != "10.0.0.1:8b" || a.ready != 4 || b.ready != 4 {
		t.Fatalf("a %+v, b %+v", *a, *b)
	}
	// The first weight of the ramp, then more of it.
	wantKinds(t, w.kinds("a"), SetWorkers, Drain, Park, SetAddress, Warm, Enter, Ready, SetWeight)
}

func TestReaddressingKeepsTheLeastNumberOfServers(t *testing.T) {
	p := policy(Latency, managed("a"), managed("b"))
	p.MinServers = 2
	p.Servers[0].Address = "10.0.0.1:8000"
	w := newWorld(t, p)
	a := w.serving("a", 4)
	w.serving("b", 4)
	a.address = "10.9.9.9:1"
	w.turns(80)
	if w.inService() != 2 || !w.has(CodeLimited) {
		t.Fatalf("%d in service, reasons %v", w.inService(), w.reasons)
	}
	// One that gets no traffic has nothing to lose.
	a.up = false
	w.turns(8)
	if a.address != "10.0.0.1:8000" {
		t.Fatalf("a server that is down keeps the address %s", a.address)
	}
}

// A restart of HAProxy loses addresses: a server that served is back at its own within two turns.
func TestAddressesArePutBackAfterARestart(t *testing.T) {
	p := policy(Latency, managed("a"))
	p.Servers[0].Address = "10.0.0.1:8000"
	w := newWorld(t, p)
	a := w.serving("a", 4)
	a.address = "10.0.0.1:8000"
	w.turns(3)
	w.process, w.log = "2:2", nil
	a.admin, a.fromConfig, a.weight, a.up, a.address = AdminMaint, true, 100, false, "10.9.9.9:1"
	w.turns(2)
	wantKinds(t, w.kinds("a"), SetAddress, Ready)
}

func TestServersAreAddedAndThoseAddedAreDeleted(t *testing.T) {
	p := policy(Latency, managed("a"), managed("b"), managed("c"))
	p.Dynamic, p.Servers[1].AlwaysUp, p.Latency.Quiet = true, true, time.Hour
	w := newWorld(t, p)
	w.serving("a", 4)
	w.servers["b"].missing = true
	w.turns(20)
	b := w.servers["b"]
	if w.inService() != 2 {
		t.Fatalf("b %+v", *b)
	}
	wantKinds(t, w.kinds("b"), Add, SetWorkers, Warm, Enter, Ready, SetWeight)
	// A restart loses it: it is back in service within two turns.
	w.process, b.missing, w.log = "2:2", true, nil
	w.turns(2)
	wantKinds(t, w.kinds("b"), Add, Ready)
	w.turns(65)
	// It leaves the policy, and so does c, which the configuration of HAProxy has.
	w.p.Servers, w.log = p.Servers[:1], nil
	b.current = 1
	w.turns(5)
	if b.admin != AdminDrain || b.missing {
		t.Fatalf("b %+v", *b)
	}
	b.current = 0
	w.turns(6)
	wantKinds(t, w.kinds("b"), Drain, Park, Delete)
	if !b.missing || len(w.kinds("c")) > 0 || len(w.m.Apps["shop"].Added) > 0 || len(w.m.Apps["shop"].Servers) != 1 {
		t.Fatalf("b %+v, steps of c %v, memory %+v", *b, w.kinds("c"), w.m.Apps["shop"])
	}
}

// What a new process has by itself was not added by tidegate, and is not deleted.
func TestAServerOfTheConfigurationIsNeverDeleted(t *testing.T) {
	p := policy(Latency, managed("a"), managed("b"))
	p.Dynamic = true
	w := newWorld(t, p)
	w.serving("a", 4)
	w.servers["b"].missing = true
	w.turns(5)
	w.process = "2:2"
	w.turns(3)
	w.p.Servers, w.log = p.Servers[:1], nil
	w.turns(10)
	if w.servers["b"].missing || len(w.kinds("b")) > 0 {
		t.Fatalf("steps of b: %v", w.kinds("b"))
	}
}
