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
//   - a server leaving, and again its last step out of HAProxy, when fewer than MinServers others that stay (at least one) take
//     requests, as HAProxy and the node agents report,
//   - workers leaving, alone or with their server, before those that are to stay are ready in the wanted number (all strategies that size in workers):
//     while load moves from one server to others, the others come first,
//   - more than MaxOut of the capacity, or more than one server if that is more, leaving within a minute,
//   - anything leaving within a minute of the app's first sight: what left before is not known then.
func (t *turn) limit(proposals []proposal) []Action {
	t.m.Out = slices.DeleteFunc(t.m.Out, func(o OutPoint) bool { return t.now.Sub(o.At) >= minute })
	l := limiter{t: t, surplus: t.surplus()}
	for i := range t.servers {
		if v := &t.servers[i]; l.stays(v) {
			l.serving++
		}
	}
	// nginx may take its time: what it still has leaves when it follows, so that has to be in order then.
	for i := range t.servers {
		if v := &t.servers[i]; t.p.Web && !v.foreign && v.m.Phase == PhaseLeaving && !v.m.Serve && t.inWeb(v) {
			v.stays = !l.passes(v, t.weightOf(v), wholeAgain)
		}
	}
	var actions []Action
	for _, pr := range proposals {
		v := &t.servers[pr.index]
		w := whole
		if !pr.leaves && takesOut(v, pr.steps) {
			pr.leaves, pr.out = true, t.weightOf(v)
			if v.m.Phase == PhaseLeaving {
				w = wholeAgain
			}
		}
		if pr.leaves && !l.passes(v, pr.out, w) {
			continue
		}
		v.m = pr.next
		for _, s := range pr.steps {
			if s.out == 0 || l.passes(v, s.out, workers) {
				actions = append(actions, s.Action)
			}
		}
	}
	t.m.Limited = l.limited
	return inOrder(actions)
}

// what leaves.
type what int

const (
	// workers of a server that stays.
	workers what = iota
	// whole: a server with all its workers.
	whole
	// wholeAgain: a server that has been let go, and now nginx or HAProxy follows, maybe much later. It counts from then on.
	wholeAgain
)

// takesOut tells whether steps end the traffic to a server that HAProxy sends requests to.
func takesOut(v *view, steps []step) bool {
	return v.o.Proxy.Known && v.o.Proxy.Admin == AdminReady && slices.ContainsFunc(steps, func(s step) bool {
		return s.Kind == Drain || s.Kind == Park || s.Kind == Enter
	})
}

// inWeb tells whether nginx may send requests to a server.
func (t *turn) inWeb(v *view) bool { return !t.o.Web.Known || t.o.Web.Weights[v.p.Name] > 0 }

// ready tells whether a server takes requests now, as HAProxy and its agent say; without HAProxy, nginx' verified file; without
// both, as far as we have let it.
func (t *turn) ready(v *view) bool {
	ps := &v.o.Proxy
	switch {
	case v.foreign || v.p.Managed && (!v.o.Pool.Known || v.o.Pool.Ready == 0):
		return false
	case t.p.Proxied:
		return ps.Known && ps.Admin == AdminReady && ps.Up && ps.Weight > 0
	case t.p.Web:
		return t.o.Web.Known && t.o.Web.Weights[v.p.Name] > 0
	}
	return v.m.Phase.InService()
}

// limiter is the account of one turn. What has left within the last minute stands in the memory.
type limiter struct {
	t *turn
	// serving counts the servers that take requests and are to stay.
	serving int
	// surplus is how many more workers are ready on the servers that stay than are wanted.
	surplus float64
	limited bool
}

func (l *limiter) stays(v *view) bool {
	return v.m.Serve && v.m.Phase.InService() && l.t.ready(v)
}

// passes tells whether an amount of capacity may leave now, and books it.
func (l *limiter) passes(v *view, out float64, w what) bool {
	t, leaves := l.t, w != workers
	if t.hold != "" || leaves && l.surplus < 0 || !leaves && out > l.surplus {
		return false
	}
	rest, before := t.m.Out, OutPoint{}
	if w == wholeAgain {
		// Workers that it has lost on its own since then do not make less of what left.
		rest, before = withoutLast(t.m.Out, v.p.Name)
		out = max(out, before.Amount)
	}
	a := t.account(rest)
	others := l.serving
	if l.stays(v) {
		others--
	}
	if why := l.refuse(a, others, out, leaves); why != "" {
		if !t.m.Limited && !l.limited {
			t.reason(CodeLimited, v.p.Name, map[string]float64{"out": round2(out), "gone": round2(a.gone), "capacity": round2(a.before), "max_out": t.p.MaxOut, "serving": float64(others)}, "%s is held back: %s", v.p.Name, why)
		}
		l.limited = true
		return false
	}
	if leaves {
		l.serving = others
	} else {
		l.surplus -= out
	}
	o := OutPoint{At: t.now, Amount: out, Server: v.p.Name, Had: before.Had, Whole: leaves}
	if t.ready(v) {
		o.Had = max(o.Had, t.weightOf(v))
	}
	t.m.Out = append(rest, o)
	return true
}

// withoutLast takes out the last time that the server left.
func withoutLast(out []OutPoint, server string) ([]OutPoint, OutPoint) {
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].Whole && out[i].Server == server {
			return slices.Concat(out[:i], out[i+1:]), out[i]
		}
	}
	return out, OutPoint{}
}

// account is what the limit on a minute is measured by, in workers.
type account struct {
	// gone has left within the last minute, before is what there would be now if it had not, largest the largest server of it.
	gone, before, largest float64
}

// account adds up what left within the last minute.
func (t *turn) account(out []OutPoint) account {
	var a account
	for _, o := range out {
		a.gone += o.Amount
	}
	for i := range t.servers {
		s, had := &t.servers[i], 0.0
		if t.ready(s) {
			had = t.weightOf(s)
		}
		for _, o := range t.m.Out {
			if o.Server == s.p.Name {
				had = max(had, o.Had)
			}
		}
		a.before += had
		a.largest = max(a.largest, had)
	}
	return a
}

// surplus of ready workers over the wanted number, on servers that are to stay; without a wanted number there is no end to it.
func (t *turn) surplus() float64 {
	if t.result == nil {
		return math.Inf(1)
	}
	ready := 0
	for i := range t.servers {
		if v := &t.servers[i]; v.m.Serve && v.m.Phase.InService() && t.ready(v) {
			ready += v.o.Pool.Ready
		}
	}
	return float64(ready - max(t.result.Workers, t.p.MinWorkers))
}

func (l *limiter) refuse(a account, others int, out float64, leaves bool) string {
	p := l.t.p
	if least := max(1, p.MinServers); leaves && others < least {
		return fmt.Sprintf("only %d other servers are in service, and %d must be", others, least)
	}
	if l.t.now.Sub(l.t.m.Since) < minute {
		return "the app has been seen for less than a minute, and what left before that is not known"
	}
	if leaves && l.t.p.Web && !l.t.o.Web.Known {
		return "nginx' file is not known"
	}
	// What leaves first always may: a server that is down is no part of the capacity, and yet may be the largest.
	if most := max(p.MaxOut*a.before, a.largest); a.gone > 0 && a.gone+out > most+1e-9 {
		return fmt.Sprintf("with it %.0f of %.0f workers would have left within a minute, and %.0f %% may (or one server)", a.gone+out, a.before, 100*p.MaxOut)
	}
	return ""
}

// inOrder sorts actions so that what adds capacity is carried out before what takes it away.
func inOrder(actions []Action) []Action {
	if len(actions) < 2 {
		return actions
	}
	out := make([]Action, 0, len(actions))
	for _, shrink := range []bool{false, true} {
		for _, a := range actions {
			if (a.Kind == Drain || a.Kind == Park) == shrink {
				out = append(out, a)
			}
		}
	}
	return out
}
