package window

// Bucket holds what happened in one second. Queue, Connect and Response are sums in microseconds; Timed is the number of
// completions they are sums over.
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

// Seconds is a ring of one-second buckets.
type Seconds struct {
	ring        []Bucket
	first, last int64 // the first second ever and the newest one; valid once begun
	begun       bool
	late        uint64
}

// NewSeconds returns a ring of n seconds, at least 2.
func NewSeconds(n int) *Seconds { return &Seconds{ring: make([]Bucket, max(n, 2))} }

// Add adds b to second sec. Seconds that were skipped become zero; a second older than the ring is dropped and counted
// by Late.
func (s *Seconds) Add(sec int64, b Bucket) {
	if !s.reach(sec) {
		s.late++
		return
	}
	s.ring[s.index(sec)].add(&b)
}

// Spread adds n arrivals evenly to the seconds from..to, both included: what came in between two looks at a counter. The
// part that falls before the ring, or before its first second, is left out.
func (s *Seconds) Spread(from, to int64, n uint64) {
	if n == 0 || !s.reach(to) {
		return
	}
	from = min(from, to)
	width := uint64(to - from + 1)
	lowest := max(from, s.oldest())
	// Whole shares first; the rest goes one each to the newest seconds.
	share, rest := n/width, n%width
	for sec := to; sec >= lowest; sec-- {
		k := share
		if uint64(to-sec) < rest {
			k++
		}
		s.ring[s.index(sec)].Arrivals += k
	}
}

// Sum adds up the n complete seconds before now and tells how many of them the ring can speak for: fewer than n when it
// began later or is shorter. The second in which it began is not complete.
func (s *Seconds) Sum(now int64, n int) (total Bucket, covered int) {
	if !s.begun {
		return total, 0
	}
	// Seconds after the last one added are zero, and known to be.
	lowest := max(now-int64(n), s.first+1, s.oldest())
	if lowest >= now {
		return total, 0
	}
	for sec := lowest; sec < now && sec <= s.last; sec++ {
		total.add(&s.ring[s.index(sec)])
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

// reach moves the ring on to sec, and tells whether sec lies within it.
func (s *Seconds) reach(sec int64) bool {
	if !s.begun {
		s.begun, s.first, s.last = true, sec, sec
		return true
	}
	if sec <= s.last {
		if sec < s.first && sec > s.last-int64(len(s.ring)) {
			s.first = sec
		}
		return sec > s.last-int64(len(s.ring))
	}
	if sec-s.last >= int64(len(s.ring)) || sec-s.last < 0 {
		clear(s.ring)
	} else {
		for i := s.last + 1; i <= sec; i++ {
			s.ring[s.index(i)] = Bucket{}
		}
	}
	s.last = sec
	return true
}

// oldest is the oldest second the ring still holds.
func (s *Seconds) oldest() int64 { return max(s.first, s.last-int64(len(s.ring))+1) }

func (s *Seconds) index(sec int64) int {
	n := int64(len(s.ring))
	return int(((sec % n) + n) % n)
}
