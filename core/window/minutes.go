package window

const (
	minute       = 60
	hourMinutes  = 60
	firstMinutes = 16
)

// Minutes is the last hour in buckets of a minute, for subjects of which there are very many. It takes about 100 bytes and
// for each minute in which something happened 8 to 10 bytes of the budget; the oldest are forgotten when that is gone.
type Minutes struct {
	data []byte
	// now is what happens in minute next, from the first minute in data. first is the second in which it began.
	now        cell
	from, next int32
	first      int64
}

// NewMinutes returns an hour that begins in second sec. Minutes are numbered with 32 bits.
func NewMinutes(sec int64) Minutes {
	m := floorMinute(sec)
	return Minutes{from: m, next: m, first: sec}
}

// Add adds b to the minute of second sec, or to the running one when that is later. Its memory is of the
// budget, which must be the same each time.
func (m *Minutes) Add(sec int64, b Bucket, budget *Budget) {
	m.reach(floorMinute(sec), budget)
	m.now.add(&b)
}

// Minute is the number of a minute: who counts many requests of one second works it out once.
type Minute int32

// MinuteOf is the minute of second sec.
func MinuteOf(sec int64) Minute { return Minute(floorMinute(sec)) }

// CountOne is Add of one completed request. failed is 1 if it did, and timed 1 if its times in microseconds were told; they are 0
// otherwise.
func (m *Minutes) CountOne(minute Minute, failed, timed uint32, queue, connect, response uint64, budget *Budget) {
	if int32(minute) > m.next {
		m.reach(int32(minute), budget)
	}
	c := &m.now
	c.arrivals, c.completions = addOne(c.arrivals, 1), addOne(c.completions, 1)
	c.errors, c.timed = addOne(c.errors, failed), addOne(c.timed, timed)
	c.queue, c.connect, c.response = c.queue+queue, c.connect+connect, c.response+response
}

// Sum adds up the n seconds before now, the running second included, and tells how many seconds it speaks for: whole
// minutes back to at most n seconds ago, and the part of the running one.
func (m *Minutes) Sum(now int64, n int) (total Bucket, covered int) {
	lowest := now - int64(n)
	at := int64(m.from)
	rest := m.data
	var c cell
	first := max(m.first, int64(m.from)*minute)
	if lowest > first {
		first = (int64(floorMinute(lowest-1)) + 1) * minute
	}
	for len(rest) > 0 {
		var width int64
		width, rest = nextEntry(rest, &c)
		if at*minute >= first || first == m.first {
			t := c.bucket()
			total.add(&t)
		}
		at += width
	}
	if first > now {
		return Bucket{}, 0
	}
	if (int64(m.next)+1)*minute > first {
		t := m.now.bucket()
		total.add(&t)
	}
	return total, int(now - first)
}

// Release forgets everything and gives the memory back to the budget.
func (m *Minutes) Release(b *Budget) {
	b.give(cap(m.data))
	m.data, m.now = nil, cell{}
	m.from = m.next
}

// reach encodes the running minute when turn is a later one.
func (m *Minutes) reach(turn int32, b *Budget) {
	if turn <= m.next {
		return
	}
	if turn-m.next > hourMinutes {
		m.Release(b)
		m.from, m.next, m.first = turn, turn, int64(turn)*minute
		return
	}
	var space [maxEntry]byte
	if m.now != (cell{}) {
		m.put(appendCell(space[:0], &m.now, 1), m.next+1, b)
	} else {
		m.put(appendIdle(space[:0], 1), m.next+1, b)
	}
	if m.next++; turn > m.next {
		m.put(appendIdle(space[:0], int64(turn-m.next)), turn, b)
	}
	m.next, m.now = turn, cell{}
	for len(m.data) > 0 && m.from < turn-hourMinutes {
		m.drop()
	}
	if len(m.data) == 0 {
		m.from = turn
	}
}

// put appends an entry that ends before minute end, in place of old ones when there is no memory.
func (m *Minutes) put(entry []byte, end int32, b *Budget) {
	for len(m.data)+len(entry) > cap(m.data) {
		if size := max(firstMinutes, 2*cap(m.data)); b.take(size - cap(m.data)) {
			m.data = append(make([]byte, 0, size), m.data...)
			continue
		}
		if len(m.data) == 0 {
			m.from = end
			return
		}
		m.drop()
	}
	m.data = append(m.data, entry...)
}

// drop forgets the oldest entry.
func (m *Minutes) drop() {
	var c cell
	width, rest := nextEntry(m.data, &c)
	m.data = m.data[:copy(m.data, rest)]
	m.from += int32(width)
}

func floorMinute(sec int64) int32 {
	if sec < 0 {
		sec -= minute - 1
	}
	return int32(sec / minute)
}
