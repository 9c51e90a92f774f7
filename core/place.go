package core

import "math"

// maxWorkers is the app's maximum, or what its servers can hold when that is less; servers held by humans do not count.
func (t *turn) maxWorkers() int {
	sum := 0
	for i := range t.servers {
		if v := &t.servers[i]; !v.foreign {
			sum += v.p.MaxWorkers
		}
	}
	if t.p.MaxWorkers > 0 {
		sum = min(sum, t.p.MaxWorkers)
	}
	return sum
}

func round2(x float64) float64 { return math.Round(100*x) / 100 }

// place spreads the wanted workers: as few servers as hold them at the planned fill (but at least MinServers), those that
// serve already first, then evenly by each server's size. A server whose agent does not report keeps what it has.
func (t *turn) place(workers int) {
	in, room := t.space.in[:0], 0
	order := t.order()
	least := t.p.MinServers
	if t.p.Sizing.Erlang.LoseNode {
		// One of five is a fifth of the capacity; on fewer nodes the loss of one costs more than it saves.
		least = max(least, min(nodesToLoseOne, len(order)))
	}
	for _, v := range order {
		if t.lost(v) {
			continue
		}
		if !v.p.AlwaysUp && len(in) >= least && room >= workers {
			if !v.m.Serve {
				continue
			}
			if t.mayRetire() {
				t.unwant(v)
				continue
			}
		}
		in = append(in, v)
		room += max(1, int(float64(v.p.MaxWorkers)*t.p.Fill))
	}
	open, left := t.space.open[:0], workers
	for _, v := range in {
		if !v.m.Serve {
			t.want(v)
		}
		if !v.o.Pool.Known {
			left -= v.m.Workers
			continue
		}
		open = append(open, v)
	}
	t.space.in, t.space.open = in, open
	t.spread(open, left)
}

// nodesToLoseOne is the number of servers that workers are spread over at least when the loss of a node is provided for.
const nodesToLoseOne = 5

// mayRetire tells whether a server may be taken out of the wanted set: not on bad data, and not before enough is known.
func (t *turn) mayRetire() bool { return t.hold == "" && (t.result == nil || !t.result.Starting) }

// order lists the servers that can take workers: always_up, then in service, then wanted, then candidates in policy order.
func (t *turn) order() []*view {
	groups := &t.space.ranked
	for rank := range groups {
		groups[rank] = groups[rank][:0]
	}
	for i := range t.servers {
		v := &t.servers[i]
		if rank := t.rank(v); rank < ranks {
			groups[rank] = append(groups[rank], v)
		}
	}
	out := t.space.order[:0]
	for _, group := range groups {
		out = append(out, group...)
	}
	t.space.order = out
	return out
}

// ranks is the number of groups in that order; a server of none cannot take workers.
const ranks = 4

func (t *turn) rank(v *view) int {
	switch {
	case !v.met || v.foreign || !v.p.Managed || v.o.Pool.Drained:
		return ranks
	case v.p.AlwaysUp && (v.m.Serve || t.candidate(v)):
		return 0
	case v.m.Serve && v.m.Phase.InService():
		return 1
	case v.m.Serve:
		return 2
	case t.candidate(v):
		return 3
	}
	return ranks
}

// spread gives each server its minimum, then one worker (or one process of several) at a time to the server that is filled
// least, in relation to its maximum; where two are equal, to the one that has more workers now, so that few change.
func (t *turn) spread(in []*view, workers int) {
	counts := t.space.counts[:0]
	for _, v := range in {
		n, step := v.p.MinWorkers, v.step()
		n = min((n+step-1)/step*step, max(n, v.p.MaxWorkers))
		counts = append(counts, n)
		workers -= n
	}
	t.space.counts = counts
	for workers > 0 {
		best := -1
		for i, v := range in {
			if counts[i]+v.step() > v.p.MaxWorkers {
				continue
			}
			if best < 0 || less(counts[i], v, counts[best], in[best]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		counts[best] += in[best].step()
		workers -= in[best].step()
	}
	for i, v := range in {
		v.m.Workers = counts[i]
	}
}

// step is the number of workers that come and go together.
func (v *view) step() int { return max(1, v.o.Pool.Step) }

func less(a int, va *view, b int, vb *view) bool {
	// a/maxA < b/maxB without division.
	x, y := a*vb.p.MaxWorkers, b*va.p.MaxWorkers
	if x != y {
		return x < y
	}
	return va.m.Workers > vb.m.Workers
}
