package window

// Ring keeps the last N entries in order of arrival and numbers all that ever arrived from 1.
type Ring[T any] struct {
	buf  []T
	size int
	seq  uint64
}

// NewRing returns a ring of the last n entries, at least 1. It takes memory as entries come, up to n of them.
func NewRing[T any](n int) *Ring[T] { return &Ring[T]{size: max(n, 1)} }

// Add appends v, forgetting the oldest entry when the ring is full, and returns v's number.
func (r *Ring[T]) Add(v T) uint64 {
	if len(r.buf) < r.size {
		r.buf = append(r.buf, v)
	} else {
		r.buf[r.seq%uint64(r.size)] = v
	}
	r.seq++
	return r.seq
}

// Last is the number of the newest entry, 0 before the first.
func (r *Ring[T]) Last() uint64 { return r.seq }

// Since appends to dst every entry with a number above seq, oldest first, and tells how many above seq had been
// overwritten already.
func (r *Ring[T]) Since(dst []T, seq uint64) (out []T, overwritten uint64) {
	if seq >= r.seq {
		return dst, 0
	}
	from := seq
	if oldest := r.seq - uint64(len(r.buf)); from < oldest {
		overwritten = oldest - from
		from = oldest
	}
	start, end := int(from%uint64(r.size)), int(r.seq%uint64(r.size))
	if start < end {
		return append(dst, r.buf[start:end]...), overwritten
	}
	dst = append(dst, r.buf[start:]...)
	return append(dst, r.buf[:end]...), overwritten
}
