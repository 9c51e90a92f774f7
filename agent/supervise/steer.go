package supervise

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Steer starts one worker or tells one to leave.
func (s *Processes) Steer(_ time.Time, target int, work func(proc.ID) adapter.Work) (int, error) {
	before, woken := s.wanted, s.wake.woken
	if target != adapter.NoTarget {
		s.wanted = target
	}
	want := min(max(s.wanted, s.opt.Min), s.opt.Max)
	var live []*worker
	busy := false
	for _, w := range s.workers {
		if w.told == 0 {
			live = append(live, w)
		}
		busy = busy || work != nil && work(w.id).Busy > 0
	}
	if want == 0 {
		want = s.wake.want(s.boot, len(live), s.waiting, busy)
	} else {
		s.wake.woken = false
	}
	if s.wake.woken && !woken {
		s.wakes.Add(1)
	}
	switch {
	case len(live) < want && s.boot >= s.back.until:
		if err := s.start(); err != nil {
			s.back.failed(s.boot)
			s.back.what = err.Error()
			return 0, err
		}
		return 1, nil
	case len(live) > want:
		s.tell(leaver(live, work))
		return -1, s.save()
	case before != s.wanted || woken != s.wake.woken:
		return 0, s.save()
	}
	return 0, nil
}

// leaver is the worker with the least to finish, the youngest of several. live is ordered by age, oldest first.
func leaver(live []*worker, work func(proc.ID) adapter.Work) *worker {
	best, least := live[len(live)-1], -1
	for i := len(live) - 1; i >= 0 && work != nil; i-- {
		if n := work(live[i].id).Busy; least < 0 || n < least {
			best, least = live[i], n
		}
	}
	return best
}

// wake decides about the one worker that comes although the target is 0.
type wake struct {
	// idle is how long it must have had nothing to do before it goes.
	idle  time.Duration
	woken bool
	// active is when it was last seen to have something to do, since boot.
	active time.Duration
}

// want is 1 while somebody waits for a worker or has just done so, else 0. busy is false too when nobody can tell: the
// worker then goes after the idle time, and comes again with the next connection.
func (k *wake) want(boot time.Duration, live int, waiting, busy bool) int {
	switch {
	case waiting && (live == 0 || k.woken), k.woken && busy:
		k.woken, k.active = true, boot
	case k.woken && boot-k.active >= k.idle:
		k.woken = false
	}
	if k.woken {
		return 1
	}
	return 0
}

// backoff holds back starts after workers that ended early.
type backoff struct {
	// early counts them, row the pauses that they have made; last is when the last one ended and until when nothing is
	// started, since boot. what tells of the last one.
	early, row  int
	last, until time.Duration
	what        string
}

// ended notes an end that nobody asked for.
func (b *backoff) ended(boot time.Duration, w *worker, how string) {
	age := w.id.Age(boot)
	if age >= stable && !w.killed {
		return
	}
	b.failed(boot)
	if w.killed {
		how = "it was not ready by the start deadline"
	}
	b.what = fmt.Sprintf("worker %d ended after %v (%s), %d early ends in a row", w.n, age.Round(10*time.Millisecond), how, b.early)
}

// failed begins a pause, twice as long as the one before. What fails within a pause has failed together.
func (b *backoff) failed(boot time.Duration) {
	b.early, b.last = b.early+1, boot
	if boot < b.until {
		return
	}
	pause := longestPause
	if b.row < 6 {
		pause = min(firstPause<<b.row, longestPause)
	}
	b.row, b.until = b.row+1, boot+pause
}

// calm forgets the early ends once a worker begun since the last of them has run for a while.
func (b *backoff) calm(boot time.Duration, workers []*worker) {
	for _, w := range workers {
		if age := w.id.Age(boot); b.early > 0 && age >= stable && boot-age >= b.last {
			*b = backoff{}
		}
	}
}

// problem is the sentence for the report, empty when nothing ended early of late.
func (b *backoff) problem(boot time.Duration) string {
	if b.early == 0 {
		return ""
	}
	next := "another one is being tried"
	if b.until > boot {
		next = fmt.Sprintf("the next start is in %v", (b.until - boot).Round(100*time.Millisecond))
	}
	return b.what + "; " + next
}
