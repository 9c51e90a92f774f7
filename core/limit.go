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
	// nginx may take its time: what it still has leaves when it follows, so that has to be in order then.
	for i := range t.servers {
		if v := &t.servers[i]; t.p.Web && !v.foreign && v.m.Phase == PhaseLeaving && !v.m.Serve && t.inWeb(v) {
			v.stays = !l.passes(v, t.weightOf(v), wholeAgain)
		}
	}
	actions := room(proposals)
	for i := range proposals {
		pr := &proposals[i]
		v := &t.servers[pr.index]
		if pr.leaves && !l.passes(v, pr.out, whole) {
			pr.stay(v)
		}
		l.takeOut(v, pr)
		v.commit(pr)
		actions = l.steps(actions, v, pr)
	}
	t.m.Limited = l.limited
	return inOrder(actions)
}

// takeOut weighs the end of the traffic from HAProxy to a server that has been let go: on each instance by itself.
func (l *limiter) takeOut(v *view, pr *proposal) {
	for k := range v.fronts {
		f := &v.fronts[k]
		ends := func(s step) bool {
			return s.Proxy == f.at.Name && (s.Kind == Drain || s.Kind == Park || s.Kind == Enter)
		}
		// One that is only to be elsewhere, and gets no requests where it is, has nothing to lose.
		if !f.o.Known || f.o.Admin != AdminReady || v.m.Serve && !f.o.Up || !slices.ContainsFunc(pr.steps, ends) {
			continue
		}
		w := whole
		if f.m.Phase == PhaseLeaving || slices.Contains(l.left, v) {
			w = wholeAgain
		}
		if l.passes(v, l.t.weightOf(v), w) {
			continue
		}
		f.next = f.m
		pr.steps = slices.DeleteFunc(pr.steps, ends)
	}
}

// steps appends the actions of a proposal that may be taken now.
func (l *limiter) steps(actions []Action, v *view, pr *proposal) []Action {
	last := true
	for _, s := range pr.steps {
		switch {
		case s.out > 0 && s.booked:
			last = l.passes(v, s.out, workersAgain)
		case s.out > 0:
			if s.Kind == SetWorkers {
				l.shorten(v, &s)
			}
			last = l.passes(v, s.out, workers)
		case !s.with:
			actions = v.take(actions, &s)
			continue
		}
		if last || s.Kind == SetMaxConn && l.keepsWorkers(v, &s) {
			actions = v.take(actions, &s)
		}
	}
	return actions
}

// shorten lets as many of a server's workers leave as may, where not all may; the rest is proposed again in the next turn. It is for the order to
// the agent alone: a maxconn is in other units, and the workers that follow it were weighed with it.
func (l *limiter) shorten(v *view, s *step) {
	a := l.t.account(l.t.m.Out)
	may := math.Min(l.surplus, l.t.most(a)-a.gone)
	whole := float64(max(1, v.o.Pool.Step))
	may = whole * math.Floor(may/whole+1e-9)
	if a.gone > 0 && may > 0 && may < s.out {
		s.Why += fmt.Sprintf(", and %.0f may leave now", may)
		s.Value += int(s.out - may)
		s.out = may
	}
}

// take appends a step's action.
func (v *view) take(actions []Action, s *step) []Action {
	if s.Kind == SetWorkers {
		v.told = s.Value
	}
	return append(actions, s.Action)
}

// keepsWorkers makes of a maxconn for fewer workers, which may not leave yet, one for those that are ready; false when HAProxy
// has that.
func (l *limiter) keepsWorkers(v *view, s *step) bool {
	s.Value = max(1, v.o.Pool.Ready) * l.t.p.MaxConnPerWorker
	for k := range v.fronts {
		if f := &v.fronts[k]; f.at.Name == s.Proxy {
			f.m.MaxConn, f.m.MaxSeen = int32(s.Value), f.o.MaxConn == s.Value
			v.sum()
			return !f.m.MaxSeen
		}
	}
	return false
}

// what leaves.
type what int

const (
	// workers of a server that stays; workersAgain: HAProxy has been told of it, and now the agent is.
	workers what = iota
	workersAgain
	// whole: a server with all its workers. wholeAgain: it has been let go, and now nginx or HAProxy follows. What follows may do
	// so much later, and counts from then on.
	whole
	wholeAgain
)

// inWeb tells whether nginx may send requests to a server.
func (t *turn) inWeb(v *view) bool { return !t.o.Web.Known || t.o.Web.Weights[v.p.Name] > 0 }

// ready tells whether a server takes requests now, as HAProxy and its agent say; without HAProxy, nginx' verified file; without
// both, as far as we have let it.
func (t *turn) ready(v *view) bool {
	switch {
	case v.foreign || v.p.Managed && (!v.o.Pool.Known || v.o.Pool.Ready == 0):
		return false
	case t.p.Proxied:
		return slices.ContainsFunc(v.fronts, front.ready)
	case t.p.Web:
		return t.o.Web.Known && t.o.Web.Weights[v.p.Name] > 0
	}
	return v.m.Phase.InService()
}

// ready tells whether the instance sends requests to the server.
func (f front) ready() bool {
	return !f.foreign && f.o.Known && f.o.Admin == AdminReady && f.o.Up && f.o.Weight > 0
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
	t *turn
	// left are the servers that leave in this turn, or an instance of which does.
	left []*view
	// surplus is how many more workers are ready on the servers that stay than are wanted.
	surplus float64
	limited bool
}

// others is how many other servers that stay take requests: where there are several HAProxy instances, on the one of those it
// leaves where they are fewest.
func (l *limiter) others(than *view) int {
	t := l.t
	count := func(k int) int {
		n := 0
		for i := range t.servers {
			v := &t.servers[i]
			if v != than && !slices.Contains(l.left, v) && v.m.Serve && v.m.Phase.InService() && t.ready(v) && (k < 0 || v.fronts[k].ready()) {
				n++
			}
		}
		return n
	}
	least := -1
	for k := range than.fronts {
		if than.fronts[k].ready() {
			if n := count(k); least < 0 || n < least {
				least = n
			}
		}
	}
	if least < 0 {
		return count(-1)
	}
	return least
}

// passes tells whether an amount of capacity may leave now, and books it.
func (l *limiter) passes(v *view, out float64, w what) bool {
	t, leaves := l.t, w == whole || w == wholeAgain
	// A server that goes for its address, and comes back, was let go while there were enough workers; without its own there are not.
	elsewhere := w == wholeAgain && v.m.Serve
	if t.hold != "" || leaves && l.surplus < 0 && !elsewhere || !leaves && out > l.surplus {
		return false
	}
	rest, before := t.m.Out, OutPoint{}
	if w == workersAgain || w == wholeAgain {
		// Workers that it has lost on its own since then do not make less of what left.
		rest, before = withoutLast(t.m.Out, v.p.Name, leaves)
		out = max(out, before.Amount)
	}
	a, others := t.account(rest), l.others(v)
	if why := l.refuse(a, others, out, leaves); why != "" {
		if !t.m.Limited && !l.limited {
			t.reason(CodeLimited, v.p.Name, map[string]float64{"out": round2(out), "gone": round2(a.gone), "capacity": round2(a.before), "max_out": t.p.MaxOut, "serving": float64(others)}, "%s is held back: %s", v.p.Name, why)
		}
		l.limited = true
		return false
	}
	if leaves {
		l.left = append(l.left, v)
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

// withoutLast takes out the last time that the server, or workers of it, left.
func withoutLast(out []OutPoint, server string, whole bool) ([]OutPoint, OutPoint) {
	for i := len(out) - 1; i >= 0; i-- {
		if out[i].Whole == whole && out[i].Server == server {
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

// most is how much may leave within a minute, in workers.
func (t *turn) most(a account) float64 { return max(t.p.MaxOut*a.before, a.largest) }

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
	if a.gone > 0 && a.gone+out > l.t.most(a)+1e-9 {
		return fmt.Sprintf("with it %.0f of %.0f workers would have left within a minute, and %.0f %% may (or one server)", a.gone+out, a.before, 100*p.MaxOut)
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

func shrinks(k ActionKind) bool { return k == Drain || k == Park || k == Cut || k == Delete }

// byShrinking puts what takes capacity away behind the rest.
func byShrinking(a, b Action) int {
	x, y := shrinks(a.Kind), shrinks(b.Kind)
	switch {
	case x == y:
		return 0
	case y:
		return -1
	default:
		return 1
	}
}
