package uwsgi

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// settle is how long the count must stand before it is believed to be the master's own: two of its cycles and more.
	settle = 2500 * time.Millisecond
	// lostAfter is how long an order may be without an effect; the master acts within 0 to 1 s.
	lostAfter = 4 * time.Second
	// waitingStep lies between two orders while one of them waits for an idle worker.
	waitingStep = 2 * time.Second
	// doubtSpan is how long an order believed lost may still come to something and must not break the limits.
	doubtSpan = 30 * time.Second
	// fightSpan is how long a change that nobody ordered here is remembered.
	fightSpan = time.Minute
)

// view is one observation.
type view struct {
	master proc.ID
	// respawns counts the processes of each slot since the master (re)started.
	respawns []int64
	// alive is the number of workers that count for the master, free that of slots without a process.
	alive, free int
	// idle: at least one of the alive ones has nothing to do.
	idle bool
}

// steer moves the number of workers by orders that are answered by nothing. It is pure: it reads no clock and writes
// nothing. The order is observe, next, and sent when what next asked for was written. The package's comment draws it.
type steer struct {
	min, max int

	master   proc.ID
	respawns []int64
	// num is what the count will come to, where it is known; alive what it is.
	num, alive, free int
	known            bool
	// ordered: something was ordered since alive was last num.
	ordered bool
	// changed is when alive last changed, idleSince since when a worker has been idle, lastOrder when the last order was
	// written.
	changed, idleSince, lastOrder time.Time

	doubtUp, doubtDown int
	doubtUntil         time.Time
	// lost counts the orders without an effect in a row, foreign holds the times of changes that nobody ordered here.
	lost    int
	foreign []time.Time
	// resets counts new masters and reloads.
	resets uint64
}

// observe takes a view into the belief.
func (s *steer) observe(now time.Time, v view) {
	if v.master != s.master || began(s.respawns, v.respawns) {
		*s = steer{min: s.min, max: s.max, master: v.master, alive: -1, lastOrder: s.lastOrder, resets: s.resets + 1}
	}
	s.respawns = append(s.respawns[:0], v.respawns...)
	if v.alive != s.alive {
		s.alive, s.changed = v.alive, now
	}
	s.free = v.free
	switch {
	case !v.idle:
		s.idleSince = time.Time{}
	case s.idleSince.IsZero():
		s.idleSince = now
	}
	if now.After(s.doubtUntil) {
		s.doubtUp, s.doubtDown = 0, 0
	}
	s.foreign = slices.DeleteFunc(s.foreign, func(at time.Time) bool { return now.Sub(at) > fightSpan })
	s.reconcile(now)
}

// began tells whether the master has begun anew with the same pid: a reload is an exec.
func began(before, now []int64) bool {
	if len(before) != len(now) {
		return len(before) > 0
	}
	for i := range now {
		if now[i] < before[i] {
			return true
		}
	}
	return false
}

// reconcile corrects the belief by what has stood against it for long enough.
func (s *steer) reconcile(now time.Time) {
	if !s.known {
		if now.Sub(s.changed) >= settle {
			s.num, s.known = s.alive, true
		}
		return
	}
	if s.alive == s.num {
		if s.ordered {
			s.lost = 0
		}
		s.ordered = false
		return
	}
	last := s.changed
	if s.ordered {
		last = later(last, s.lastOrder)
		if s.alive > s.num {
			if s.idleSince.IsZero() {
				return // all are busy: what was ordered waits for the first idle one
			}
			last = later(last, s.idleSince)
		}
	}
	if now.Sub(last) < lostAfter {
		return
	}
	if s.ordered {
		s.lost++
		s.doubtUp += max(s.num-s.alive, 0)
		s.doubtDown += max(s.alive-s.num, 0)
		s.doubtUntil = now.Add(doubtSpan)
	} else {
		s.foreign = append(s.foreign, now)
	}
	s.num, s.ordered = s.alive, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// next returns how many workers to order now towards goal, above 0 for more and below for fewer, 0 for none. A goal below 0
// is none.
func (s *steer) next(now time.Time, goal int) int {
	if goal < 0 || !s.known || s.alive < s.num || (s.alive > s.num && now.Sub(s.lastOrder) < waitingStep) {
		return 0
	}
	low := max(s.min, 1)
	goal = min(max(goal, low), s.max)
	if goal > s.num {
		most := s.max - s.num - s.doubtUp
		if s.max >= len(s.respawns) {
			most = s.max - s.num // the master itself lets it come to no more than that
		}
		// What waits to leave is taken back first; a "+" without a free slot is lost.
		return max(min(goal-s.num, most, s.alive-s.num+s.free, maxStep), 0)
	}
	return -max(min(s.num-goal, s.num-low-s.doubtDown, maxStep), 0)
}

// sent takes note of an order that was written.
func (s *steer) sent(now time.Time, step int) {
	s.num += step
	s.lastOrder, s.ordered = now, true
}

// ignored: orders come to nothing. fought: the count changes by itself.
func (s *steer) ignored() bool { return s.lost >= 2 }
func (s *steer) fought() bool  { return len(s.foreign) >= 2 }
