package window

import "sync/atomic"

// Budget bounds the memory that any number of windows take together for what grows with traffic. A window that is refused
// goes on with less: a coarser past, fewer kept entries, a value in the nearest bucket. It is safe for concurrent use, and
// nil is without bound.
type Budget struct {
	limit   int64
	used    atomic.Int64
	refused atomic.Uint64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Used is the number of bytes taken now.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Refused is the number of times that there was no room.
func (b *Budget) Refused() uint64 {
	if b == nil {
		return 0
	}
	return b.refused.Load()
}

func (b *Budget) take(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		b.refused.Add(1)
		return false
	}
	return true
}

func (b *Budget) give(n int) {
	if b != nil {
		b.used.Add(-int64(n))
	}
}

// tight tells that three quarters are gone: those who have much must share, so that newcomers find something.
func (b *Budget) tight() bool { return b != nil && b.used.Load() > b.limit/4*3 }
