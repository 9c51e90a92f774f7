package signals

import (
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// settle is how long something must be seen against the belief before the belief gives way. gunicorn's master pauses up
	// to 0.1 s after each fork, so a count that still climbs is told apart from one that stands.
	settle = 1500 * time.Millisecond
	// spacing lies between two signals, which would merge when pending together (measured: 100 ms are enough).
	spacing = 120 * time.Millisecond
	// idleDrain is how long a draining worker may be idle before it is taken for one that was never told to leave.
	idleDrain = 5 * time.Second
	// beginSpan is how long a draining worker may begin requests: threads still serve the connections accepted before
	// (gunicorn's graceful_timeout is 30 s).
	beginSpan = 35 * time.Second
	// blindDrain is the pause after a TTOU when it cannot be seen whether the draining worker is busy.
	blindDrain = 2 * time.Second
	// reloadSpan is how soon after the pid file's renewal a new child proves that it was a reload.
	reloadSpan = 10 * time.Second
	// doubtSpan is how long a signal believed lost may still arrive and must not break the limits.
	doubtSpan = 30 * time.Second
)

// view is one observation of a master.
type view struct {
	master proc.ID
	file   proc.FileID
	// children are the live worker processes in the order in which the master would tell them to leave.
	children []proc.ID
	// pending says that a signal sent to the master has not been delivered yet.
	pending bool
	// work tells the requests in progress in a worker; nil when that is not known.
	work func(proc.ID) adapter.Work
}

// steer moves a master's worker count by single signals. It is pure: it reads no clock and sends nothing. The order is
// observe, next, and sent when the signal that next asked for has been sent. The package's comment draws it.
type steer struct {
	// min and max bound the goal; the master itself never goes below floor.
	min, max, floor int

	master proc.ID
	file   proc.FileID
	// num is what the master's own count is believed to be, where it is known.
	num     int
	known   bool
	members map[proc.ID]*member
	// children are those of the last view, who would leave first before the others.
	children []proc.ID
	// window holds the views since the last event, as far back as settle.
	window []point
	// sighted: the last view could tell who is busy.
	sighted bool

	lastSignal time.Time
	// unproven: the last signal may still be pending.
	unproven bool
	// reloadAt is when the pid file was found made anew; zero when no reload is suspected.
	reloadAt           time.Time
	doubtUp, doubtDown int
	doubtUntil         time.Time
	// resets counts new masters and reloads.
	resets uint64
}

type member struct {
	// draining: the master has told it to leave when its requests are done.
	draining bool
	// told is when that was.
	told time.Time
	// idleSince is when a draining member was first seen idle without being seen busy since.
	idleSince time.Time
	// newest is the newest request seen within beginSpan of told.
	newest uint64
	// old: it was there when the pid file was made anew.
	old bool
}

type point struct {
	at             time.Time
	total, serving int
}

// blind says that this time nothing could be observed; what was seen before says nothing about what stands now.
func (s *steer) blind() { s.window = s.window[:0] }

// observe takes a view into the belief.
func (s *steer) observe(now time.Time, v view) {
	if v.master != s.master {
		*s = steer{min: s.min, max: s.max, floor: s.floor, master: v.master, file: v.file, members: map[proc.ID]*member{},
			resets: s.resets + 1}
	}
	if !v.pending && now.After(s.lastSignal) {
		s.unproven = false
	}
	s.noticeRenewal(now, v.file)
	if appeared := s.takeMembers(v.children); appeared && !s.reloadAt.IsZero() {
		s.reloaded(now)
	}
	s.sighted = v.work != nil
	s.noticeFalseDrains(now, v.work)
	if now.After(s.doubtUntil) {
		s.doubtUp, s.doubtDown = 0, 0
	}
	serving := len(s.children) - s.draining()
	s.window = append(s.window, point{now, len(s.children), serving})
	for len(s.window) > 2 && now.Sub(s.window[1].at) >= settle {
		s.window = s.window[1:]
	}
	s.reconcile(now)
}

// noticeRenewal begins the suspicion of a reload when the pid file is another one, and ends it when nothing came of it.
func (s *steer) noticeRenewal(now time.Time, file proc.FileID) {
	if file != s.file {
		s.file, s.reloadAt = file, now
		for _, m := range s.members {
			m.old = true
		}
		s.blind()
	}
	if !s.reloadAt.IsZero() && now.Sub(s.reloadAt) > reloadSpan {
		s.reloadAt = time.Time{}
		for _, m := range s.members {
			m.old = false
		}
	}
}

// takeMembers makes the members those of the view and tells whether one is new.
func (s *steer) takeMembers(children []proc.ID) (appeared bool) {
	s.children = append(s.children[:0], children...)
	here := make(map[proc.ID]bool, len(children))
	for _, p := range children {
		here[p] = true
		if s.members[p] == nil {
			s.members[p] = &member{}
			appeared = true
		}
	}
	for p := range s.members {
		if !here[p] {
			delete(s.members, p)
		}
	}
	return appeared
}

// reloaded: the master has read its configuration again, forgotten our count, forked the configured number of workers and
// told all older ones to leave.
func (s *steer) reloaded(now time.Time) {
	for _, m := range s.members {
		if m.old {
			*m = member{draining: true, told: now}
		}
	}
	s.reloadAt, s.known, s.doubtUp, s.doubtDown = time.Time{}, false, 0, 0
	s.resets++
	s.blind()
}

// noticeFalseDrains takes back the belief that a worker drains when it stays idle or goes on beginning requests: one that
// was told to leave does neither. The signal was lost then, or another worker was meant.
func (s *steer) noticeFalseDrains(now time.Time, work func(proc.ID) adapter.Work) {
	for p, m := range s.members {
		if !m.draining || s.unproven {
			continue
		}
		if work == nil {
			m.idleSince = time.Time{}
			continue
		}
		w := work(p)
		switch {
		case w.Busy > 0:
			m.idleSince = time.Time{}
		case m.idleSince.IsZero():
			m.idleSince = now
		}
		if now.Sub(m.told) < beginSpan {
			m.newest = max(m.newest, w.Newest)
		}
		idle := !m.idleSince.IsZero() && now.Sub(m.idleSince) >= idleDrain
		begins := m.newest > 0 && w.Newest > m.newest
		if idle || begins {
			*m = member{}
			s.doubtDown++
			s.doubtUntil = now.Add(doubtSpan)
			s.blind()
		}
	}
}

// reconcile corrects the belief by what has stood against it for the whole window. A master forks while it has fewer
// children than it wants and tells some to leave while it has more, so children ≥ num ≥ those that do not drain
// holds but for moments (a worker that was killed or recycled is replaced at once).
func (s *steer) reconcile(now time.Time) {
	if len(s.window) < 2 || s.unproven || now.Sub(s.window[0].at) < settle {
		return
	}
	first, last := s.window[0], s.window[len(s.window)-1]
	most, least, serving := 0, last.serving, 0
	for _, p := range s.window {
		most, least, serving = max(most, p.total), min(least, p.serving), max(serving, p.serving)
	}
	climbing := last.total > first.total
	switch {
	case !s.known && !climbing:
		s.num, s.known = serving, true
	case s.known && most < s.num && !climbing:
		// A TTIN that came to nothing may still arrive.
		if !s.lastSignal.IsZero() && now.Sub(s.lastSignal) < doubtSpan {
			s.doubtUp++
			s.doubtUntil = now.Add(doubtSpan)
		}
		s.num = most
	case s.known && least > s.num:
		s.num = least
	default:
		return
	}
	s.blind()
}

// next returns the signal to send now towards goal: +1 for TTIN, -1 for TTOU, 0 for none. A goal below 0 is none.
func (s *steer) next(now time.Time, goal int) int {
	if goal < 0 || !s.known || s.unproven || now.Sub(s.lastSignal) < spacing || len(s.children) < s.num {
		return 0
	}
	low := max(s.min, s.floor)
	goal = min(max(goal, low), s.max)
	switch {
	case s.num < goal && s.num+1+s.doubtUp <= s.max:
		return 1
	case s.num > goal && s.num-1-s.doubtDown >= low && s.drainsSeen(now):
		return -1
	}
	return 0
}

// drainsSeen tells whether every draining worker has shown that it finishes a request; an idle one is about to go.
func (s *steer) drainsSeen(now time.Time) bool {
	for _, m := range s.members {
		if m.draining && !m.idleSince.IsZero() {
			return false
		}
	}
	return s.sighted || s.draining() == 0 || now.Sub(s.lastSignal) >= blindDrain
}

// sent takes note of a signal that the kernel has accepted.
func (s *steer) sent(now time.Time, signal int) {
	s.num += signal
	s.lastSignal, s.unproven = now, true
	s.blind()
	// Who was told before still counts against the master's number: with one of three draining, one TTIN and one TTOU tell
	// nobody else.
	if signal > 0 || s.draining() >= len(s.children)-s.num {
		return
	}
	for _, p := range s.children {
		if m := s.members[p]; !m.draining {
			*m = member{draining: true, told: now, old: m.old}
			return
		}
	}
}

// draining counts the members that were told to leave.
func (s *steer) draining() int {
	n := 0
	for _, m := range s.members {
		if m.draining {
			n++
		}
	}
	return n
}

// drains tells whether p was told to leave.
func (s *steer) drains(p proc.ID) bool {
	m := s.members[p]
	return m != nil && m.draining
}
