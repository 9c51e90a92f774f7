package window

const (
	firstRecent = 8
	// quietTakes is after how many takes that used less than a quarter of it a buffer is halved.
	quietTakes = 16
)

// Recent keeps what has come since it was last taken. It takes memory of the budget as entries come; when there is no more, or the
// bound is reached, it keeps a part that stands for all: of every stride entries in a row one, by chance (a stratified sample, so
// that what comes at an even pace, as the servers of a round robin do, is not always the same one). The stride begins with 1 and
// doubles each time that there is no room.
type Recent[T any] struct {
	budget *Budget
	size   int
	buf    []T
	n      int
	bound  int
	quiet  int
	came   uint64
	// skip entries are passed over before the next one that is kept, rest of those after it belong to the same stride.
	skip, rest, stride uint64
	chance             chance
}

// NewRecent returns a Recent of at most n entries, an even number and at least 2, each of which takes size bytes.
func NewRecent[T any](n, size int, b *Budget) *Recent[T] {
	return &Recent[T]{budget: b, size: size, bound: max(even(n), 2), stride: 1}
}

// even is n, or one more, so that entries can be thinned out in pairs.
func even(n int) int { return n + n&1 }

// Add appends v, or passes it over.
func (r *Recent[T]) Add(v T) {
	if p := r.Next(); p != nil {
		*p = v
	}
}

// Next appends an entry, and returns it to be written: it holds what was there before. It is nil for one that is not kept.
func (r *Recent[T]) Next() *T {
	r.came++
	if r.skip > 0 {
		r.skip--
		return nil
	}
	return r.keep()
}

// keep appends an entry if there is room, or makes room; it may be the chance of a later one then.
func (r *Recent[T]) keep() *T {
	if r.n == len(r.buf) && !r.resize(min(max(firstRecent, 2*len(r.buf)), r.bound)) {
		if r.n == 0 {
			return nil
		}
		r.thin()
		// This entry is in the first half of a stride that is twice as long now. The second half has the same chance.
		half := r.stride / 2
		if r.chance.next()&1 == 0 {
			at := r.chance.next() & (half - 1)
			r.skip, r.rest = r.rest+at, half-1-at
			return nil
		}
		r.rest += half
	}
	p := &r.buf[r.n]
	r.n++
	if r.stride > 1 {
		at := r.chance.next() & (r.stride - 1)
		r.skip, r.rest = r.rest+at, r.stride-1-at
	}
	return p
}

// thin keeps one of each two entries.
func (r *Recent[T]) thin() {
	r.n /= 2
	which := uint64(0)
	for i := range r.n {
		if i%64 == 0 {
			which = r.chance.next()
		}
		r.buf[i] = r.buf[2*i+int(which>>(i%64)&1)]
	}
	r.stride *= 2
}

// Len is the number of entries that Take would hand over.
func (r *Recent[T]) Len() int { return r.n }

// Take calls f for every entry kept since the last Take, oldest first, and tells how many more there were.
func (r *Recent[T]) Take(f func(v *T)) (lost uint64) {
	for i := range r.buf[:r.n] {
		f(&r.buf[i])
	}
	if r.quiet++; r.n > len(r.buf)/4 {
		r.quiet = 0
	}
	lost = r.came - uint64(r.n)
	r.restart()
	if r.quiet >= quietTakes && len(r.buf) > 0 {
		r.quiet = 0
		r.resize(even(len(r.buf) / 2))
	}
	return lost
}

// restart forgets the entries.
func (r *Recent[T]) restart() {
	r.n, r.came = 0, 0
	r.skip, r.rest, r.stride = 0, 0, 1
}

// Release forgets the entries and gives the memory back to the budget.
func (r *Recent[T]) Release() {
	r.restart()
	r.resize(0)
}

// resize changes the buffer to n entries, at least those in it; false when it is that already or there is no memory.
func (r *Recent[T]) resize(n int) bool {
	switch more := n - len(r.buf); {
	case more == 0 || more > 0 && !r.budget.take(more*r.size):
		return false
	case more < 0:
		r.budget.give(-more * r.size)
	}
	var buf []T
	if n > 0 {
		buf = make([]T, n)
		copy(buf, r.buf[:r.n])
	}
	r.buf = buf
	return true
}

// chance draws numbers, the same ones each time (SplitMix64; Steele, Lea and Flood 2014).
type chance uint64

func (c *chance) next() uint64 {
	*c += 0x9e3779b97f4a7c15
	z := uint64(*c)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
