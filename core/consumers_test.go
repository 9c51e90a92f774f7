package core

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// consumers is an app that nobody sends requests to: workers on three nodes that take items from a message queue.
func consumers() AppPolicy {
	p := policy(Queue, managed("a"), managed("b"), managed("c"))
	p.Proxied = false
	for i := range p.Servers {
		p.Servers[i].Warm = false
	}
	return p
}

func pools(now time.Time, backlog sizing.Backlog, ready ...int) Observation {
	o := AppObs{Name: "shop", Backlog: &backlog}
	for i, n := range ready {
		so := ServerObs{Name: []string{"a", "b", "c"}[i]}
		if n >= 0 {
			so.Pool = PoolObs{Known: true, Total: n, Ready: n, Target: n}
		}
		o.Servers = append(o.Servers, so)
	}
	return Observation{Now: now, Apps: []AppObs{o}}
}

var calm = sizing.Backlog{In: 4, Out: 4, Service: 1}

// Workers that are ready serve: the first decision takes all of them over, and one that does not report is waited for.
func TestConsumersServeAsSoonAsTheyAreReady(t *testing.T) {
	p := Policy{Apps: []AppPolicy{consumers()}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	plan, m := Decide(p, Memory{}, pools(now, calm, 4, 2, -1))
	if got := plan.Apps[0]; got.Workers != 6 || !got.Targets[0].Serve || got.Targets[0].Phase != PhaseServing || got.Targets[2].Phase != PhaseUnknown {
		t.Fatalf("%+v", got)
	}
	plan, _ = Decide(p, m, pools(now.Add(time.Second), calm, 4, 2, 4))
	if got := plan.Apps[0].Targets[2]; got.Phase == PhaseUnknown {
		t.Errorf("c reports and is still %+v", got)
	}
}

// Consumers leave through the limiter: not before those that take over are ready, and Run says what each is to run meanwhile.
func TestConsumersLeaveOnlyWhenOthersAreReady(t *testing.T) {
	p := Policy{Apps: []AppPolicy{consumers()}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ready := []int{2, 2, 2}
	var m Memory
	var plan Plan
	late := 0
	for i := range 100 {
		plan, m = Decide(p, m, pools(now.Add(time.Duration(i)*time.Second), calm, ready...))
		sum := 0
		for k, target := range plan.Apps[0].Targets {
			if target.Run < ready[k] {
				ready[k] = target.Run
			}
			// New workers take three turns.
			if target.Run > ready[k] && i%3 == 2 {
				ready[k]++
			}
			if target.Serve {
				sum += ready[k]
			} else if ready[k] > 1 {
				late++
			}
		}
		if all := ready[0] + ready[1] + ready[2]; all < min(6, plan.Apps[0].Workers) {
			t.Fatalf("turn %d: %v are ready, %d are wanted", i, ready, plan.Apps[0].Workers)
		}
	}
	parked := 0
	for k, target := range plan.Apps[0].Targets {
		if target.Phase == PhaseParked && target.Run == 1 && ready[k] == 1 {
			parked++
		}
	}
	if parked == 0 || late == 0 {
		t.Errorf("%d servers parked, %d turns in which one waited for others: %+v", parked, late, plan.Apps[0].Targets)
	}
}
