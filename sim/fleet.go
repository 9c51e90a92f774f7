package sim

// node is the app's workers on one machine. A worker is starting, ready (idle or busy) or draining (busy, and gone afterwards).
type node struct {
	up bool
	// out: its workers are not in service, as those of a parked server.
	out      bool
	max      int
	target   int
	starting int
	ready    int
	draining int
	// busy counts draining workers, too.
	busy int
	// answered counts requests.
	answered int
	// busySum is the integral of busy up to busyAt.
	busySum, busyAt float64
	// lately is the mean of busy over the second that ended last, at busyMark.
	lately, busyMark float64
}

func (n *node) idle() int { return n.ready - (n.busy - n.draining) }

// free is how many requests it can take now.
func (n *node) free() int {
	if n.out {
		return 0
	}
	return n.idle()
}

// live is what the target counts.
func (n *node) live() int { return n.ready + n.starting }

func (n *node) setBusy(now float64, change int) {
	n.busySum += float64(n.busy) * (now - n.busyAt)
	n.busyAt = now
	n.busy += change
}

// endSecond notes the mean of busy over the second that ends now.
func (n *node) endSecond(now float64) {
	n.setBusy(now, 0)
	n.lately, n.busyMark = n.busySum-n.busyMark, n.busySum
}

// start is a worker that warms up.
type start struct {
	ready float64
	node  int
}

// fleet is all nodes and what warms up on them, in the order of readiness.
type fleet struct {
	nodes    []node
	starting []start
	// started counts the workers ordered; paid is the integral of starting, ready and draining workers up to paidAt.
	started      int
	paid, paidAt float64
}

func newFleet(perNode []int) *fleet {
	f := &fleet{nodes: make([]node, len(perNode))}
	for i, most := range perNode {
		f.nodes[i] = node{up: true, max: most}
	}
	return f
}

// sum adds up what the nodes have.
func (f *fleet) sum() (ready, starting, draining, busy int) {
	for i := range f.nodes {
		n := &f.nodes[i]
		ready, starting, draining, busy = ready+n.ready, starting+n.starting, draining+n.draining, busy+n.busy
	}
	return
}

// pay brings the account up to now. It must be called before the number of workers changes.
func (f *fleet) pay(now float64) {
	ready, starting, draining, _ := f.sum()
	f.paid += float64(ready+starting+draining) * (now - f.paidAt)
	f.paidAt = now
}

// freest is the node with the most idle workers, -1 when all are busy.
func (f *fleet) freest() int {
	best, most := -1, 0
	for i := range f.nodes {
		if idle := f.nodes[i].free(); idle > most {
			best, most = i, idle
		}
	}
	return best
}

// spread sets targets that sum up to want: workers come to the node that has fewest, and leave where one warms up, then where
// most are, so that as few as possible move.
func (f *fleet) spread(want int) {
	have := 0
	for i := range f.nodes {
		n := &f.nodes[i]
		if !n.up {
			n.target = 0
			continue
		}
		n.target = min(n.max, n.live())
		have += n.target
	}
	for ; have < want; have++ {
		best := -1
		for i := range f.nodes {
			if n := &f.nodes[i]; n.up && n.target < n.max && (best < 0 || n.target < f.nodes[best].target) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		f.nodes[best].target++
	}
	for ; have > want; have-- {
		best, bestScore := -1, -1
		for i := range f.nodes {
			n := &f.nodes[i]
			score := n.target
			if n.target > n.ready {
				score += 1 << 20
			}
			if n.target > 0 && score > bestScore {
				best, bestScore = i, score
			}
		}
		if best < 0 {
			return
		}
		f.nodes[best].target--
	}
}

// carryOut brings a node to its target: it orders workers, or cancels those that warm up (the last ordered first), then lets idle
// ones go, then those that finish their request first.
func (f *fleet) carryOut(now, warmUp float64, i int) {
	n := &f.nodes[i]
	for n.up && n.live() < n.target {
		n.starting++
		f.started++
		f.starting = append(f.starting, start{now + warmUp, i})
	}
	for n.live() > n.target && n.starting > 0 {
		f.cancel(i)
	}
	if less := n.live() - n.target; less > 0 {
		busy := less - max(0, min(less, n.idle()))
		n.ready -= less
		n.draining += busy
	}
}

// cancel ends the worker ordered last on a node.
func (f *fleet) cancel(i int) {
	for k := len(f.starting) - 1; k >= 0; k-- {
		if f.starting[k].node == i {
			f.starting = append(f.starting[:k], f.starting[k+1:]...)
			f.nodes[i].starting--
			return
		}
	}
}

// lose takes a node with all workers away; the requests on it are the caller's.
func (f *fleet) lose(now float64, i int) {
	for f.nodes[i].starting > 0 {
		f.cancel(i)
	}
	n := &f.nodes[i]
	n.setBusy(now, -n.busy)
	n.up, n.ready, n.draining, n.target = false, 0, 0, 0
}
