package window

import (
	"math/bits"
	"time"
)

const (
	// maxParts is how many parts a sketch may have.
	maxParts = 8
	// An entry of a small sketch: 3 bits for the part, 12 for the bucket, 17 for the count.
	countBits = 17
	countMask = 1<<countBits - 1
	// A small sketch starts with firstFew entries and becomes pages above maxFew; it comes back when at most backFew
	// values are left.
	firstFew, maxFew, backFew = 4, 64, 24
)

// Sketches makes sketches of one kind: latency distributions over the last span seconds, in parts that are thrown away one
// by one. The part being filled belongs to the span, so that an answer covers between span-span/parts and span seconds.
type Sketches struct {
	width  int64
	parts  int64
	budget *Budget
	late   Number
	forced Number
}

// NewSketches returns the kind with that span in seconds and number of parts. Parts are 1 to 8, and span is rounded up to
// a multiple of them.
func NewSketches(span, parts int, b *Budget) *Sketches {
	parts = min(max(parts, 1), maxParts)
	span = max(span, parts)
	return &Sketches{width: int64((span + parts - 1) / parts), parts: int64(parts), budget: b, late: b.newNumber(), forced: b.newNumber()}
}

// New returns an empty sketch. It takes 48 bytes, 4 for each different latency as long as there are few, and 256 for each
// part and doubling of latency when there are many.
func (k *Sketches) New() Sketch { return Sketch{of: k} }

// Late is the number of latencies that came too late to be counted.
func (k *Sketches) Late() uint64 { return uint64(k.late.Load()) }

// Forced is the number of latencies that were counted with the nearest known ones, or not at all when there were none,
// because the budget had no memory for them.
func (k *Sketches) Forced() uint64 { return uint64(k.forced.Load()) }

// Sketch is one of Sketches. Its zero value is not usable; it must not be copied once used.
type Sketch struct {
	of *Sketches
	// turn is the number of the newest part plus one; 0 means never used. Part t is in slot t % parts.
	turn int64
	few  []uint32
	many *pages
}

// Add counts a latency in second sec (0 or more). A second older than the span is dropped and counted by Late.
func (s *Sketch) Add(sec int64, d time.Duration) { s.AddMicros(sec, micros(d)) }

// AddMicros is Add for a latency in microseconds.
func (s *Sketch) AddMicros(sec int64, us uint64) { s.AddIn(s.of.Part(sec), us) }

// Part is the part of a span that a second belongs to: who counts many latencies of one second works it out once.
type Part struct {
	turn int64
	slot int
}

// Part returns the part of second sec, for sketches of this kind.
func (k *Sketches) Part(sec int64) Part {
	if sec < 0 {
		return Part{}
	}
	turn := sec/k.width + 1
	return Part{turn, int(turn % k.parts)}
}

// AddIn is AddMicros for a second of part p, which is of the sketch's own kind.
func (s *Sketch) AddIn(p Part, us uint64) {
	// As nearly always where much happens.
	if m := s.many; m != nil && p.turn == s.turn {
		i := uint(bucketOf(min(us, maxMicros)))
		if number := m.index[p.slot%maxParts][i/pageBuckets%pagesOfHist]; number != 0 {
			c := &m.all[number-1][i%pageBuckets]
			*c = addOne(*c, 1)
			return
		}
	}
	s.add(p, us)
}

// add is AddIn, whatever the sketch is like.
func (s *Sketch) add(p Part, us uint64) {
	k := s.of
	if p.turn != s.turn || p.turn == 0 {
		if p.turn <= max(0, s.turn-k.parts) {
			k.late.Add(1)
			return
		}
		if p.turn > s.turn {
			s.advance(p.turn)
		}
	}
	i := bucketOf(min(us, maxMicros))
	if s.many == nil {
		if s.addFew(uint32(p.slot<<12 | i)) {
			return
		}
		s.spreadOut()
	}
	if !s.many.add(p.slot, i, 1, k.budget) {
		k.forced.Add(1)
	}
}

// addFew counts in the list; false when it is full and there is memory for pages.
func (s *Sketch) addFew(key uint32) bool {
	for j, e := range s.few {
		if e>>countBits == key && e&countMask != countMask {
			s.few[j]++
			return true
		}
	}
	if len(s.few) == cap(s.few) {
		if len(s.few) >= maxFew && s.of.budget.take(pagesSize) {
			return false
		}
		size := min(max(firstFew, 2*cap(s.few)), maxFew)
		if size == cap(s.few) || !s.of.budget.take(4*(size-cap(s.few))) {
			s.force(key)
			return true
		}
		s.few = append(make([]uint32, 0, size), s.few...)
	}
	s.few = append(s.few, key<<countBits|1)
	return true
}

// force counts a value with the nearest known one, of the same part if there is one.
func (s *Sketch) force(key uint32) {
	s.of.forced.Add(1)
	best, distance := -1, uint32(1<<31)
	for j, e := range s.few {
		d := max(e>>countBits, key) - min(e>>countBits, key)
		if d < distance && e&countMask != countMask {
			best, distance = j, d
		}
	}
	if best >= 0 {
		s.few[best]++
	}
}

// spreadOut goes over to pages, whose memory has been taken.
func (s *Sketch) spreadOut() {
	s.many = &pages{}
	for _, e := range s.few {
		if !s.many.add(int(e>>(countBits+12)), int(e>>countBits&0xfff), e&countMask, s.of.budget) {
			s.of.forced.Add(1)
		}
	}
	s.dropFew()
}

// comeBack goes back to the list.
func (s *Sketch) comeBack() {
	few := make([]uint32, 0, maxFew/2)
	for slot := range int(s.of.parts) {
		s.many.each(slot, func(i int, n uint32) { few = append(few, uint32(slot<<12|i)<<countBits|n) })
	}
	s.many.release(s.of.budget)
	s.many = nil
	if size := 4 * cap(few); s.of.budget.take(size) {
		s.few = few
	}
}

func (s *Sketch) dropFew() {
	s.of.budget.give(4 * cap(s.few))
	s.few = nil
}

// advance begins part turn and throws away those that it pushes out of the span.
func (s *Sketch) advance(turn int64) {
	gone := uint(0)
	for t := max(s.turn+1, turn-s.of.parts+1); t <= turn; t++ {
		gone |= 1 << uint(t%s.of.parts)
	}
	s.turn = turn
	if s.many == nil {
		kept := s.few[:0]
		for _, e := range s.few {
			if gone>>(e>>(countBits+12))&1 == 0 {
				kept = append(kept, e)
			}
		}
		s.few = kept
		return
	}
	for g := gone; g != 0; g &= g - 1 {
		s.many.clear(bits.TrailingZeros(g))
	}
	if s.many.atMost(backFew) {
		s.comeBack()
	}
}

// Trim gives back the memory of a sketch in which nothing has been counted for a span.
func (s *Sketch) Trim(now int64) {
	if s.turn != 0 && now/s.of.width+1-s.turn >= s.of.parts {
		s.Release()
	}
}

// Release forgets everything and gives the memory back to the budget.
func (s *Sketch) Release() {
	if s.many != nil {
		s.many.release(s.of.budget)
		s.many = nil
	}
	s.dropFew()
	s.turn = 0
}

// Merge adds what was counted in the span that ends with second now to dst, and tells whether there was anything. The
// sum, and so dst's mean, is within 1 %.
func (s *Sketch) Merge(now int64, dst *Histogram) bool {
	before := dst.n
	last := now/s.of.width + 1
	in := uint(0)
	for t := max(1, s.turn-s.of.parts+1, last-s.of.parts+1); t <= min(s.turn, last); t++ {
		in |= 1 << uint(t%s.of.parts)
	}
	for _, e := range s.few {
		if in>>(e>>(countBits+12))&1 != 0 {
			dst.addBucket(int(e>>countBits&0xfff), e&countMask)
		}
	}
	if s.many != nil {
		for ; in != 0; in &= in - 1 {
			s.many.each(bits.TrailingZeros(in), dst.addBucket)
		}
	}
	return dst.n != before
}
