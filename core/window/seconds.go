package window

// Bucket holds what happened in one second. Queue, Connect and Response are sums in microseconds; Timed is the number of
// completions they are sums over. Response over a stretch of time, divided by that time, is the number of requests that
// servers were busy with on average.
type Bucket struct {
	Arrivals, Completions, Errors uint64
	Timed                         uint64
	Queue, Connect, Response      uint64
}

func (b *Bucket) add(o *Bucket) {
	b.Arrivals += o.Arrivals
	b.Completions += o.Completions
	b.Errors += o.Errors
	b.Timed += o.Timed
	b.Queue += o.Queue
	b.Connect += o.Connect
	b.Response += o.Response
}

const (
	hourSeconds = 3600
	// hourRing is how many seconds of an hour can still be added to. The others are encoded.
	hourRing = 16
)

// Seconds counts by the second: the newest seconds in a ring, which can still be added to, and, when it was made by
// NewHour, those before in a compact past. The ring is allocated when something is first added.
type Seconds struct {
	ring        []cell
	size        int64
	at          int   // where the newest second is in the ring
	first, last int64 // the first second ever and the newest one; valid once begun
	begun       bool
	late        uint64
	past        *past
}

// NewSeconds returns a ring of n seconds, at least 2.
func NewSeconds(n int) *Seconds { return &Seconds{size: int64(max(n, 2))} }

// NewHour returns the last hour, one bucket a second. The newest 16 seconds can be added to. Those before take no memory
// while nothing happens, and 8 to 10 bytes a second of the budget when something does; seconds older than some minutes
// are merged to tens when three quarters of the budget are gone, and the oldest are forgotten when all of it is.
func NewHour(b *Budget) *Seconds {
	return &Seconds{size: hourRing, past: &past{span: hourSeconds - hourRing + 1, budget: b}}
}

// Add adds b to second sec. Seconds that were skipped become zero; a second older than the ring is dropped and counted
// by Late.
func (s *Seconds) Add(sec int64, b Bucket) {
	if (!s.begun || sec != s.last) && !s.reach(sec) {
		s.late++
		return
	}
	s.cell(sec).add(&b)
}

// Spread adds n arrivals evenly to the seconds from..to, both included: what came in between two looks at a counter. The
// part that falls before the ring, or before its first second, is left out; an hour takes the part that is newer than
// its newest second as well, however long ago that was.
func (s *Seconds) Spread(from, to int64, n uint64) {
	if n == 0 || s.begun && to <= s.last-s.size {
		return
	}
	if from >= to && s.begun && to == s.last {
		c := s.cell(to)
		c.arrivals = addTo(c.arrivals, n)
		return
	}
	from = min(from, to)
	width := uint64(to - from + 1)
	lowest := from
	if s.past == nil || !s.begun {
		s.reach(to)
	}
	if s.begun {
		lowest = max(lowest, s.first, s.last-s.size+1)
	}
	if s.past != nil {
		lowest = max(lowest, to-hourSeconds)
	}
	// Whole shares first; the rest goes one each to the newest seconds.
	share, rest := n/width, n%width
	for sec := lowest; sec <= to; sec++ {
		k := share
		if uint64(to-sec) < rest {
			k++
		}
		if k > 0 && s.reach(sec) {
			c := s.cell(sec)
			c.arrivals = addTo(c.arrivals, k)
		}
	}
	s.reach(to)
}

// Sum adds up the n complete seconds before now and tells how many of them it can speak for: fewer than n when it began
// later or is shorter, or when the first of them lie within a bucket that has been merged with older ones. The second in
// which it began is not complete.
func (s *Seconds) Sum(now int64, n int) (total Bucket, covered int) {
	if !s.begun {
		return total, 0
	}
	// Seconds after the last one added are zero, and known to be.
	edge := s.last - s.size + 1
	lowest := max(now-int64(n), s.first+1)
	if s.past == nil || !s.past.begun {
		lowest = max(lowest, edge)
	} else if lowest < edge {
		lowest = max(s.past.sum(&total, lowest, now), now-hourSeconds)
	}
	if lowest >= now {
		return Bucket{}, 0
	}
	if s.ring != nil {
		for sec := max(lowest, edge); sec < now && sec <= s.last; sec++ {
			b := s.cell(sec).bucket()
			total.add(&b)
		}
	}
	return total, int(now - lowest)
}

// Rate is the number of arrivals per second over the last n complete seconds before now, 0 when there are none.
func (s *Seconds) Rate(now int64, n int) float64 {
	total, covered := s.Sum(now, n)
	if covered == 0 {
		return 0
	}
	return float64(total.Arrivals) / float64(covered)
}

// Begin says that second sec is being watched from now on, though nothing may happen in it.
func (s *Seconds) Begin(sec int64) { s.reach(sec) }

// Late is the number of buckets that came too late to be added.
func (s *Seconds) Late() uint64 { return s.late }

// Release forgets everything and gives the memory back to the budget.
func (s *Seconds) Release() {
	s.ring, s.begun = nil, false
	if s.past != nil {
		s.past.release()
	}
}

// reach moves the ring on to sec, and tells whether sec lies within it.
func (s *Seconds) reach(sec int64) bool {
	if !s.begun {
		s.begun, s.first, s.last = true, sec, sec
		return true
	}
	if sec <= s.last {
		in := sec > s.last-s.size
		if in && sec < s.first {
			s.first = sec
		}
		return in
	}
	gap := sec - s.last
	if gap < 0 || gap > 1<<32 {
		// Both ends of the axis are no times; what was before is out of every window.
		s.forget(sec)
		return true
	}
	s.leave(sec)
	if s.ring != nil {
		for range min(gap, s.size) {
			if s.at++; s.at == len(s.ring) {
				s.at = 0
			}
			s.ring[s.at] = cell{}
		}
	}
	s.last = sec
	return true
}

// leave hands the seconds that the ring will not hold when it has moved on to sec over to the past.
func (s *Seconds) leave(sec int64) {
	p := s.past
	if p == nil {
		return
	}
	end := sec - s.size + 1
	from := max(s.first, s.last-s.size+1)
	if from >= end {
		return
	}
	p.start(from)
	if s.ring != nil {
		for ; from < end && from <= s.last; from++ {
			p.push(s.cell(from))
		}
	}
	if from < end {
		p.skip(end - from)
	}
}

func (s *Seconds) forget(sec int64) {
	clear(s.ring)
	s.last = sec
	if s.past != nil {
		s.past.release()
	}
}

// cell is the place of a second that the ring holds.
func (s *Seconds) cell(sec int64) *cell {
	if s.ring == nil {
		s.ring, s.at = make([]cell, s.size), 0
	}
	i := s.at - int(s.last-sec)
	if i < 0 {
		i += len(s.ring)
	}
	return &s.ring[i]
}
