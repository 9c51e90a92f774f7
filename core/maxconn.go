package core

// wantedMaxConn is how many requests HAProxy may give the server at once: so many for each worker that is ready and is to stay,
// never 0, which would be no limit. 0 leaves maxconn alone.
func (t *turn) wantedMaxConn(v *view, f *front) int {
	if t.p.MaxConnPerWorker == 0 || !v.p.Managed {
		return 0
	}
	pool := &v.o.Pool
	if !pool.Known || pool.Ready == 0 {
		// The last order is the best that is known.
		return int(f.next.MaxConn)
	}
	ready := pool.Ready
	if pool.Target > 0 {
		ready = min(ready, pool.Target)
	}
	if t.lowers(v) {
		ready = min(ready, v.m.Workers)
	}
	return max(1, ready) * t.p.MaxConnPerWorker
}

// lowers tells that workers of a server in service are about to be told to leave: HAProxy hears of it first.
func (t *turn) lowers(v *view) bool {
	pool := &v.o.Pool
	return t.p.MaxConnPerWorker > 0 && t.hold == "" && v.m.Serve && v.m.Phase.InService() && pool.Known && v.m.Workers > 0 &&
		v.m.Workers < pool.Ready && pool.Target != v.m.Workers
}

// lowered tells that no instance gives the server more requests than the workers that stay can take. What a human has set
// is left out.
func (t *turn) lowered(v *view) bool {
	for i := range v.fronts {
		f := &v.fronts[i]
		most := v.m.Workers * t.p.MaxConnPerWorker
		if f.o.Known && f.o.Admin == AdminReady && !f.foreign && !f.m.MaxHuman && (f.o.MaxConn == 0 || f.o.MaxConn > most) {
			return false
		}
	}
	return true
}

// setMaxConn orders the server's maxconn on an instance where it is another one, leaves one alone that a human has set, and tells
// whether it is as it is to be.
func (t *turn) setMaxConn(v *view, f *front, pr *proposal) bool {
	want, m, seen := t.wantedMaxConn(v, f), &f.next, f.o.MaxConn
	if want == 0 {
		return true
	}
	switch {
	case m.MaxConn > 0 && seen == int(m.MaxConn):
		m.MaxSeen, m.MaxHuman = true, false
	case m.MaxSeen && !m.MaxHuman:
		m.MaxHuman = true
		t.reason(CodeForeign, v.p.Name, map[string]float64{"maxconn": float64(seen), "ordered": float64(m.MaxConn)}, "%s has maxconn %d where tidegate had set %d: a human changed it, the maxconn is left alone", v.named(f), seen, m.MaxConn)
	}
	if m.MaxHuman {
		return true
	}
	if seen == want {
		m.MaxConn, m.MaxSeen = int32(want), true
		return true
	}
	m.MaxConn, m.MaxSeen = int32(want), false
	pr.act(t, f, SetMaxConn, want, "%d for each of the ready workers that stay", t.p.MaxConnPerWorker)
	if t.lowers(v) {
		pr.lowers(float64(v.o.Pool.Ready - v.m.Workers))
	}
	return false
}

// lowers makes the last step one that takes capacity away: the first of them for a server all of it, the others go with it.
func (pr *proposal) lowers(out float64) {
	last := len(pr.steps) - 1
	for i := range last {
		if pr.steps[i].Kind == SetMaxConn {
			pr.steps[last].with = true
			return
		}
	}
	pr.steps[last].out = out
}
