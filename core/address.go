package core

// elsewhere tells that an instance has the server at another address than the policy.
func (v *view) elsewhere(f *front) bool {
	return v.p.Address != "" && f.o.Known && f.o.Address != "" && f.o.Address != v.p.Address
}

// moveFront takes a server that is to serve one step towards its address on an instance: out like one that is parked, but its workers
// stay, then the address, then in like any other. HAProxy 2.6 keeps idle connections to the old address otherwise.
func (t *turn) moveFront(v *view, f *front, pr *proposal) {
	ps := f.o
	switch {
	case ps.Admin == AdminMaint && (ps.Weight == 0 || t.restoring(v, f)):
		t.setAddress(v, f, pr)
	case ps.Admin == AdminReady && f.m.Phase != PhaseLeaving && t.down(v):
		// It gets no requests, so nothing is lost when it goes at once.
		f.next.to(PhaseLeaving, t.now)
	case ps.Admin == AdminReady && f.m.Phase != PhaseLeaving && t.moving(v):
		t.inService(v, f, pr)
	case ps.Admin == AdminReady && f.m.Phase != PhaseLeaving:
		t.moves = true
		f.next.to(PhaseLeaving, t.now)
		t.leave(v, pr)
	default:
		t.parkFront(v, f, pr, false)
	}
}

// moving tells that another server of the app is out, or goes, for its address: they go one after another.
func (t *turn) moving(v *view) bool {
	if t.moves {
		return true
	}
	for i := range t.servers {
		o := &t.servers[i]
		if o == v || !o.m.Serve || o.foreign || o.m.Phase.InService() {
			continue
		}
		for k := range o.fronts {
			if o.elsewhere(&o.fronts[k]) {
				return true
			}
		}
	}
	return false
}

// setAddress orders the address of a server in maintenance, once no request is left on it.
func (t *turn) setAddress(v *view, f *front, pr *proposal) {
	if !t.restoring(v, f) {
		f.next.to(PhaseParked, t.now)
	}
	if f.o.Current+f.o.Queued == 0 {
		pr.act(t, f, SetAddress, 0, "HAProxy has it at %s, the configuration at %s", f.o.Address, v.p.Address)
	}
}
