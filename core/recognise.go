package core

// firstLife accepts what an instance shows of a server that nothing is remembered of there.
func (t *turn) firstLife(f *front) {
	f.m = Life{Phase: PhaseParked, Since: t.now, Weight: f.o.Weight}
	if f.o.Admin == AdminReady && f.o.Weight > 0 {
		f.m.Phase, f.m.Step = PhaseServing, t.rampEnd()
	}
}

// recognise marks a server that a human holds, accepts one that a human put into service, and remembers the HAProxy process on
// which the state is ours.
func (t *turn) recognise(v *view, f *front) {
	ps := f.o
	if !ps.Known {
		f.foreign = f.m.Phase == PhaseForeign
		return
	}
	if f.m.Phase == "" {
		t.firstLife(f)
	}
	sameProcess := f.m.Process == f.at.Process
	switch ps.Admin {
	case AdminMaint:
		// Our parked servers have weight 0. A weight together with `disabled` in the configuration of a fresh process is
		// nobody's order either, unless a human held the server before that process began.
		f.foreign = ps.Weight > 0 && (sameProcess || !ps.FromConfig || f.m.Phase == PhaseForeign)
	case AdminDrain:
		f.foreign = f.m.Phase != PhaseChecking && f.m.Phase != PhaseDraining && f.m.Phase != PhaseParking
	default:
		if sameProcess && ps.Weight > 0 && !v.m.Serve && (f.m.Phase == PhaseParked || f.m.Phase == PhaseForeign) {
			v.m.Serve, v.m.Workers = true, max(v.p.MinWorkers, min(v.p.MaxWorkers, v.o.Pool.Ready))
			t.reason(CodeInitial, v.p.Name, nil, "%s was put into service by someone else and counts as active from now on", v.named(f))
		}
	}
	was := f.m.Phase == PhaseForeign
	switch {
	case f.foreign && !was:
		f.m.Phase, f.m.Since = PhaseForeign, t.now
		t.reason(CodeForeign, v.p.Name, map[string]float64{"weight": float64(ps.Weight)}, "%s is in %s with weight %d, which tidegate did not order: a human holds it, it is left alone and not counted%s", v.named(f), ps.Admin, ps.Weight, v.there())
	case was && !f.foreign:
		f.m.Phase, f.m.Since = PhaseParked, t.now
		if ps.Admin == AdminReady {
			f.m.Phase, f.m.Step, f.m.Weight, f.m.Seen = PhaseServing, t.rampEnd(), ps.Weight, true
		}
		t.reason(CodeForeignOver, v.p.Name, nil, "%s is no longer held by a human", v.named(f))
	}
	if ps.Admin != AdminMaint || ps.Weight == 0 || f.foreign {
		// A state file brings a human's weight over to the next process.
		kept := f.m.Human && ps.Admin == AdminReady && ps.Weight == int(f.m.HumanWeight)
		if !sameProcess && !f.foreign && !kept {
			f.m.Seen, f.m.Human, f.m.HumanWeight = false, false, 0
		}
		if !sameProcess && !f.foreign {
			f.m.MaxSeen, f.m.MaxHuman = false, false
		}
		if sameProcess || !t.restoring(v, f) {
			f.m.Process = f.at.Process
		}
	}
}

// restoring tells that HAProxy lost its run-time state there, and that the server was in service there by our memory or is on
// another instance, which finds it healthy.
func (t *turn) restoring(v *view, f *front) bool {
	return v.m.Serve && f.m.Process != "" && f.m.Process != f.at.Process && f.o.Admin == AdminMaint && (f.m.Phase.InService() || v.servesElsewhere(f))
}

func (v *view) servesElsewhere(than *front) bool {
	for i := range v.fronts {
		if f := &v.fronts[i]; f != than && f.o.Known && f.o.Admin == AdminReady && f.o.Up && f.m.Phase.InService() {
			return true
		}
	}
	return false
}

func (t *turn) anyRestoring(v *view) bool {
	for i := range v.fronts {
		if t.restoring(v, &v.fronts[i]) {
			return true
		}
	}
	return false
}
