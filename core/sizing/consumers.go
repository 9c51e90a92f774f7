package sizing

import "math"

// consumers sizes the consumers of a message queue: enough for what comes in and for the backlog to be gone within Drain. An
// item that waits stays, so growth decides; when items are older than MaxAge, or would be by the time new consumers are there,
// the backlog is to be gone within one lead time.
type consumers struct{}

func (consumers) Need(s *State) (now, lasting float64) {
	b := s.Obs.Backlog
	if b == nil {
		return 0, 0
	}
	p := s.Policy.Queue
	each := b.Service
	if each <= 0 && b.Out > 0 && s.Ready > 0 {
		each = s.Ready / b.Out
	}
	if each <= 0 {
		each = math.Max(s.Service, 1e-3)
	}
	s.input("items", b.Items)
	s.input("in", b.In)
	s.input("out", b.Out)
	s.input("oldest_s", b.Oldest)
	s.input("service_s", each)
	lasting = math.Ceil(b.In*each/p.Target - 1e-9)
	drain := math.Max(1, p.Drain.Seconds())
	ahead := b.Items + math.Max(0, b.In-b.Out)*s.Lead
	// By Little's law the newest item will be as old as the backlog divided by what is taken per second.
	age := b.Oldest
	if b.Out > 0 {
		age = math.Max(age, ahead/b.Out)
	}
	if p.MaxAge > 0 && b.Items >= 1 && age > p.MaxAge.Seconds() {
		drain = math.Min(drain, math.Max(1, s.Lead))
		s.input("age_ahead_s", age)
	}
	now = math.Ceil((b.In+ahead/drain)*each/p.Target - 1e-9)
	s.step(StepQueue, now)
	return math.Max(now, lasting), lasting
}
