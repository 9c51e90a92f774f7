package core

import (
	"fmt"
	"math"
	"time"
)

// proposal is the next step of one server: the memory it leads to, the actions it takes, and the share of the capacity in
// service that leaves with it.
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
}

func (pr *proposal) act(t *turn, kind ActionKind, value int, format string, args ...any) {
	why := format
	if len(args) > 0 {
		why = fmt.Sprintf(format, args...)
	}
	a := Action{App: t.p.Name, Server: t.servers[pr.index].p.Name, Kind: kind, Value: value, Why: why}
	pr.steps = append(pr.steps, step{Action: a})
}

// to moves to a phase and notes since when.
func (pr *proposal) to(t *turn, phase Phase) {
	if pr.next.Phase != phase {
		pr.next.Phase, pr.next.Since = phase, t.now
	}
}

// lifecycle proposes the next step of each server from what was just observed. Where nothing is to be done or remembered there is no
// proposal.
func (t *turn) lifecycle() []proposal {
	out := t.space.proposals[:0]
	for i := range t.servers {
		v := &t.servers[i]
		if !v.met || v.foreign || t.p.Proxied && !v.o.Proxy.Known || t.held && !t.restoring(v) {
			continue
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
		if len(pr.steps) == 0 && !pr.leaves && pr.next == *v.m {
			out = out[:len(out)-1]
		}
	}
	t.space.proposals = out
	return out
}

func (t *turn) serveStep(v *view, pr *proposal) {
	ps := &v.o.Proxy
	switch {
	case !t.p.Proxied:
		if v.m.Phase.InService() || v.m.Phase == PhaseLeaving {
			pr.to(t, PhaseServing)
			t.setWorkers(v, pr)
		} else if t.bringIn(v, pr) {
			pr.to(t, PhaseServing)
		}
	case ps.Admin == AdminReady:
		t.inService(v, pr)
	case ps.Admin == AdminDrain:
		if ps.Checked && !ps.Up {
			pr.to(t, PhaseChecking)
			return
		}
		t.admit(v, pr, Ready, "the server has passed its check")
	case t.restoring(v):
		pr.to(t, PhaseServing)
		pr.next.Step, pr.next.Weight, pr.next.Seen, pr.next.Human = len(t.p.Ramp), t.fullWeight(v), false, false
		pr.act(t, Ready, pr.next.Weight, "HAProxy has restarted and the server was in service")
		t.reason(CodeRestored, v.p.Name, nil, "HAProxy lost its run-time state (process %s): %s is put back into service", t.o.Proxy.Process, v.p.Name)
	default:
		if !t.bringIn(v, pr) {
			return
		}
		if !ps.Checked {
			t.admit(v, pr, Ready, "the workers are up and warm")
			return
		}
		pr.to(t, PhaseChecking)
		pr.next.Weight, pr.next.Seen, pr.next.Human = t.rampWeight(v, 0), false, false
		pr.act(t, Enter, pr.next.Weight, "the workers are up and warm; HAProxy checks the server before it gets traffic")
	}
}

// bringIn takes a server from parked to warm, one step a turn, and tells when it is ready for traffic.
func (t *turn) bringIn(v *view, pr *proposal) bool {
	if v.m.Phase != PhaseWarming {
		pr.to(t, PhaseStarting)
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
		pr.to(t, PhaseWarming)
		pr.act(t, Warm, 0, "the workers are up; the first request must be ours")
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
		pr.act(t, Warm, 0, "the workers are up; the first request must be ours")
	}
	return false
}

// giveUp sends a server back that has not come into service for a long time, so that another one can be tried.
func (t *turn) giveUp(v *view, pr *proposal) {
	phase := pr.next.Phase
	waiting := phase == PhaseStarting || phase == PhaseWarming || phase == PhaseChecking
	if v.p.AlwaysUp || !waiting || t.now.Sub(pr.next.Since) < 4*t.p.StartDeadline {
		return
	}
	t.reason(CodeStartFailed, v.p.Name, map[string]float64{"waited_s": t.now.Sub(pr.next.Since).Seconds(), "retry_after_s": t.p.RetryAfter.Seconds()},
		"%s has been %s for %v without coming into service: it is sent back and not tried again for %v", v.p.Name, phase, t.now.Sub(pr.next.Since).Round(time.Second), t.p.RetryAfter)
	pr.steps = nil
	t.unwantProposed(v, pr)
	if v.o.Proxy.Admin == AdminDrain {
		pr.to(t, PhaseDraining)
	}
}

func (t *turn) unwantProposed(v *view, pr *proposal) {
	pr.next.Serve, pr.next.Workers, pr.next.FailedAt = false, v.p.ParkedWorkers, t.now
	pr.to(t, PhaseParked)
}

// admit lets traffic in, with the first weight of the ramp.
func (t *turn) admit(v *view, pr *proposal, kind ActionKind, why string) {
	pr.to(t, PhaseRamping)
	pr.next.Step = 1
	pr.next.Weight, pr.next.Seen, pr.next.Human = t.rampWeight(v, 0), false, false
	pr.act(t, kind, pr.next.Weight, "%s", why)
}

// inService follows the ramp, then the number of ready workers, and leaves a weight alone that a human has set.
func (t *turn) inService(v *view, pr *proposal) {
	ps, m := &v.o.Proxy, &pr.next
	if !m.Phase.InService() {
		pr.to(t, PhaseServing)
		m.Step = len(t.p.Ramp)
	}
	switch {
	case ps.Weight == m.Weight:
		m.Seen, m.Human = true, false
	case m.Seen && !m.Human:
		m.Human = true
		t.reason(CodeForeign, v.p.Name, map[string]float64{"weight": float64(ps.Weight), "ordered": float64(m.Weight)}, "%s has weight %d where tidegate had set %d: a human changed it, the weight is left alone", v.p.Name, ps.Weight, m.Weight)
	}
	t.setWorkers(v, pr)
	if m.Human {
		return
	}
	want := t.rampWeight(v, m.Step)
	if m.Step < len(t.p.Ramp) && m.Seen {
		m.Step++
	}
	if m.Step >= len(t.p.Ramp) {
		pr.to(t, PhaseServing)
	}
	// Small changes of the worker count are not worth a command.
	if m.Seen && m.Step >= len(t.p.Ramp) && math.Abs(float64(want-ps.Weight)) <= 0.05*float64(ps.Weight) {
		return
	}
	if want != ps.Weight {
		m.Weight, m.Seen = want, false
		pr.act(t, SetWeight, want, "the weight follows the ramp and the ready workers")
	}
}

// fullWeight is the policy's weight in the proportion of ready workers to the largest server of the app.
func (t *turn) fullWeight(v *view) int {
	if !v.p.Managed {
		return t.p.Weight
	}
	if !v.o.Pool.Known || v.o.Pool.Ready == 0 {
		return max(1, v.m.Weight)
	}
	return min(256, max(1, int(math.Round(float64(t.p.Weight)*float64(v.o.Pool.Ready)/float64(t.largest)))))
}

func (t *turn) rampWeight(v *view, step int) int {
	full := t.fullWeight(v)
	if step >= len(t.p.Ramp) {
		return full
	}
	return max(1, full*t.p.Ramp[step]/100)
}

// setWorkers tells the agent the wanted number when it has another one.
func (t *turn) setWorkers(v *view, pr *proposal) {
	if !v.p.Managed || !v.o.Pool.Known || pr.next.Workers < 1 || v.o.Pool.Target == pr.next.Workers {
		return
	}
	pr.act(t, SetWorkers, pr.next.Workers, "%d workers run, %d are wanted", v.o.Pool.Total, pr.next.Workers)
	if less := v.o.Pool.Ready - pr.next.Workers; less > 0 && v.m.Phase.InService() {
		pr.steps[len(pr.steps)-1].out = float64(less)
	}
}

// capacity in service: ready workers, or servers where workers are not managed.
func (t *turn) capacity() float64 {
	sum := 0.0
	for i := range t.servers {
		if v := &t.servers[i]; v.m.Phase.InService() && !v.foreign {
			sum += t.weightOf(v)
		}
	}
	return sum
}

func (t *turn) weightOf(v *view) float64 {
	if v.p.Managed && v.o.Pool.Known {
		return math.Max(1, float64(v.o.Pool.Ready))
	}
	return math.Max(1, float64(v.m.Workers))
}

func (t *turn) parkStep(v *view, pr *proposal) {
	ps := &v.o.Proxy
	inWeb := t.p.Web && (!t.o.Web.Known || t.o.Web.Weights[v.p.Name] > 0)
	switch {
	case !t.p.Proxied:
		if v.m.Phase.InService() {
			t.leave(v, pr)
			return
		}
		if inWeb && v.m.Phase != PhaseParked {
			return
		}
		pr.to(t, PhaseParked)
		t.setWorkers(v, pr)
	case ps.Admin == AdminReady:
		if v.m.Phase != PhaseLeaving {
			t.leave(v, pr)
			return
		}
		if inWeb {
			return
		}
		pr.to(t, PhaseDraining)
		pr.next.Empty = 0
		pr.act(t, Drain, 0, "the server is no longer needed and gets no new requests")
	case ps.Admin == AdminDrain:
		t.drainStep(v, pr)
	case ps.Weight > 0:
		pr.to(t, PhaseParking)
		pr.act(t, Park, 0, "maintenance with weight 0 is the mark of a server parked by tidegate")
	default:
		pr.to(t, PhaseParked)
		if ps.Current == 0 && !inWeb {
			t.setWorkers(v, pr)
		}
	}
}

// leave begins a server's way out: nginx goes first. It is the step that takes capacity away, so the limiter weighs it.
func (t *turn) leave(v *view, pr *proposal) {
	pr.to(t, PhaseLeaving)
	pr.leaves = true
	pr.out = t.weightOf(v)
}

// drainStep parks a draining server once nothing has been running on it twice in a row, or at the deadline: maintenance
// cuts no running request, and the workers are only told after the last one has ended.
func (t *turn) drainStep(v *view, pr *proposal) {
	pr.to(t, PhaseDraining)
	if v.o.Proxy.Current+v.o.Proxy.Queued > 0 {
		pr.next.Empty = 0
	} else {
		pr.next.Empty++
	}
	waited := t.now.Sub(pr.next.Since)
	switch {
	case pr.next.Empty >= 2:
		pr.to(t, PhaseParking)
		pr.act(t, Park, 0, "no request is left on the server")
	case t.p.DrainDeadline > 0 && waited >= t.p.DrainDeadline:
		pr.to(t, PhaseParking)
		pr.act(t, Park, 0, "%d requests are still running after %v; maintenance lets them end", v.o.Proxy.Current, t.p.DrainDeadline)
	}
}
