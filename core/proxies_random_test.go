package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Whatever happens to two load balancers: no worker goes while an instance sends to it or may, steps only go to instances that
// answer, and when all is calm both have the wanted state.
func TestRandomTroubleOnTwoInstances(t *testing.T) {
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, policy(BusyRatio, managed("a"), managed("b"), managed("c")))
		w.p.Web = r.IntN(2) == 0
		w.webOK = w.p.Web
		w.serving("a", 4)
		w.serving("b", 4)
		w.on("lb1", "lb2")
		for range 150 {
			w.trouble(r)
			before := w.targets()
			w.turn()
			w.checkWorkers(before)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for i, b := range w.lbs {
			if b.gone {
				b.restart(fmt.Sprint(i, ":calm"))
			}
			b.silent = false
			for _, f := range b.servers {
				if f.current = 0; f.admin == AdminDrain || f.admin == AdminMaint && f.weight > 0 {
					f.admin, f.up = AdminReady, true
				}
			}
		}
		for range 250 {
			for _, b := range w.lbs {
				for _, f := range b.servers {
					f.up = f.up || f.admin == AdminReady
				}
			}
			w.servers["a"].busy, w.servers["b"].busy, w.servers["c"].busy = 1, 1, 1
			w.turn()
		}
		for _, m := range w.m.Apps["shop"].Servers {
			name := m.Name
			for _, b := range w.lbs {
				f := b.servers[name]
				if m.Serve && f.admin != AdminReady || !m.Serve && (f.admin != AdminMaint || f.weight != 0) {
					t.Fatalf("seed %d: %s is to serve: %v, and is %s with weight %d on %s (%+v)", seed, name, m.Serve, f.admin, f.weight, b.name, m.On(b.name))
				}
			}
		}
	}
}

// trouble changes one thing or another.
func (w *world) trouble(r *rand.Rand) {
	for _, name := range []string{"a", "b", "c"} {
		f := w.servers[name]
		if r.IntN(6) == 0 {
			f.busy = float64(r.IntN(f.ready + 1))
		}
	}
	for i, b := range w.lbs {
		switch r.IntN(25) {
		case 0:
			b.silent = true
		case 1:
			b.gone = true
		case 2:
			b.restart(fmt.Sprint(i, ":", r.IntN(1e9)))
		case 3, 4, 5:
			b.silent = false
			if b.gone {
				b.restart(fmt.Sprint(i, ":", r.IntN(1e9)))
			}
		}
		for _, name := range []string{"a", "b", "c"} {
			f := b.servers[name]
			running := f.current
			switch f.current = 0; {
			case b.gone:
			case r.IntN(2) == 0:
				// Maintenance cuts nothing, but nothing new comes.
				if f.current = r.IntN(3); f.admin == AdminMaint {
					f.current = min(f.current, running)
				}
			}
			if b.silent || b.gone || r.IntN(60) > 0 {
				continue
			}
			switch r.IntN(4) {
			case 0:
				f.admin, f.up = AdminMaint, false
			case 1:
				f.admin = AdminDrain
			case 2:
				f.weight = 1 + r.IntN(256)
			case 3:
				f.up = !f.up
			}
		}
	}
}

func (w *world) targets() map[string]int {
	out := map[string]int{}
	for name, f := range w.servers {
		out[name] = f.target
	}
	return out
}

// checkWorkers: a server that is not to serve keeps its workers as long as an instance may send to it.
func (w *world) checkWorkers(before map[string]int) {
	for _, m := range w.m.Apps["shop"].Servers {
		name := m.Name
		if m.Serve || w.servers[name].target >= before[name] {
			continue
		}
		for _, b := range w.lbs {
			f := b.servers[name]
			parked := f.admin == AdminMaint && f.current == 0
			if !parked && !b.gone {
				w.t.Errorf("%s: the workers go from %d to %d while %s (silent %v) has it in %s with %d requests", name, before[name], w.servers[name].target, b.name, b.silent, f.admin, f.current)
			}
		}
	}
}
