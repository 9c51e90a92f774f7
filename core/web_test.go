package core

import "testing"

// TestNothingStopsAServerThatNginxStillAsks: nginx takes its time (it keeps a reload budget, and proves the file first). As long
// as the verified file gives a leaving server a weight, HAProxy does not drain it and its agent lowers no worker below those in
// service; as soon as the file has it down, both go on.
func TestNothingStopsAServerThatNginxStillAsks(t *testing.T) {
	for name, proxied := range map[string]bool{"behind HAProxy too": true, "nginx alone": false} {
		t.Run(name, func(t *testing.T) {
			p := policy(BusyRatio, managed("a"), managed("b"))
			p.Web, p.Proxied = true, proxied
			w := newWorld(t, p)
			w.serving("a", 4)
			b := w.serving("b", 4)
			leaving := false
			for range 150 {
				w.turn()
				for _, s := range w.last.Web {
					leaving = leaving || s.Server == "b" && s.Weight == 0
				}
				// What is wanted of nginx is put off, turn after turn.
				w.web["a"], w.web["b"] = 4, 4
				if b.admin != AdminReady {
					t.Fatalf("b is %s while nginx gives it weight 4", b.admin)
				}
				if leaving && b.target > 0 && b.target < p.Servers[1].MinWorkers {
					t.Fatalf("b was told to have %d workers while nginx gives it weight 4", b.target)
				}
			}
			phase := w.m.Apps[w.p.Name].Servers.Of("b").Phase
			if !leaving || phase != PhaseLeaving {
				t.Fatalf("nginx was never told to let b go (leaving %v, phase %s): this proves nothing", leaving, phase)
			}
			w.turns(30)
			if got := w.m.Apps[w.p.Name].Servers.Of("b").Phase; got != PhaseParked || w.web["b"] != 0 {
				t.Fatalf("b is %s with nginx weight %d after nginx let it go, want parked and 0", got, w.web["b"])
			}
			if proxied && b.admin != AdminMaint {
				t.Fatalf("HAProxy has b in %s", b.admin)
			}
		})
	}
}
