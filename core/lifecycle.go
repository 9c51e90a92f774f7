package core

import (
	"fmt"
	"math"
	"time"
)

// proposal is the next step of one server: the memory it leads to (with the fronts' next lives), the actions it takes, and the
// share of the capacity in service that leaves with it.
type proposal struct {
	index int
	next  ServerMemory
	steps []step
	// leaves: the server stops taking requests and takes this much of the capacity in service with it.
	leaves bool
	out    float64
}

// step is an action and how much of the capacity in service it takes away, in workers.
type step struct {
	Action
	out float64
	// booked: the amount was accounted for by an earlier step. with: it is taken or left with the last step that had an amount.
	booked, with bool
}

// act orders a step, on a HAProxy instance or, when f is nil, for the server.
func (pr *proposal) act(t *turn, f *front, kind ActionKind, value int, format string, args ...any) {
	why := format
	if len(args) > 0 {
		why = fmt.Sprintf(format, args...)
	}
	a := Action{App: t.p.Name, Server: t.servers[pr.index].p.Name, Kind: kind, Value: value, Why: why}
	if f != nil {
		a.Proxy = f.at.Name
	}
	pr.steps = append(pr.steps, step{Action: a})
}

// lifecycle proposes the next step of each server from what was just observed. Where nothing is to be done or remembered there is no
// proposal.
func (t *turn) lifecycle() []proposal {
	out := t.space.proposals[:0]
	for i := range t.servers {
		v := &t.servers[i]
		if t.p.Dynamic && !v.gone {
			if pr := t.addMissing(i, v); len(pr.steps) > 0 {
				out = append(out, pr)
				continue
			}
		}
		if !v.met || v.foreign || t.p.Proxied && !v.known() || t.held && !t.anyRestoring(v) {
			continue
		}
		for k := range v.fronts {
			v.fronts[k].next = v.fronts[k].m
		}
		out = append(out, proposal{})
		pr := &out[len(out)-1]
		pr.index, pr.next, pr.steps = i, *v.m, t.space.steps[usualSteps*i:usualSteps*i:usualSteps*(i+1)]
		if v.m.Serve {
			t.serveStep(v, pr)
			t.giveUp(v, pr)
		} else {
			t.parkStep(v, pr)
		}
		if len(pr.steps) == 0 && !pr.leaves && pr.next == *v.m && !v.moved() {
			out = out[:len(out)-1]
		}
	}
	t.space.proposals = out
	return out
}

// moved tells that a proposal leads to another life on an instance.
func (v *view) moved() bool {
	for i := range v.fronts {
		if v.fronts[i].next != v.fronts[i].m {
			return true
		}
	}
	return false
}

// commit makes a proposal's memory the server's.
func (v *view) commit(pr *proposal) {
	*v.m = pr.next
	for i := range v.fronts {
		v.fronts[i].m = v.fronts[i].next
	}
	v.sum()
}

// stay takes back that the server leaves; what it does on instances where it is out already goes on.
func (pr *proposal) stay(v *view) {
	if len(v.fronts) == 0 {
		pr.next = *v.m
	}
	for i := range v.fronts {
		if f := &v.fronts[i]; f.next.Phase == PhaseLeaving {
			f.next = f.m
		}
	}
}

func (t *turn) serveStep(v *view, pr *proposal) {
	if !t.p.Proxied {
		if v.m.Phase.InService() || v.m.Phase == PhaseLeaving {
			pr.next.to(PhaseServing, t.now)
			t.setWorkers(v, pr)
		} else if t.bringIn(v, pr) {
			pr.next.to(PhaseServing, t.now)
		}
		return
	}
	waits, in := false, false
	for i := range v.fronts {
		in = in || t.acts(v, &v.fronts[i]) && v.fronts[i].o.Admin == AdminReady
	}
	if in {
		t.setWorkers(v, pr)
	}
	for i := range v.fronts {
		switch f := &v.fronts[i]; {
		case !t.acts(v, f):
		case v.elsewhere(f):
			t.moveFront(v, f, pr)
		default:
			t.serveFront(v, f, pr)
			waits = waits || f.waits
		}
	}
	if !waits {
		return
	}
	// Workers that serve, or are about to, are up and warm on every instance.
	ready := v.warmElsewhere() || t.bringIn(v, pr)
	for i := range v.fronts {
		switch f := &v.fronts[i]; {
		case !f.waits:
		case ready:
			t.enter(v, f, pr)
		default:
			f.next.Phase, f.next.Since = pr.next.Phase, pr.next.Since
		}
	}
}

func (v *view) warmElsewhere() bool {
	for i := range v.fronts {
		f := &v.fronts[i]
		if f.o.Known && !f.waits && !f.foreign && (f.next.Phase.InService() || f.next.Phase == PhaseChecking) {
			return true
		}
	}
	return false
}

// bringIn takes a server's workers from parked to warm, one step a turn, and tells when they are ready for traffic.
func (t *turn) bringIn(v *view, pr *proposal) bool {
	if v.m.Phase != PhaseWarming {
		pr.next.to(PhaseStarting, t.now)
	}
	if v.p.Managed {
		pool := &v.o.Pool
		if !pool.Known {
			return false
		}
		t.setWorkers(v, pr)
		late := t.now.Sub(pr.next.Since) > t.p.StartDeadline
		if pool.Ready < v.m.Workers && (pool.Ready == 0 || !late) {
			return false
		}
	}
	if !v.p.Warm {
		return true
	}
	if v.m.Phase != PhaseWarming {
		pr.next.to(PhaseWarming, t.now)
		pr.act(t, nil, Warm, 0, "the workers are up; the first request must be ours")
		return false
	}
	switch v.o.Warm {
	case WarmOK:
		return true
	case WarmFailed:
		t.unwantProposed(v, pr)
		t.reason(CodeWarmFailed, v.p.Name, map[string]float64{"retry_after_s": t.p.RetryAfter.Seconds()}, "the warm-up request to %s failed: it stays out and is not tried again for %v", v.p.Name, t.p.RetryAfter)
	case WarmNone:
		// The request was ordered but never made (tidegate was restarted): order it again.
		pr.act(t, nil, Warm, 0, "the workers are up; the first request must be ours")
	}
	return false
}

// giveUp sends a server back that has not come into service for a long time, so that another one can be tried. One that serves
// through an instance stays, even when another instance does not find it healthy.
func (t *turn) giveUp(v *view, pr *proposal) {
	at := &pr.next.Life
	if len(v.fronts) > 0 {
		at = v.nearest((*front).nextLife)
	}
	phase, since := at.Phase, at.Since
	waiting := phase == PhaseStarting || phase == PhaseWarming || phase == PhaseChecking
	if v.p.AlwaysUp || !waiting || t.now.Sub(since) < 4*t.p.StartDeadline {
		return
	}
	t.reason(CodeStartFailed, v.p.Name, map[string]float64{"waited_s": t.now.Sub(since).Seconds(), "retry_after_s": t.p.RetryAfter.Seconds()},
		"%s has been %s for %v without coming into service: it is sent back and not tried again for %v", v.p.Name, phase, t.now.Sub(since).Round(time.Second), t.p.RetryAfter)
	pr.steps = nil
	t.unwantProposed(v, pr)
	for i := range v.fronts {
		f := &v.fronts[i]
		switch {
		case !t.acts(v, f):
		case f.o.Admin == AdminDrain:
			f.next.to(PhaseDraining, t.now)
		default:
			f.next.to(PhaseParked, t.now)
		}
	}
}

func (t *turn) unwantProposed(v *view, pr *proposal) {
	pr.next.Serve, pr.next.Workers, pr.next.FailedAt = false, v.p.ParkedWorkers, t.now
	pr.next.to(PhaseParked, t.now)
}

// fullWeight is the policy's weight in the proportion of ready workers to the largest server of the app.
func (t *turn) fullWeight(v *view) int {
	if !v.p.Managed {
		return t.p.Weight
	}
	if !v.o.Pool.Known || v.o.Pool.Ready == 0 {
		return max(1, v.lastWeight())
	}
	return min(256, max(1, int(math.Round(float64(t.p.Weight)*float64(v.o.Pool.Ready)/float64(t.largest)))))
}

// lastWeight is the highest weight that an instance was told last.
func (v *view) lastWeight() int {
	w := 0
	for i := range v.fronts {
		w = max(w, v.fronts[i].m.Weight)
	}
	return w
}

// rampEnd is the step after the last of the ramp.
func (t *turn) rampEnd() int16 { return int16(len(t.p.Ramp)) }

func (t *turn) rampWeight(v *view, step int16) int {
	full := t.fullWeight(v)
	if step >= t.rampEnd() {
		return full
	}
	return max(1, full*t.p.Ramp[step]/100)
}

// setWorkers tells the agent the wanted number when it has another one.
func (t *turn) setWorkers(v *view, pr *proposal) {
	if !v.p.Managed || !v.o.Pool.Known || pr.next.Workers < 1 && v.p.ParkedWorkers > 0 {
		return
	}
	if told := v.o.Pool.Ordered || v.o.Pool.Target > 0; told && v.o.Pool.Target == pr.next.Workers {
		return
	}
	if t.lowers(v) && !t.lowered(v) {
		return
	}
	pr.act(t, nil, SetWorkers, pr.next.Workers, "%d workers run, %d are wanted", v.o.Pool.Total, pr.next.Workers)
	if less := v.o.Pool.Ready - pr.next.Workers; less > 0 && (v.m.Phase.InService() || t.ready(v)) {
		last := &pr.steps[len(pr.steps)-1]
		last.out, last.booked = float64(less), t.lowers(v)
	}
}

// weightOf is what a server is worth while it is in service: its ready workers, or its size where workers are not managed.
func (t *turn) weightOf(v *view) float64 {
	if v.p.Managed && v.o.Pool.Known {
		return math.Max(1, float64(v.o.Pool.Ready))
	}
	return math.Max(1, float64(v.p.MaxWorkers))
}

// parkStep takes a server out of nginx, then out of each HAProxy instance by itself, and lets the workers go when no instance
// sends requests any more.
func (t *turn) parkStep(v *view, pr *proposal) {
	inWeb := t.p.Web && (!t.o.Web.Known || t.o.Web.Weights[v.p.Name] > 0)
	if !t.p.Proxied {
		if v.m.Phase.InService() {
			pr.next.to(PhaseLeaving, t.now)
			t.leave(v, pr)
			return
		}
		if inWeb && v.m.Phase != PhaseParked {
			return
		}
		pr.next.to(PhaseParked, t.now)
		t.setWorkers(v, pr)
		return
	}
	for i := range v.fronts {
		switch f := &v.fronts[i]; {
		case t.acts(v, f):
			t.parkFront(v, f, pr, inWeb)
		case !f.at.Known && f.at.Gone && f.m.Phase != PhaseParked:
			t.parkGone(f)
		}
	}
	if v.away() && !inWeb {
		t.setWorkers(v, pr)
	}
}

// leave begins a server's way out: nginx goes first. It is the step that takes capacity away, so the limiter weighs it.
func (t *turn) leave(v *view, pr *proposal) {
	pr.leaves = true
	pr.out = t.weightOf(v)
}
