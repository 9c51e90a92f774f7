package core

import (
	"math"
	"slices"
	"strings"
)

// front is a server on one HAProxy instance in a turn. Every instance lives through the states of a server by itself; what they
// share is the target and the workers.
type front struct {
	at *InstanceObs
	o  *ProxyServerObs
	m  Life
	// next is the life that the proposed step leads to.
	next Life
	// foreign: a human holds the server there.
	foreign bool
	// waits: the server is to go into service there and waits for its workers.
	waits bool
}

// proxies is what an app's HAProxy instances say in a turn.
type proxies struct {
	list []InstanceObs
	// all adds them up; it is known when one of them is.
	all ProxyObs
	// silent are the names of those that are not known, yet may send requests.
	silent []string
}

func (t *turn) askProxies() {
	if !t.p.Proxied {
		return
	}
	list := t.o.Proxies
	if len(list) == 0 {
		t.space.single[0] = InstanceObs{ProxyObs: t.o.Proxy}
		list = t.space.single[:]
	}
	t.proxies.list = list
	for i := range list {
		p := &list[i]
		switch {
		case p.Known:
			t.proxies.all.Known = true
			t.proxies.all.Current += p.Current
			t.proxies.all.Queued += p.Queued
		case !p.Gone:
			t.proxies.silent = append(t.proxies.silent, p.Name)
		}
	}
}

// roomForFronts takes the fronts of all servers from the scratch, so that their addresses stay.
func (t *turn) roomForFronts(servers int) {
	n := servers * len(t.proxies.list)
	t.space.fronts = slices.Grow(t.space.fronts[:0], n)[:n]
	t.space.seen = t.space.seen[:0]
	if len(t.o.Proxies) > 0 || t.p.WeightsElsewhere {
		t.space.seen = slices.Grow(t.space.seen, n)
	}
}

// fronts pairs what the instances say of the i-th server with what is remembered.
func (t *turn) fronts(i int, v *view) []front {
	n := len(t.proxies.list)
	out := t.space.fronts[i*n : (i+1)*n : (i+1)*n]
	for k := range out {
		at := &t.proxies.list[k]
		out[k] = front{at: at, o: &v.o.Proxy, m: v.life(at, n)}
		if len(t.o.Proxies) > 0 {
			t.space.seen = append(t.space.seen, at.Servers[v.p.Name])
			out[k].o = &t.space.seen[len(t.space.seen)-1]
			out[k].o.Known = out[k].o.Known && at.Known
		}
		if t.p.WeightsElsewhere {
			t.unweigh(&out[k])
		}
	}
	return out
}

// unweigh replaces a weight that the agent-check has set, which it does in maintenance too, by what it would be if tidegate's
// orders were the only ones: 0 on a server that tidegate has parked, the ordered one elsewhere.
func (t *turn) unweigh(f *front) {
	if !f.o.Known || f.m.Phase == "" {
		return
	}
	o := *f.o
	switch {
	case o.Admin != AdminMaint:
		o.Weight = max(1, f.m.Weight)
	case f.m.Phase.InService() || f.m.Phase == PhaseForeign:
		o.Weight = max(1, o.Weight)
	default:
		o.Weight = 0
	}
	t.space.seen = append(t.space.seen, o)
	f.o = &t.space.seen[len(t.space.seen)-1]
}

// life is what is remembered of the server on one of n instances. Where there is now one instance and there were several, or the
// other way round, the HAProxy process tells which life goes on.
func (v *view) life(at *InstanceObs, n int) Life {
	switch {
	case n == 1 && v.m.Proxies == nil:
		return v.m.Life
	case n == 1:
		for _, p := range *v.m.Proxies {
			if at.Known && p.Process == at.Process {
				return p.Life
			}
		}
		return v.m.Life
	case v.m.Proxies != nil:
		return v.m.On(at.Name)
	case at.Known && v.m.Process == at.Process:
		return v.m.Life
	}
	return Life{}
}

// nearness orders the phases by how near they are to service.
var nearness = map[Phase]int{
	PhaseServing: 10, PhaseRamping: 9, PhaseLeaving: 8, PhaseDraining: 7, PhaseChecking: 6, PhaseParking: 5, PhaseWarming: 4, PhaseStarting: 3,
	PhaseParked: 2, PhaseForeign: 1,
}

// nearest is the life nearest to service among those on instances that are known, or among all when none is; of equals the oldest.
func (v *view) nearest(of func(*front) *Life) *Life {
	if len(v.fronts) == 1 {
		return of(&v.fronts[0])
	}
	known := v.known()
	var best *Life
	for i := range v.fronts {
		f := &v.fronts[i]
		if known && !f.o.Known {
			continue
		}
		l := of(f)
		if best == nil || nearness[l.Phase] > nearness[best.Phase] || l.Phase == best.Phase && l.Since.Before(best.Since) {
			best = l
		}
	}
	return best
}

func (f *front) life() *Life     { return &f.m }
func (f *front) nextLife() *Life { return &f.next }

// sum makes the server's own life of its lives on the instances.
func (v *view) sum() {
	if len(v.fronts) == 0 {
		v.foreign = v.m.Phase == PhaseForeign
		return
	}
	l := v.nearest((*front).life)
	if len(v.fronts) == 1 {
		v.m.Life, v.foreign = *l, v.fronts[0].foreign
		return
	}
	v.m.Life = Life{Phase: l.Phase, Since: l.Since}
	v.foreign = l.Phase == PhaseForeign
}

// known tells whether HAProxy, one instance of it at least, says how the server stands.
func (v *view) known() bool {
	for i := range v.fronts {
		if v.fronts[i].o.Known {
			return true
		}
	}
	return false
}

// current is the number of requests in service on it, as far as they are known.
func (v *view) current() int {
	n := 0
	for i := range v.fronts {
		n += v.fronts[i].o.Current
	}
	return n
}

// allSeen tells that each instance says how the server stands, or sends it nothing.
func (v *view) allSeen() bool {
	for i := range v.fronts {
		if f := &v.fronts[i]; !f.o.Known && !f.at.Known && !f.at.Gone {
			return false
		}
	}
	return true
}

// away tells that no request comes to the server from an instance any more: it is parked there and empty, in a human's
// maintenance and empty, or not there at all. An instance that cannot be read may still send.
func (f *front) away() bool {
	switch {
	case f.o.Known:
		return f.o.Admin == AdminMaint && f.o.Current == 0 && (f.next.Phase == PhaseParked || f.foreign)
	case f.at.Known:
		return true
	}
	// Requests that ran on when it was parked may run still, unless it was seen empty.
	return f.next.Phase == PhaseParked && f.next.Empty > 0
}

func (v *view) away() bool {
	for i := range v.fronts {
		if !v.fronts[i].away() {
			return false
		}
	}
	return true
}

// named is the server's name in a sentence, with the instance where there are several.
func (v *view) named(f *front) string {
	if f.at.Name == "" {
		return v.p.Name
	}
	return v.p.Name + " on " + f.at.Name
}

// there limits a sentence to one of several instances.
func (v *view) there() string {
	if len(v.fronts) > 1 {
		return " there"
	}
	return ""
}

// remember puts the lives on several instances into the server's memory.
func (v *view) remember() {
	if len(v.fronts) < 2 {
		v.m.Proxies = nil
		return
	}
	if old := v.m.Proxies; old != nil && len(*old) == len(v.fronts) {
		same := true
		for i := range v.fronts {
			same = same && (*old)[i].Name == v.fronts[i].at.Name && (*old)[i].Life == v.fronts[i].m
		}
		if same {
			return
		}
	}
	lives := make(ProxyLives, len(v.fronts))
	for i := range v.fronts {
		lives[i] = ProxyLife{v.fronts[i].at.Name, v.fronts[i].m}
	}
	v.m.Proxies = &lives
}

// acts tells whether steps may be ordered for a server on an instance.
func (t *turn) acts(v *view, f *front) bool {
	return f.o.Known && !f.foreign && (!t.held || t.restoring(v, f))
}

// serveFront takes a server one step towards service on an instance. Where that step needs the workers, the front waits.
func (t *turn) serveFront(v *view, f *front, pr *proposal) {
	switch {
	case f.o.Admin == AdminReady:
		t.inService(v, f, pr)
	case f.o.Admin == AdminDrain:
		if f.o.Checked && !f.o.Up {
			f.next.to(PhaseChecking, t.now)
			return
		}
		// It gets no request before HAProxy is known to give it no more than its workers can take.
		if t.setMaxConn(v, f, pr) {
			t.admit(v, f, pr, Ready, "the server has passed its check")
		}
	case t.restoring(v, f):
		f.next.MaxSeen, f.next.MaxHuman = false, false
		t.setMaxConn(v, f, pr)
		f.next.to(PhaseServing, t.now)
		f.next.Step, f.next.Weight, f.next.Seen, f.next.Human = t.rampEnd(), t.fullWeight(v), false, false
		pr.act(t, f, Ready, f.next.Weight, "HAProxy has restarted and the server was in service")
		t.reason(CodeRestored, v.p.Name, nil, "HAProxy lost its run-time state (process %s): %s is put back into service", f.at.Process, v.named(f))
	default:
		f.waits = true
	}
}

// enter brings a server with warm workers in on an instance.
func (t *turn) enter(v *view, f *front, pr *proposal) {
	// In one batch, and before the server gets any request.
	t.setMaxConn(v, f, pr)
	f.next.Late = false
	if !f.o.Checked {
		t.admit(v, f, pr, Ready, "the workers are up and warm")
		return
	}
	f.next.to(PhaseChecking, t.now)
	f.next.Weight, f.next.Seen, f.next.Human = t.rampWeight(v, 0), false, false
	pr.act(t, f, Enter, f.next.Weight, "the workers are up and warm; HAProxy checks the server before it gets traffic")
}

// admit lets traffic in, with the first weight of the ramp.
func (t *turn) admit(v *view, f *front, pr *proposal, kind ActionKind, why string) {
	f.next.to(PhaseRamping, t.now)
	f.next.Step = 1
	f.next.Weight, f.next.Seen, f.next.Human = t.rampWeight(v, 0), false, false
	pr.act(t, f, kind, f.next.Weight, "%s", why)
}

// inService follows the ramp, then the number of ready workers, and leaves a weight alone that a human has set.
func (t *turn) inService(v *view, f *front, pr *proposal) {
	ps, m := f.o, &f.next
	if !m.Phase.InService() {
		m.to(PhaseServing, t.now)
		m.Step = t.rampEnd()
	}
	t.setMaxConn(v, f, pr)
	if t.p.WeightsElsewhere {
		m.Step, m.Seen, m.Human = t.rampEnd(), true, false
		m.to(PhaseServing, t.now)
		return
	}
	switch {
	case ps.Weight == m.Weight:
		if m.Human {
			t.reason(CodeForeignOver, v.p.Name, nil, "%s has the weight again that tidegate had set: it follows the ramp and the ready workers from now on", v.named(f))
		}
		m.Seen, m.Human, m.HumanWeight = true, false, 0
	case m.Human:
		m.HumanWeight = int16(ps.Weight)
	case m.Seen:
		m.Human, m.HumanWeight = true, int16(ps.Weight)
		t.reason(CodeForeign, v.p.Name, map[string]float64{"weight": float64(ps.Weight), "ordered": float64(m.Weight)}, "%s has weight %d where tidegate had set %d: a human changed it, the weight is left alone", v.named(f), ps.Weight, m.Weight)
	}
	if m.Human {
		return
	}
	want := t.rampWeight(v, m.Step)
	if m.Step < t.rampEnd() && m.Seen {
		m.Step++
	}
	if m.Step >= t.rampEnd() {
		m.to(PhaseServing, t.now)
	}
	// Small changes of the worker count are not worth a command.
	if m.Seen && m.Step >= t.rampEnd() && math.Abs(float64(want-ps.Weight)) <= 0.05*float64(ps.Weight) {
		return
	}
	if want != ps.Weight {
		m.Weight, m.Seen = want, false
		pr.act(t, f, SetWeight, want, "the weight follows the ramp and the ready workers")
	}
}

// parkFront takes a server one step out of service on an instance. inWeb: nginx may still send requests to it.
func (t *turn) parkFront(v *view, f *front, pr *proposal, inWeb bool) {
	switch ps := f.o; {
	case ps.Admin == AdminReady:
		if f.m.Phase != PhaseLeaving {
			f.next.to(PhaseLeaving, t.now)
			t.leave(v, pr)
			return
		}
		if inWeb {
			return
		}
		f.next.to(PhaseDraining, t.now)
		f.next.Empty, f.next.Late = 0, false
		if v.m.Serve {
			pr.act(t, f, Drain, 0, "HAProxy has it at %s, the configuration at %s", f.o.Address, v.p.Address)
			return
		}
		pr.act(t, f, Drain, 0, "the server is no longer needed and gets no new requests")
	case ps.Admin == AdminDrain:
		t.drainStep(v, f, pr)
	case ps.Weight > 0:
		f.next.to(PhaseParking, t.now)
		pr.act(t, f, Park, 0, "maintenance with weight 0 is the mark of a server parked by tidegate")
	default:
		f.next.to(PhaseParked, t.now)
		// Whatever maxconn it has when it comes back is nobody's order.
		f.next.MaxSeen, f.next.MaxHuman = false, false
		switch {
		case ps.Current > 0:
			f.next.Empty = 0
		case f.next.Empty == 0 && len(v.fronts) > 1:
			f.next.Empty = 1
		}
		switch {
		case f.next.Late && t.p.DrainThen == ThenCut && ps.Current > 0:
			pr.act(t, f, Cut, 0, "%d requests are still on the server, and its sessions may be ended", ps.Current)
		case v.gone && ps.Current+ps.Queued == 0:
			pr.act(t, f, Delete, 0, "tidegate added it, and the configuration no longer has it")
		case v.elsewhere(f):
			t.setAddress(v, f, pr)
		}
	}
}

// parkGone takes a server out on an instance where no process listens, once that was seen twice in a row: whatever process comes
// next begins with its configuration.
func (t *turn) parkGone(f *front) {
	f.next.Empty++
	if f.next.Empty >= 2 {
		f.next = Life{Phase: PhaseParked, Since: t.now, Empty: 1}
	}
}

// drainStep parks a draining server once nothing has been running on it twice in a row, and does at the deadline what the policy
// says. Maintenance cuts no running request, and the workers are only told after the last one has ended.
func (t *turn) drainStep(v *view, f *front, pr *proposal) {
	f.next.to(PhaseDraining, t.now)
	if f.o.Current+f.o.Queued > 0 {
		f.next.Empty = 0
	} else {
		f.next.Empty++
	}
	waited := t.now.Sub(f.next.Since)
	switch {
	case f.next.Empty >= 2:
		f.next.to(PhaseParking, t.now)
		pr.act(t, f, Park, 0, "no request is left on the server")
	case t.p.DrainDeadline > 0 && waited >= t.p.DrainDeadline:
		t.drainLate(v, f, pr)
	}
}

// drainLate is the choice at the drain deadline.
func (t *turn) drainLate(v *view, f *front, pr *proposal) {
	after, first := t.p.DrainDeadline, !f.next.Late
	f.next.Late = true
	numbers := map[string]float64{"running": float64(f.o.Current), "deadline_s": after.Seconds()}
	switch t.p.DrainThen {
	case ThenWait:
		if first {
			t.reason(CodeDrainLate, v.p.Name, numbers, "%s still has %d requests after %v of draining, sticky clients perhaps: it drains on until it is empty", v.named(f), f.o.Current, after)
		}
		return
	case ThenCut:
		if first {
			t.reason(CodeDrainLate, v.p.Name, numbers, "%s still has %d requests after %v of draining: it goes into maintenance and its sessions are ended", v.named(f), f.o.Current, after)
		}
	}
	f.next.to(PhaseParking, t.now)
	pr.act(t, f, Park, 0, "%d requests are still running after %v; sticky clients go elsewhere from now on", f.o.Current, after)
}

// names joins names for a sentence.
func names(list []string) string {
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return strings.Join(list, "")
}
