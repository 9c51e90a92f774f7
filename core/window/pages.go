package window

const (
	pageBuckets = subs
	pagesOfHist = histBuckets / pageBuckets
	pageSize    = pageBuckets * 4
	// pagesSize is what pages takes beside its pages.
	pagesSize = maxParts*2*pagesOfHist + 48
)

type page [pageBuckets]uint32

// pages counts in pages of 64 buckets, about one for each doubling of latency. Those of a part that is over are used again.
type pages struct {
	// index holds the number of a page plus one, 0 for none, by slot.
	index [maxParts][pagesOfHist]uint16
	all   []*page
	free  []uint16
}

// add counts n values; false when there was no page for them and they went to the nearest there is, or nowhere.
func (p *pages) add(slot, i int, n uint32, b *Budget) bool {
	index := &p.index[slot]
	k := i / pageBuckets
	ok := true
	if index[k] == 0 && !p.grow(&index[k], b) {
		ok = false
		if k, i = nearest(index, i); k < 0 {
			return false
		}
	}
	c := &p.all[index[k]-1][i%pageBuckets]
	*c = addCount(*c, n)
	return ok
}

func (p *pages) grow(to *uint16, b *Budget) bool {
	if k := len(p.free); k > 0 {
		*to, p.free = p.free[k-1], p.free[:k-1]
		return true
	}
	if !b.take(pageSize) {
		return false
	}
	p.all = append(p.all, &page{})
	*to = uint16(len(p.all))
	return true
}

// nearest returns the page in use that is nearest to bucket i, and its nearest bucket; -1 when none is.
func nearest(index *[pagesOfHist]uint16, i int) (k, bucket int) {
	at := i / pageBuckets
	for d := 1; d < pagesOfHist; d++ {
		if k := at - d; k >= 0 && index[k] != 0 {
			return k, k*pageBuckets + pageBuckets - 1
		}
		if k := at + d; k < pagesOfHist && index[k] != 0 {
			return k, k * pageBuckets
		}
	}
	return -1, 0
}

// clear empties a slot and keeps its pages for others.
func (p *pages) clear(slot int) {
	for k, number := range p.index[slot] {
		if number != 0 {
			*p.all[number-1] = page{}
			p.free = append(p.free, number)
			p.index[slot][k] = 0
		}
	}
}

// atMost tells whether no more than so many values are left.
func (p *pages) atMost(values uint64) bool {
	n := uint64(0)
	for _, counts := range p.all {
		for _, k := range counts {
			n += uint64(k)
		}
		if n > values {
			return false
		}
	}
	return true
}

// each calls f for every bucket of a slot that has counts.
func (p *pages) each(slot int, f func(bucket int, n uint32)) {
	for k, number := range p.index[slot] {
		if number == 0 {
			continue
		}
		for i, n := range p.all[number-1] {
			if n != 0 {
				f(k*pageBuckets+i, n)
			}
		}
	}
}

func (p *pages) release(b *Budget) {
	b.give(pagesSize + len(p.all)*pageSize)
	*p = pages{}
}
