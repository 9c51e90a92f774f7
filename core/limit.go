package core

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// minute is the span over which capacity that leaves is added up.
const minute = time.Minute

// limit passes proposals or removes them; it never adds one. What a removed proposal would have remembered is forgotten,
// so that it is proposed again in the next turn. It refuses
//
//   - whatever takes capacity away while the data are bad (a hold),
//   - a server leaving when no more than MinServers would be left in service,
//   - workers leaving, alone or with their server, before those that are to stay are ready in the wanted number (all strategies that size in workers):
//     while load moves from one server to others, the others come first,
//   - more than MaxOut of the capacity leaving within a minute (a single step is always allowed when nothing left before).
func (t *turn) limit(proposals []proposal) []Action {
	serving := 0
	for i := range t.servers {
		v := &t.servers[i]
		if v.m.Serve && v.m.Phase.InService() && !v.foreign && (!t.p.Proxied || v.o.Proxy.Up) {
			serving++
		}
	}
	for len(t.m.Out) > 0 && t.now.Sub(t.m.Out[0].At) >= minute {
		t.m.Out = t.m.Out[1:]
	}
	gone := 0.0
	for _, o := range t.m.Out {
		gone += o.Amount
	}
	l := limiter{t: t, serving: serving, gone: gone, before: t.capacity() + gone, surplus: t.surplus()}
	actions := room(proposals)
	for i := range proposals {
		pr := &proposals[i]
		v := &t.servers[pr.index]
		if pr.leaves && !l.passes(v, pr.out, true) {
			continue
		}
		*v.m = pr.next
		for k := range pr.steps {
			if s := &pr.steps[k]; s.out == 0 || l.passes(v, s.out, false) {
				actions = append(actions, s.Action)
				if s.Kind == SetWorkers {
					v.told = s.Value
				}
			}
		}
	}
	t.m.Limited = l.limited
	return inOrder(actions)
}

// room is a list with place for the actions of all proposals, nil when there are none.
func room(proposals []proposal) []Action {
	n := 0
	for i := range proposals {
		n += len(proposals[i].steps)
	}
	if n == 0 {
		return nil
	}
	return make([]Action, 0, n)
}

// limiter is the account of one turn.
type limiter struct {
	t       *turn
	serving int
	// gone is the capacity that has left within the last minute, before what there was without that.
	gone, before float64
	// surplus is how many more workers are ready on the servers that stay than are wanted.
	surplus float64
	limited bool
}

// passes tells whether an amount of capacity may leave now, and books it.
func (l *limiter) passes(v *view, out float64, leaves bool) bool {
	t := l.t
	if t.hold != "" || leaves && l.surplus < 0 || !leaves && out > l.surplus {
		return false
	}
	if why := l.refuse(out, leaves); why != "" {
		if !t.m.Limited && !l.limited {
			t.reason(CodeLimited, v.p.Name, map[string]float64{"out": round2(out), "gone": round2(l.gone), "capacity": round2(l.before), "max_out": t.p.MaxOut, "serving": float64(l.serving)}, "%s is held back: %s", v.p.Name, why)
		}
		l.limited = true
		return false
	}
	if !leaves {
		l.surplus -= out
	}
	l.gone += out
	t.m.Out = append(t.m.Out, OutPoint{t.now, out})
	return true
}

// surplus of ready workers over the wanted number, on servers that are to stay; without a wanted number there is no end to it.
func (t *turn) surplus() float64 {
	if t.result == nil {
		return math.Inf(1)
	}
	ready := 0
	for i := range t.servers {
		if v := &t.servers[i]; v.m.Serve && v.m.Phase.InService() && !v.foreign && !t.down(v) {
			ready += v.o.Pool.Ready
		}
	}
	return float64(ready - t.result.Workers)
}

func (l *limiter) refuse(out float64, leaves bool) string {
	if leaves && l.serving < l.t.p.MinServers {
		return fmt.Sprintf("only %d other servers are in service, and %d must be", l.serving, l.t.p.MinServers)
	}
	if most := l.t.p.MaxOut * l.before; l.gone > 0 && l.gone+out > most+1e-9 {
		return fmt.Sprintf("with it %.0f of %.0f workers would have left within a minute, and %.0f %% may", l.gone+out, l.before, 100*l.t.p.MaxOut)
	}
	return ""
}

// inOrder sorts actions so that what adds capacity is carried out before what takes it away.
func inOrder(actions []Action) []Action {
	if len(actions) == 0 {
		return nil
	}
	slices.SortStableFunc(actions, byShrinking)
	return actions
}

// byShrinking puts what takes capacity away behind the rest.
func byShrinking(a, b Action) int {
	x, y := a.Kind == Drain || a.Kind == Park, b.Kind == Drain || b.Kind == Park
	switch {
	case x == y:
		return 0
	case y:
		return -1
	default:
		return 1
	}
}
