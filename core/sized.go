package core

import (
	"github.com/tidegate/tidegate/core/sizing"
)

// sized wants as many workers as package sizing says, on as few servers as hold them.
func (t *turn) sized() {
	policy := t.p.Sizing
	policy.Strategies = append([]Strategy{t.p.Strategy}, t.p.Also...)
	policy.MinWorkers = max(t.p.MinWorkers, 1)
	policy.MaxWorkers = max(policy.MinWorkers, t.maxWorkers())
	result, memory := sizing.Size(policy, t.m.Sizing, t.sizingObs())
	t.m.Sizing, t.result = memory, &result
	if t.hold == "" && result.Frozen != sizing.CodePin {
		t.hold = result.Frozen
	}
	if result.Workers != result.Before {
		t.m.Activity = t.now
	}
	for _, e := range result.Events {
		t.reasons = append(t.reasons, Reason{Code: e.Code, App: t.p.Name, Numbers: e.Numbers, Sentence: e.Sentence})
	}
	if result.Frozen == sizing.CodeHoldOrder {
		return
	}
	t.place(result.Workers)
}

// sizingObs is what the app's size depends on.
func (t *turn) sizingObs() sizing.Observation {
	o := sizing.Observation{
		Now: t.now, Bad: t.hold, Traffic: t.o.Traffic.Known, Seconds: t.o.Traffic.Seconds,
		InFlight: float64(t.o.Traffic.InFlight), Queued: float64(t.o.Traffic.Queued), Backlog: t.o.Backlog, Orders: t.o.Orders,
	}
	if all := &t.proxies.all; all.Known {
		o.InFlight, o.Queued = float64(all.Current), float64(all.Queued)
	}
	o.Nodes = t.space.nodes[:0]
	for i := range t.servers {
		v := &t.servers[i]
		if !v.p.Managed || v.foreign || !v.met {
			continue
		}
		pool := &v.o.Pool
		n := sizing.Node{
			Name: v.p.Name, Up: !t.lost(v), Known: pool.Known, Max: v.p.MaxWorkers,
			Total: pool.Total, Starting: pool.Starting, Draining: pool.Draining, Busy: pool.Busy, BusyKnown: pool.BusyKnown, OldFirst: pool.OldFirst,
		}
		if v.m.Phase.InService() {
			n.Ready, n.Fresh = pool.Ready, v.fresh()
		} else if !v.m.Serve {
			// A parked server need not report, and its workers are no one's.
			n.Max, n.Starting = 0, 0
			n.Known, n.BusyKnown, n.Up = pool.Known, pool.BusyKnown, n.Up && pool.Known
		}
		o.Nodes = append(o.Nodes, n)
	}
	t.space.nodes = o.Nodes
	return o
}

// lost tells that a server cannot serve: its node is gone, or HAProxy finds it unhealthy.
func (t *turn) lost(v *view) bool {
	return t.nodes[v.p.Node] || t.down(v)
}
