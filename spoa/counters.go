package spoa

import (
	"strconv"
	"time"
)

const (
	// maxBoots is the number of HAProxy processes followed at once for one backend: the newest, and older ones that still
	// serve their last requests after a reload.
	maxBoots = 8
	// maxPerSecond is the rate above which a counter is not believed.
	maxPerSecond = 1_000_000
)

// totals adds up the counters of successive HAProxy processes to counts that never go back.
//
// HAProxy's counters start at 0 with each process and are told apart by the boot id. Rules:
//   - A process that began after the meter did is counted from 0, so that nothing between a reload and its first
//     message is lost. Any other is counted from where it is first seen.
//   - Messages of one process come over many connections and may overtake each other: what is lower than what is
//     known is old news, except in a heartbeat, which comes from one place, twice a second: there it means that someone
//     cleared the table, and counting goes on from there.
//   - The counters wrap at 2^32; differences are taken modulo that.
//   - An increase no HAProxy could have had is not counted, and counting goes on from there.
//
// Times are nanoseconds since the meter began.
type totals struct {
	began    int64 // when the meter did, microseconds since 1970
	started  uint64
	finished uint64
	noresp   uint64
	answered uint64
	resets   uint64
	// watched is when counting last began anew with requests already there, which are not among those counted.
	watched int64

	boots  [maxBoots]bootCounters
	last   int   // the one found last
	newest int64 // the latest start of any process seen, microseconds since 1970
}

type bootCounters struct {
	id                        string
	used                      bool
	seen                      int64
	started, finished, noresp uint32
	// answered is optional; answers tells that it has come.
	answered uint32
	answers  bool
	// heartbeat is the started counter of the process's last heartbeat.
	heartbeat     uint32
	hasHeartbeats bool
}

// observe takes the counters of one message and returns the number of new arrivals.
func (t *totals) observe(at int64, boot string, c Counters, heartbeat bool) (arrivals uint64) {
	finished := c.Started - c.Current
	b, fresh := t.find(boot)
	if fresh {
		// A zero base counts the process's requests from its start.
		*b = bootCounters{id: boot, used: true}
		if !t.bornSince(boot) {
			t.rebase(b, at, c, finished)
		}
	}
	if heartbeat && b.hasHeartbeats && int32(c.Started-b.heartbeat) < 0 {
		t.resets++
		t.rebase(b, at, c, finished)
	}
	limit := uint32(min(maxPerSecond+max(0, at-b.seen)/(int64(time.Second)/maxPerSecond), 1<<31-1))
	if d := c.Started - b.started; int32(d) > 0 && d > limit {
		t.resets++
		t.rebase(b, at, c, finished)
	}
	arrivals = advance(&b.started, c.Started, &t.started, limit)
	advance(&b.finished, finished, &t.finished, limit)
	advance(&b.noresp, c.NoResponse, &t.noresp, limit)
	if c.AnswersKnown {
		if !b.answers && !fresh {
			b.answered = c.Answered
		}
		b.answers = true
		advance(&b.answered, c.Answered, &t.answered, limit)
	}
	b.seen = max(b.seen, at)
	if heartbeat {
		b.heartbeat, b.hasHeartbeats = c.Started, true
	}
	return arrivals
}

// find returns the record of a process, or the one to use for it: a free one, else the one longest silent.
func (t *totals) find(boot string) (b *bootCounters, fresh bool) {
	if b = &t.boots[t.last]; b.used && b.id == boot {
		return b, false
	}
	free := 0
	for i := range t.boots {
		b, f := &t.boots[i], &t.boots[free]
		if b.used && b.id == boot {
			t.last = i
			return b, false
		}
		if f.used && (!b.used || b.seen < f.seen) {
			free = i
		}
	}
	t.last = free
	return &t.boots[free], true
}

// bornSince tells whether the process started after the meter did and after every process seen before. An older one
// that comes again may have been counted already.
func (t *totals) bornSince(boot string) bool {
	us, err := strconv.ParseInt(boot, 10, 64)
	if err != nil || us <= t.newest {
		return false
	}
	t.newest = us
	return us >= t.began
}

func (t *totals) rebase(b *bootCounters, at int64, c Counters, finished uint32) {
	t.watched = max(t.watched, at)
	b.started, b.finished, b.noresp, b.answered, b.seen = c.Started, finished, c.NoResponse, c.Answered, at
}

// advance moves a counter to its new value if that is ahead, and adds the difference to the total if it is credible.
func advance(last *uint32, now uint32, total *uint64, limit uint32) uint64 {
	d := now - *last
	if int32(d) <= 0 {
		return 0
	}
	*last = now
	if d > limit {
		return 0
	}
	*total += uint64(d)
	return uint64(d)
}
