package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/core/sizing"
)

// mixed is apps of every strategy, and what is seen of them in one turn by chance.
func mixed(apps int) Policy {
	var p Policy
	strategies := []Strategy{Erlang, BusyRatio, RPSRatio, Queue, Latency, Noop}
	for a := range apps {
		ap := policy(strategies[a%len(strategies)], managed("a"), managed("b"), managed("c"))
		ap.Name = fmt.Sprintf("app%02d", a)
		ap.Latency.Quiet = 5 * time.Second
		p.Apps = append(p.Apps, ap)
	}
	return p
}

func chance(p Policy, now time.Time, r *rand.Rand) Observation {
	o := Observation{Now: now}
	for _, ap := range p.Apps {
		a := AppObs{Name: ap.Name, Proxy: ProxyObs{Known: r.IntN(20) > 0, Process: "1:1", Current: r.IntN(30)}}
		a.Traffic = TrafficObs{Known: r.IntN(20) > 0, Seconds: []sizing.Second{{At: now.Unix() - 1, Arrivals: float64(r.IntN(100)), Completions: 50, Service: 5}}}
		for range r.IntN(12) {
			a.Traffic.Responses = append(a.Traffic.Responses, time.Duration(r.IntN(1500))*time.Millisecond)
		}
		a.Backlog = &sizing.Backlog{Items: float64(r.IntN(100)), In: 3, Out: 3, Service: 0.5}
		for i, s := range ap.Servers {
			so := ServerObs{Name: s.Name, Warm: WarmOK, Pool: PoolObs{Known: r.IntN(30) > 0, BusyKnown: true, Total: 3, Ready: 3, Busy: 3 * r.Float64(), Target: 3}}
			so.Proxy = ProxyServerObs{Known: a.Proxy.Known, Admin: AdminReady, Up: true, Weight: 100}
			if i > r.IntN(3) {
				so.Proxy.Admin, so.Proxy.Weight, so.Proxy.Up = AdminMaint, 0, false
			}
			a.Servers = append(a.Servers, so)
		}
		o.Apps = append(o.Apps, a)
	}
	return o
}

// The order of apps, in the policy or in what is seen, changes no app's plan and no app's memory, whatever is seen.
func TestOrderOfAppsChangesNoPlan(t *testing.T) {
	p := mixed(12)
	r := rand.New(rand.NewPCG(1, 2))
	var m, mixedUp Memory
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	chosen := 0
	for turn := range 300 {
		o := chance(p, now.Add(time.Duration(turn)*time.Second), r)
		plan, next := Decide(p, m, o)
		p2, o2 := Policy{Apps: append([]AppPolicy(nil), p.Apps...)}, o
		o2.Apps = append([]AppObs(nil), o.Apps...)
		r.Shuffle(len(p2.Apps), func(i, j int) { p2.Apps[i], p2.Apps[j] = p2.Apps[j], p2.Apps[i] })
		r.Shuffle(len(o2.Apps), func(i, j int) { o2.Apps[i], o2.Apps[j] = o2.Apps[j], o2.Apps[i] })
		plan2, next2 := Decide(p2, mixedUp, o2)
		byName := map[string]AppPlan{}
		for _, a := range plan2.Apps {
			byName[a.Name] = a
		}
		for _, a := range plan.Apps {
			for _, reason := range a.Reasons {
				if reason.Code == CodeGrowLatency || reason.Code == CodeShrinkQuiet {
					chosen++
				}
			}
			if diff := cmp.Diff(a, byName[a.Name]); diff != "" {
				t.Fatalf("turn %d, %s: %s", turn, a.Name, diff)
			}
		}
		if diff := cmp.Diff(next, next2); diff != "" {
			t.Fatalf("turn %d: the memories differ: %s", turn, diff)
		}
		m, mixedUp = next, next2
	}
	if chosen == 0 {
		t.Error("no server was ever drawn, so nothing was proven about it")
	}
}
