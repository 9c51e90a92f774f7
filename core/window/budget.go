package window

// Budget bounds the memory that any number of windows take together for what grows with traffic. A window that is refused
// goes on with less: a coarser past, fewer kept entries, a value in the nearest bucket. It is as safe for concurrent use as
// its numbers are, and nil is without bound.
type Budget struct {
	limit         int64
	number        func() Number
	used, refused Number
}

// Number is a number that windows share; *atomic.Int64 is one for concurrent use.
type Number interface {
	Add(delta int64) int64
	Load() int64
}

type plainNumber int64

func (n *plainNumber) Add(delta int64) int64 { *n += plainNumber(delta); return int64(*n) }
func (n *plainNumber) Load() int64           { return int64(*n) }

func newPlain() Number { return new(plainNumber) }

// NewBudget returns a budget of so many bytes. number makes the numbers that it and the Sketches of it count in; with nil,
// they must not be used concurrently.
func NewBudget(bytes int64, number func() Number) *Budget {
	if number == nil {
		number = newPlain
	}
	return &Budget{limit: bytes, number: number, used: number(), refused: number()}
}

func (b *Budget) newNumber() Number {
	if b == nil {
		return newPlain()
	}
	return b.number()
}

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
	return uint64(b.refused.Load())
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

// Take is for those who keep something beside windows: it takes n bytes, or tells that there is no room. Give gives them back.
func (b *Budget) Take(n int) bool { return b.take(n) }

// Give gives back n bytes that Take took.
func (b *Budget) Give(n int) { b.give(n) }

// tight tells that three quarters are gone: those who have much must share, so that newcomers find something.
func (b *Budget) tight() bool { return b != nil && b.used.Load() > b.limit/4*3 }
