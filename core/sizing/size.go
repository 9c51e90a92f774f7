package sizing

import (
	"math"
	"slices"
)

// Size says how many workers an app is to have in service, and why. It does not change its arguments.
func Size(p Policy, m Memory, o Observation) (Result, Memory) {
	m = m.Clone()
	var r Result
	s := see(&p, &m, &o)
	absurd := m.History.add(s.told(), s.Now)
	bad := s.judgeData(&r, absurd)
	// Requests that end in errors are counted as well as others: what arrives may need more workers.
	s.trusted, s.usual = bad == "" || bad == CodeErrorStorm, bad == ""
	s.first(&r)
	r.Before = m.Workers
	s.measure()
	s.lost(&r)
	m.Lead.see(int(s.Ready), m.Workers, s.Fresh, s.Now)
	want, lasting, frozen := s.want(&r, bad)
	s.settle(&r, want, lasting, frozen)
	s.flapping(&r)
	r.Trace = s.trace
	slices.Sort(r.Alarms)
	r.Alarms = slices.Compact(r.Alarms)
	return r, m
}

// see sums up the nodes.
func see(p *Policy, m *Memory, o *Observation) *State {
	s := &State{Policy: p, Obs: o, Memory: m, Now: o.Now.Unix(), every: 1}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		// One that serves and does not tell how many are busy: what the others tell is not all.
		s.partly = s.partly || n.Up && (!n.Known || n.absurd() || !n.BusyKnown && n.Ready > 0)
		if !n.Known || !n.Up || n.absurd() {
			continue
		}
		s.Ready += float64(n.Ready)
		s.Starting += float64(n.Starting)
		if !n.OldFirst {
			s.OnTheWay += float64(n.Starting)
		}
		s.Fresh = s.Fresh || n.Fresh
		if n.BusyKnown {
			s.Busy += n.Busy
			s.BusyKnown = true
		}
	}
	if q := o.Queued; q > 0 && q < 1e9 {
		s.Queued = q
	}
	return s
}

// told are the seconds, with the workers that are busy now where nobody told the busy integral and all that serve tell theirs.
func (s *State) told() []Second {
	if !s.Obs.Traffic {
		return nil
	}
	if !s.BusyKnown || s.partly {
		return s.Obs.Seconds
	}
	seconds := slices.Clone(s.Obs.Seconds)
	for i := range seconds {
		if seconds[i].Busy == nil {
			if s.Memory.Seen > 0 {
				s.every = math.Max(1, math.Min(pause, float64(s.Now-s.Memory.Seen)))
			}
			busy := s.Busy * float64(max(1, seconds[i].Span))
			seconds[i].Busy = &busy
		}
	}
	return seconds
}

// pause is how long nothing may have been observed before it counts as a restart.
const pause = 120

// first takes over the present number at first sight, and makes it the floor again after a long pause.
func (s *State) first(r *Result) {
	m := s.Memory
	if m.Workers == 0 {
		m.Workers, m.Since = s.clamp(int(s.Ready+s.Starting)), s.Obs.Now
		r.event(CodeStart, map[string]float64{"workers": float64(m.Workers)}, "%d workers are taken over; nothing shrinks until enough is known", m.Workers)
	} else if m.Data.Problem == "" && m.Seen > 0 && s.Now-m.Seen > pause {
		m.Since = s.Obs.Now
	}
	// The policy may have other bounds than when the number was decided.
	m.Workers = s.clamp(m.Workers)
	m.Seen = s.Now
}

// measure estimates service time, lead time and load.
func (s *State) measure() {
	m, h := s.Memory, &s.Memory.History
	s.Lead = m.Lead.seconds(s.Policy.LeadTime.Seconds())
	s.Service = m.Service.estimate(h, s.Ready, s.Policy.Erlang.CV, s.every)
	if five := h.over(5, 0); five.t > 0 {
		s.Wait = five.w / five.t
	}
	s.load = h.arrivals(s.Lead)
	m.Guard.returning(&s.load)
	if !s.usual {
		return
	}
	share := 0.0
	if s.Ready > 0 {
		share = s.Busy / s.Ready
	}
	minute := h.over(60, 0)
	m.Service.learn(s.Now, s.Service, share, s.Queued >= 1, minute.x)
	if m.Guard.Until > 0 {
		// What comes back is for the guard to provide for: no sample reaches into it.
		m.Growth.At = s.Now + int64(math.Ceil(s.Lead)) + 10*beforeTens
		return
	}
	m.Growth.learn(h, s.Policy.Erlang.Reserve, s.Lead, s.Now)
}

// want asks the strategies and applies what may raise, cap or fix the number. frozen tells that nothing may shrink.
func (s *State) want(r *Result, bad Code) (want, lasting float64, frozen Code) {
	m := s.Memory
	frozen = bad
	if s.trusted {
		want, lasting = s.ask()
	} else {
		want, lasting = s.blind()
		s.sure = want
	}
	want = s.floor(StepProfile, want, s.profile(want))
	lasting = math.Max(lasting, 0)
	o := s.take(r)
	want = s.floor(StepReservation, want, o.reserve)
	if g := s.guard(r); g > 0 {
		want = s.floor(StepGuard, want, g)
		r.alarm(CodeGuard)
	}
	if limit := s.futility(r); limit > 0 {
		if want > float64(limit) {
			want = float64(limit)
			s.limit(StepFutility, want)
		}
		if m.Futile.Cap > 0 {
			r.alarm(CodeFutile)
		}
	}
	s.bounds(r, &want)
	switch {
	case o.hold:
		s.limit(StepHold, float64(m.Workers))
		return float64(m.Workers), lasting, CodeHoldOrder
	case o.pin > 0:
		s.limit(StepPin, float64(o.pin))
		return float64(o.pin), lasting, CodePin
	}
	return want, lasting, frozen
}

// ask takes the largest need of the strategies.
func (s *State) ask() (want, lasting float64) {
	for _, name := range s.Policy.Strategies {
		sizer := sizers[name]
		if sizer == nil {
			continue
		}
		trace := s.trace
		s.trace = Trace{Strategy: name}
		now, keep := sizer.Need(s)
		if name != Erlang {
			s.sure = math.Max(s.sure, now)
		}
		lasting = math.Max(lasting, keep)
		if now > want || trace.Strategy == "" {
			want = math.Max(want, now)
		} else {
			s.trace = trace
		}
	}
	return want, lasting
}

// blind is what is known without data: the present number, half as many again when all workers are busy, and the last hour's peak
// when nothing has been known for long.
func (s *State) blind() (want, lasting float64) {
	m := s.Memory
	want = float64(m.Workers)
	if s.BusyKnown && s.Ready > 0 && s.Busy >= saturatedShare*s.Ready {
		want = math.Max(want, math.Ceil(1.5*s.Ready))
		s.step(StepPanic, want)
	}
	if d := &m.Data; d.Problem != "" && s.Now-d.Since > veryLong {
		if peak := s.workers(m.History.peak()); peak > want {
			want = peak
			s.step(StepNoShrink, want)
		}
	}
	return want, m.Down.highest()
}

// floor raises a need to at least n, and says so in the trace.
func (s *State) floor(rule Code, want, n float64) float64 {
	s.sure = math.Max(s.sure, n)
	if n <= want {
		return want
	}
	s.step(rule, n)
	return n
}

// limit says in the trace which rule kept the number from what was wanted.
func (s *State) limit(rule Code, n float64) {
	if k := len(s.trace.Steps); s.trace.Limit == "" && k > 0 {
		s.trace.Without = int(math.Ceil(s.trace.Steps[k-1].Workers))
	}
	s.trace.Limit = rule
	s.step(rule, n)
}

// bounds keeps the number within what the policy and the nodes allow, with an alarm when more is needed.
func (s *State) bounds(r *Result, want *float64) {
	m := s.Memory
	over := *want > float64(s.Policy.MaxWorkers)
	switch {
	case over:
		r.alarm(CodeAtMax)
		if !m.AtMax {
			r.event(CodeAtMax, map[string]float64{"need": *want, "max_workers": float64(s.Policy.MaxWorkers)}, "%.0f workers are needed, but at most %d may run", *want, s.Policy.MaxWorkers)
		}
		*want = float64(s.Policy.MaxWorkers)
		s.limit(StepMax, *want)
	case *want < float64(s.Policy.MinWorkers):
		*want = float64(s.Policy.MinWorkers)
		s.sure = math.Max(s.sure, *want)
		s.step(StepMin, *want)
	}
	m.AtMax = over
}

// settle brings the wanted number as near to what is wanted as the rules about growing and shrinking allow.
func (s *State) settle(r *Result, want, lasting float64, frozen Code) {
	m := s.Memory
	d := &m.Down
	if s.trusted {
		// Who leaves and has to start again costs a lead time: nothing leaves that was needed within half of one.
		d.note(s.Now, lasting, int64(math.Max(s.Policy.Down.Window.Seconds(), s.Lead/2)))
	}
	r.Frozen, r.Starting = frozen, s.starting()
	current, target := m.Workers, s.clamp(int(math.Ceil(math.Min(want, 1e6)-1e-9)))
	next, rule := current, Code("")
	switch {
	case frozen == CodeHoldOrder:
	case frozen == CodePin:
		next = target
	case target > current:
		next, rule = s.grow(current, target)
	case frozen == "" && m.Futile.Cap > 0 && !m.Futile.Probing && target < current && s.Now-d.LastDown >= int64(s.Policy.Down.Every.Seconds()/2):
		// What is of no use goes at double speed, whatever waits; what is only on its way goes at once.
		next = max(target, min(int(s.Ready), current-max(1, int(2*s.Policy.Down.Share*float64(current)))))
	default:
		next, rule = s.shrink(current, want, frozen)
	}
	if rule != "" && rule != StepTolerance && rule != StepWindow || rule == StepWindow && next != target {
		s.limit(rule, float64(next))
	}
	s.change(r, next)
}

// change makes next the wanted number.
func (s *State) change(r *Result, next int) {
	m := s.Memory
	current := m.Workers
	m.Workers, r.Workers = next, next
	if next == current {
		return
	}
	code := CodeGrow
	if next < current {
		code = CodeShrink
		m.Down.LastDown = s.Now
	} else {
		m.Down.LastUp = s.Now
		m.Lead.order(next, s.Now)
	}
	m.Flaps.turn(next > current, s.Now)
	numbers := s.trace.Inputs
	r.event(code, numbers, "%d -> %d workers: %s", current, next, s.trace.sentence())
}
