package window

const (
	blockBytes = 440
	// coarseSeconds is the width that old buckets are merged to when memory is short.
	coarseSeconds = 10
	// keepFine is the number of blocks that keep their seconds as long as there is any memory.
	keepFine = 4
)

// block is a stretch of successive seconds, encoded. It has no pointers and is 512 bytes.
type block struct {
	first   int64
	seconds int32
	used    int32
	total   Bucket
	data    [blockBytes]byte
}

// blockSize is what a block takes: 16 bytes, 7 numbers of 8, and the data.
const blockSize = 16 + 7*8 + blockBytes

func (b *block) end() int64 { return b.first + int64(b.seconds) }

// fits tells whether n more bytes do.
func (b *block) fits(n int) bool { return int(b.used)+n <= blockBytes }

// push appends an entry of width seconds, which fits; c is what it says.
func (b *block) push(entry []byte, width int64, c *cell) {
	b.used += int32(copy(b.data[b.used:], entry))
	b.seconds += int32(width)
	t := c.bucket()
	b.total.add(&t)
}

// past is what Seconds remembers beyond its ring: encoded blocks, oldest first, the first coarse of them in buckets of
// ten seconds, then idle seconds that have not been encoded yet.
//
//	[coarse block]..[fine block]..[newest block] idle | ring
type past struct {
	span   int64
	budget *Budget
	blocks []*block
	coarse int
	idle   int64
	// next is the second after the newest, from the oldest that is known; both are valid once begun.
	next, from int64
	begun      bool
}

// start says that nothing is known before second sec.
func (p *past) start(sec int64) {
	if !p.begun {
		p.begun, p.next, p.from = true, sec, sec
	}
}

// skip appends n idle seconds.
func (p *past) skip(n int64) {
	p.next += n
	p.idle += n
	p.expire()
}

// push appends one second.
func (p *past) push(c *cell) {
	if *c == (cell{}) {
		p.skip(1)
		return
	}
	var space [maxEntry + hourSeconds/maxRun + 1]byte
	entry := appendCell(appendIdle(space[:0], p.idle), c, 1)
	b := p.room(len(entry))
	if b == nil {
		// Not even one block: all before now is forgotten.
		p.idle = 0
		p.next++
		p.from = p.next
		return
	}
	b.push(entry, p.idle+1, c)
	p.idle = 0
	p.next++
	p.expire()
}

// room returns the block to append to, with n bytes free; nil when there is no memory.
func (p *past) room(n int) *block {
	if k := len(p.blocks); k > p.coarse && p.blocks[k-1].fits(n) {
		return p.blocks[k-1]
	}
	var b *block
	// Two for one: who has much shrinks, and leaves room for those who have little.
	for range 2 {
		if len(p.blocks)-p.coarse <= keepFine || !p.budget.tight() {
			break
		}
		if empty := p.coarsen(); b == nil {
			b = empty
		} else if empty != nil {
			p.budget.give(blockSize)
		}
	}
	if b == nil && p.budget.take(blockSize) {
		b = &block{}
	}
	if b == nil && len(p.blocks) > 0 {
		b = p.drop()
	}
	if b == nil {
		return nil
	}
	*b = block{first: p.next - p.idle}
	p.blocks = append(p.blocks, b)
	return b
}

// drop forgets the oldest block and returns it for another use.
func (p *past) drop() *block {
	b := p.blocks[0]
	p.blocks = p.blocks[:copy(p.blocks, p.blocks[1:])]
	p.coarse = max(0, p.coarse-1)
	p.from = max(p.from, b.end())
	return b
}

// expire forgets blocks that lie before the span.
func (p *past) expire() {
	oldest := p.next - p.span
	p.from = max(p.from, oldest)
	for len(p.blocks) > 0 && p.blocks[0].end() <= oldest {
		p.drop()
		p.budget.give(blockSize)
	}
	if p.idle > p.span && len(p.blocks) == 0 {
		p.idle = p.span
	}
}

// coarsen merges the seconds of the oldest fine block to tens and packs them behind the coarse ones. It returns the block
// when that left it empty, else nil.
func (p *past) coarsen() *block {
	b := p.blocks[p.coarse]
	data, first := b.data, b.first
	rest := data[:b.used]
	*b = block{first: first}
	to := b
	if p.coarse > 0 {
		to = p.blocks[p.coarse-1]
	}
	var space [maxEntry]byte
	put := func(entry []byte, width int64, c *cell) {
		if to != b && !to.fits(len(entry)) {
			to, b.first = b, first
		}
		to.push(entry, width, c)
		first += width
	}
	var sum, c cell
	width := int64(0)
	flush := func() {
		if width > 0 {
			put(appendCell(space[:0], &sum, width), width, &sum)
			sum, width = cell{}, 0
		}
	}
	for len(rest) > 0 {
		var w int64
		w, rest = nextEntry(rest, &c)
		idle := c == cell{}
		if idle || width+w > coarseSeconds {
			flush()
		}
		if idle {
			put(appendIdle(space[:0], w), w, &c)
			continue
		}
		t := c.bucket()
		sum.add(&t)
		width += w
	}
	flush()
	if b.seconds > 0 {
		p.coarse++
		return nil
	}
	p.blocks = append(p.blocks[:p.coarse], p.blocks[p.coarse+1:]...)
	return b
}

// sum adds up the seconds from..now-1 to total and returns the first second it speaks for, which is later than from when
// that falls within a coarse bucket or before what is known.
func (p *past) sum(total *Bucket, from, now int64) int64 {
	from = max(from, p.from)
	for i := len(p.blocks) - 1; i >= 0; i-- {
		b := p.blocks[i]
		if b.end() <= from {
			break
		}
		if b.first >= from && b.end() <= now {
			total.add(&b.total)
			continue
		}
		from = b.sum(total, from, now)
	}
	return from
}

func (b *block) sum(total *Bucket, from, now int64) int64 {
	var c cell
	sec := b.first
	for rest := b.data[:b.used]; len(rest) > 0 && sec < now; {
		var width int64
		width, rest = nextEntry(rest, &c)
		end := sec + width
		idle := c == cell{}
		switch {
		case end <= from || idle:
		case sec < from:
			from = end
		case end <= now:
			t := c.bucket()
			total.add(&t)
		}
		sec = end
	}
	return from
}

// release gives all memory back.
func (p *past) release() {
	p.budget.give(len(p.blocks) * blockSize)
	*p = past{span: p.span, budget: p.budget}
}
