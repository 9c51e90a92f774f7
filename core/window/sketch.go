package window

import "time"

// Sketch is a latency distribution over the last span seconds, made of parts histograms that are thrown away one by one.
// The part being filled belongs to the span, so that an answer covers between span-span/parts and span seconds.
type Sketch struct {
	width int64
	slots []sketchSlot
	late  uint64
}

type sketchSlot struct {
	// turn is the number of the slot's interval plus one; 0 means never used.
	turn int64
	hist Histogram
}

// NewSketch returns a sketch over span seconds in parts parts, each about 8 kB. Both are at least 1, and span is rounded
// up to a multiple of parts.
func NewSketch(span, parts int) *Sketch {
	parts = max(parts, 1)
	span = max(span, parts)
	return &Sketch{width: int64((span + parts - 1) / parts), slots: make([]sketchSlot, parts)}
}

// Add counts a latency in second sec (0 or more). A second older than the span is dropped and counted by Late.
func (s *Sketch) Add(sec int64, d time.Duration) {
	if sec < 0 {
		s.late++
		return
	}
	turn := sec/s.width + 1
	slot := &s.slots[turn%int64(len(s.slots))]
	switch {
	case turn < slot.turn:
		s.late++
		return
	case turn > slot.turn:
		slot.hist.Reset()
		slot.turn = turn
	}
	slot.hist.Add(d)
}

// Merge adds what was counted in the span that ends with second now to dst.
func (s *Sketch) Merge(now int64, dst *Histogram) {
	last := now/s.width + 1
	for i := range s.slots {
		slot := &s.slots[i]
		if slot.turn != 0 && slot.turn <= last && slot.turn > last-int64(len(s.slots)) {
			dst.Merge(&slot.hist)
		}
	}
}

// Late is the number of latencies that came too late to be counted.
func (s *Sketch) Late() uint64 { return s.late }
