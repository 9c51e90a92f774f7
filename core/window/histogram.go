package window

import (
	"math/bits"
	"time"
)

const (
	subBits = 6
	subs    = 1 << subBits
	// maxMicros is the largest latency told apart, 2^37-1 µs (38 hours); larger ones count as this.
	maxMicros   = 1<<37 - 1
	histBuckets = subs * (37 - subBits + 1)
)

// Histogram counts latencies in log-linear buckets: exact below 128 µs, then 64 buckets per doubling, up to 38 hours.
// The zero value is empty and ready. Its size is fixed (about 8 kB), which
// suits one for all; Sketch is for many.
type Histogram struct {
	counts [histBuckets]uint32
	n      uint64
	sum    uint64
	// used holds the first and one past the last bucket in use, so that merging and clearing touch no more.
	lo, hi uint16
}

// Add counts one latency.
func (h *Histogram) Add(d time.Duration) { h.AddN(d, 1) }

// AddN counts the same latency n times.
func (h *Histogram) AddN(d time.Duration, n uint32) {
	if n == 0 {
		return
	}
	us := micros(d)
	i := bucketOf(us)
	h.counts[i] = addCount(h.counts[i], n)
	h.widen(i, i+1)
	h.n += uint64(n)
	h.sum += us * uint64(n)
}

// addBucket counts n values of bucket i, each as the bucket's middle.
func (h *Histogram) addBucket(i int, n uint32) {
	h.counts[i] = addCount(h.counts[i], n)
	h.widen(i, i+1)
	h.n += uint64(n)
	h.sum += uint64(n) * uint64(middle(i)/time.Microsecond)
}

// Merge adds the counts of o.
func (h *Histogram) Merge(o *Histogram) {
	if o.n == 0 {
		return
	}
	for i := o.lo; i < o.hi; i++ {
		h.counts[i] = addCount(h.counts[i], o.counts[i])
	}
	h.widen(int(o.lo), int(o.hi))
	h.n += o.n
	h.sum += o.sum
}

// Reset empties the histogram.
func (h *Histogram) Reset() {
	clear(h.counts[h.lo:h.hi])
	h.n, h.sum, h.lo, h.hi = 0, 0, 0, 0
}

// Count is the number of latencies counted.
func (h *Histogram) Count() uint64 { return h.n }

// Mean is the exact mean of what was counted, 0 when that is nothing.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum/h.n) * time.Microsecond
}

// Quantile returns the latency below or at which the share q of the counted ones lies (nearest rank), within 1 %. q
// outside 0..1 is taken as the nearer end. An empty histogram answers 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(1)
	if q > 0 {
		// The smallest number of values that is at least the share q of all.
		exact := min(q, 1) * float64(h.n)
		if rank = uint64(exact); float64(rank) < exact {
			rank++
		}
		rank = min(max(rank, 1), h.n)
	}
	var seen uint64
	for i := h.lo; i < h.hi; i++ {
		seen += uint64(h.counts[i])
		if seen >= rank {
			return middle(int(i))
		}
	}
	// Only reached when a count was capped at its maximum.
	return middle(int(h.hi) - 1)
}

func (h *Histogram) widen(lo, hi int) {
	if h.lo == h.hi {
		h.lo, h.hi = uint16(lo), uint16(hi)
		return
	}
	h.lo, h.hi = min(h.lo, uint16(lo)), max(h.hi, uint16(hi))
}

// addCount adds without wrapping round.
func addCount(a, b uint32) uint32 {
	if s := a + b; s >= a {
		return s
	}
	return 1<<32 - 1
}

func micros(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return min(uint64(d/time.Microsecond), maxMicros)
}

// bucketOf maps microseconds to a bucket: the values below 64 to themselves, others by their seven highest bits.
func bucketOf(us uint64) int {
	// There is nothing to be left out of values below 2*subs.
	shift := uint(bits.Len64(us|(2*subs-1)) - 1 - subBits)
	return int(shift*subs + uint(us>>(shift%64)))
}

// middle is the middle of bucket i, the value that stands for all in it.
func middle(i int) time.Duration {
	if i < 2*subs {
		return time.Duration(i) * time.Microsecond
	}
	shift := i/subs - 1
	low := uint64(i-shift*subs) << shift
	return time.Duration(low+(1<<shift-1)/2) * time.Microsecond
}
