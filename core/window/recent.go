package window

const (
	firstRecent = 8
	// quietTakes is after how many takes that used less than a quarter of it a buffer is halved.
	quietTakes = 16
)

// Recent keeps the newest entries since they were last taken, and numbers all that ever came from 1. It takes memory of
// the budget as entries come; when there is no more, or the bound is reached, the oldest entry makes room and is counted
// as lost.
type Recent[T any] struct {
	budget   *Budget
	size     int
	buf      []T
	start, n int
	bound    int
	seq      uint64
	lost     uint64
	quiet    int
}

// NewRecent returns a Recent of at most n entries, at least 1, each of which takes size bytes.
func NewRecent[T any](n, size int, b *Budget) *Recent[T] {
	return &Recent[T]{budget: b, size: size, bound: max(n, 1)}
}

// Add appends v.
func (r *Recent[T]) Add(v T) {
	if p := r.Next(); p != nil {
		*p = v
	}
}

// Next appends an entry, and returns it to be written: it holds what was there before. It is nil when there is no memory for any.
func (r *Recent[T]) Next() *T {
	r.seq++
	if r.n == len(r.buf) && (r.n == r.bound || !r.resize(min(max(firstRecent, 2*len(r.buf)), r.bound))) {
		r.lost++
		if len(r.buf) == 0 {
			return nil
		}
		p := &r.buf[r.start]
		r.start = r.place(1)
		return p
	}
	p := &r.buf[r.place(r.n)]
	r.n++
	return p
}

// place is where entry i stands, i up to the length of the buffer. It spares the division of a modulus.
func (r *Recent[T]) place(i int) int {
	if i += r.start; i >= len(r.buf) {
		i -= len(r.buf)
	}
	return i
}

// Len is the number of entries that Take would hand over.
func (r *Recent[T]) Len() int { return r.n }

// Take calls f for every entry since the last Take, oldest first, with its number, and tells how many more there were.
func (r *Recent[T]) Take(f func(seq uint64, v *T)) (lost uint64) {
	first := r.seq - uint64(r.n) + 1
	for i := range r.n {
		f(first+uint64(i), &r.buf[r.place(i)])
	}
	if r.quiet++; r.n > len(r.buf)/4 {
		r.quiet = 0
	}
	lost = r.lost
	r.start, r.n, r.lost = 0, 0, 0
	if r.quiet >= quietTakes && len(r.buf) > 0 {
		r.quiet = 0
		r.resize(len(r.buf) / 2)
	}
	return lost
}

// Release forgets the entries and gives the memory back to the budget.
func (r *Recent[T]) Release() {
	r.start, r.n = 0, 0
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
		k := copy(buf, r.buf[r.start:min(len(r.buf), r.start+r.n)])
		copy(buf[k:], r.buf[:r.n-k])
	}
	r.buf, r.start = buf, 0
	return true
}
