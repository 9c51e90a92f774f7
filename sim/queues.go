package sim

import (
	"cmp"
	"slices"
)

// running is a request in service.
type running struct {
	end, at, begun float64
	node           int32
}

// runningHeap has the request that ends first on top. It is written out because it is where the time goes.
type runningHeap []running

func (h *runningHeap) push(r running) {
	*h = append(*h, r)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / 2
		if a[up].end <= r.end {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = r
}

func (h *runningHeap) pop() running {
	a := *h
	top, last := a[0], a[len(a)-1]
	a = a[:len(a)-1]
	*h = a
	i := 0
	for {
		down := 2*i + 1
		if down >= len(a) {
			break
		}
		if down+1 < len(a) && a[down+1].end < a[down].end {
			down++
		}
		if last.end <= a[down].end {
			break
		}
		a[i] = a[down]
		i = down
	}
	if len(a) > 0 {
		a[i] = last
	}
	return top
}

// take removes the requests on a node, which is rare, and hands each to f.
func (h *runningHeap) take(node int32, f func(running)) {
	kept := (*h)[:0]
	for _, r := range *h {
		if r.node == node {
			f(r)
			continue
		}
		kept = append(kept, r)
	}
	*h = kept
	// A sorted slice is a heap.
	slices.SortFunc(kept, func(a, b running) int { return cmp.Compare(a.end, b.end) })
}

// fifo is the queue, a ring.
type fifo struct {
	ring  []request
	head  int
	count int
}

func (q *fifo) push(r request) {
	if q.count == len(q.ring) {
		bigger := make([]request, max(64, 2*len(q.ring)))
		for i := range q.count {
			bigger[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = bigger, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = r
	q.count++
}

func (q *fifo) first() *request { return &q.ring[q.head] }

func (q *fifo) pop() request {
	r := q.ring[q.head]
	q.head++
	if q.head == len(q.ring) {
		q.head = 0
	}
	q.count--
	return r
}
