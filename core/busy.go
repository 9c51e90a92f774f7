package core

import "math"

// busyRatio sizes the app so that the share of busy workers stays at the target: need = demand / target, where demand is
// the busy workers on all nodes plus what waits in HAProxy's queue. Growth follows the mean demand of a short window;
// when nearly all workers are busy the true demand cannot be seen, and half as many again as are ready are asked for. Shrinking follows
// the highest need of a long window, by a bounded share at a time, and never on bad data.
func (t *turn) busyRatio() {
	bp := t.p.Busy
	busy, ready, known := t.load()
	b := &t.m.Busy
	if b.Workers == 0 {
		if !known {
			return
		}
		b.Workers = t.clamp(t.wantedWorkers())
	}
	need := b.Workers
	var mean float64
	if known {
		demand := busy + float64(t.o.Proxy.Queued)
		b.Demand = append(since(b.Demand, t.now.Add(-bp.UpWindow)), Point{t.now, demand})
		mean = average(b.Demand)
		need = int(math.Ceil(mean/bp.Target - 1e-9))
		if demand >= 0.95*ready && ready > 0 {
			need = max(need, int(math.Ceil(1.5*ready)))
		}
		b.Needs = append(since(b.Needs, t.now.Add(-bp.DownWindow)), Point{t.now, float64(need)})
	}
	numbers := map[string]float64{
		"busy": round2(busy), "ready": ready, "queued": float64(t.o.Proxy.Queued), "mean_demand": round2(mean), "target": bp.Target,
		"need": float64(need), "workers": float64(b.Workers),
	}
	switch want := t.clamp(need); {
	case want > b.Workers:
		t.reason(CodeGrowBusy, "", numbers, "%.1f of %.0f workers are busy and %d requests wait, target %.0f %%: %d -> %d workers", busy, ready, t.o.Proxy.Queued, 100*bp.Target, b.Workers, want)
		b.Workers, t.m.Activity = want, t.now
	case want < b.Workers:
		t.shrinkBusy(numbers)
	}
	t.alarmAtMax(need, numbers)
	t.place(b.Workers)
}

// shrinkBusy lets at most DownShare of the workers go, down to the highest need of the window.
func (t *turn) shrinkBusy(numbers map[string]float64) {
	bp, b := t.p.Busy, &t.m.Busy
	full := t.now.Sub(t.m.Since) >= bp.DownWindow
	paced := t.now.Sub(b.LastDown) >= bp.DownEvery && t.now.Sub(t.m.Activity) >= bp.DownEvery
	if t.hold != "" || !full || !paced {
		return
	}
	highest := 0.0
	for _, n := range b.Needs {
		highest = math.Max(highest, n.Value)
	}
	floor := t.clamp(int(highest))
	if floor >= b.Workers {
		return
	}
	step := max(1, int(float64(b.Workers)*bp.DownShare))
	want := max(floor, b.Workers-step)
	numbers["highest_need"] = highest
	t.reason(CodeShrinkBusy, "", numbers, "the highest need of the last %v was %.0f workers: %d -> %d workers", bp.DownWindow, highest, b.Workers, want)
	b.Workers, b.LastDown = want, t.now
}

func (t *turn) alarmAtMax(need int, numbers map[string]float64) {
	over := need > t.maxWorkers()
	if over && !t.m.AtMax {
		t.reason(CodeAtMax, "", numbers, "%d workers are needed, but at most %d may run", need, t.maxWorkers())
	}
	t.m.AtMax = over
}

// load sums what the agents report: busy workers on all nodes, ready workers in service. known is false without any report.
func (t *turn) load() (busy, ready float64, known bool) {
	for i := range t.servers {
		v := &t.servers[i]
		if !v.p.Managed || !v.o.Pool.Known || !v.o.Pool.BusyKnown {
			continue
		}
		known = true
		busy += v.o.Pool.Busy
		if v.m.Phase.InService() && !v.foreign {
			ready += float64(v.o.Pool.Ready)
		}
	}
	return busy, ready, known
}

func (t *turn) wantedWorkers() int {
	n := 0
	for i := range t.servers {
		if v := &t.servers[i]; v.m.Serve {
			n += v.m.Workers
		}
	}
	return n
}

func (t *turn) clamp(n int) int { return max(t.p.MinWorkers, min(n, t.maxWorkers())) }

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

func average(points []Point) float64 {
	if len(points) == 0 {
		return 0
	}
	sum := 0.0
	for _, p := range points {
		sum += p.Value
	}
	return sum / float64(len(points))
}

func round2(x float64) float64 { return math.Round(100*x) / 100 }

// place spreads the wanted workers: as few servers as hold them at the planned fill (but at least MinServers), those that
// serve already first, then evenly by each server's size. A server whose agent does not report keeps what it has.
func (t *turn) place(workers int) {
	var in []*view
	room := 0
	for _, v := range t.order() {
		if t.down(v) {
			continue
		}
		enough := len(in) >= t.p.MinServers && room >= workers
		if !v.p.AlwaysUp && enough {
			t.retire(v)
			continue
		}
		in = append(in, v)
		room += max(1, int(float64(v.p.MaxWorkers)*t.p.Busy.Fill))
	}
	var open []*view
	left := workers
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
	spread(open, left)
}

// retire takes a server out of the wanted set, unless the data do not allow shrinking.
func (t *turn) retire(v *view) {
	if v.m.Serve && t.hold == "" {
		t.unwant(v)
	}
}

// order lists the servers that can take workers: always_up, then in service, then wanted, then candidates in policy order.
func (t *turn) order() []*view {
	var groups [4][]*view
	for i := range t.servers {
		v := &t.servers[i]
		switch {
		case !v.met || v.foreign || !v.p.Managed:
		case v.p.AlwaysUp && (v.m.Serve || t.candidate(v)):
			groups[0] = append(groups[0], v)
		case v.m.Serve && v.m.Phase.InService():
			groups[1] = append(groups[1], v)
		case v.m.Serve:
			groups[2] = append(groups[2], v)
		case t.candidate(v):
			groups[3] = append(groups[3], v)
		}
	}
	return append(append(append(groups[0], groups[1]...), groups[2]...), groups[3]...)
}

// spread gives each server its minimum, then one worker at a time to the server that is filled least, in relation to its
// maximum; where two are equal, to the one that has more workers now, so that few change.
func spread(in []*view, workers int) {
	counts := make([]int, len(in))
	for i, v := range in {
		counts[i] = v.p.MinWorkers
		workers -= counts[i]
	}
	for ; workers > 0; workers-- {
		best := -1
		for i, v := range in {
			if counts[i] >= v.p.MaxWorkers {
				continue
			}
			if best < 0 || less(counts[i], v, counts[best], in[best]) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		counts[best]++
	}
	for i, v := range in {
		v.m.Workers = counts[i]
	}
}

func less(a int, va *view, b int, vb *view) bool {
	// a/maxA < b/maxB without division.
	x, y := a*vb.p.MaxWorkers, b*va.p.MaxWorkers
	if x != y {
		return x < y
	}
	return va.m.Workers > vb.m.Workers
}
