package core

import "slices"

// Added is a server that tidegate has added to a HAProxy process. What comes with another process is the configuration's.
type Added struct {
	Server string `json:"server"`
	// Proxy is the instance, "" where there is one.
	Proxy   string `json:"proxy,omitempty"`
	Process string `json:"process"`
}

// addMissing adds a server of the policy to the instances that lack it; it begins there as a parked one. Under an operator's hold
// only one that was in service comes back.
func (t *turn) addMissing(i int, v *view) proposal {
	pr := proposal{index: i, next: *v.m}
	for k := range v.fronts {
		f := &v.fronts[k]
		f.next = f.m
		lost := v.met && v.m.Serve && f.m.Phase.InService()
		if !f.at.Known || f.o.Known || t.held && !lost {
			continue
		}
		pr.act(t, f, Add, 0, "the configuration has it and HAProxy does not")
		t.m.Added = append(t.m.Added, Added{v.p.Name, f.at.Name, f.at.Process})
	}
	return pr
}

// leftovers are the servers that tidegate has added and that have left the policy. Those that are gone, with their process or by
// themselves, are forgotten.
func (t *turn) leftovers() []string {
	if len(t.m.Added) == 0 {
		return nil
	}
	t.m.Added = slices.DeleteFunc(t.m.Added, func(a Added) bool {
		for k := range t.proxies.list {
			if at := &t.proxies.list[k]; at.Name == a.Proxy && at.Known {
				return at.Process != a.Process || !t.shown(at, a.Server).Known
			}
		}
		return false
	})
	var names []string
	for _, a := range t.m.Added {
		known := slices.ContainsFunc(t.p.Servers, func(s ServerPolicy) bool { return s.Name == a.Server })
		if t.p.Dynamic && !known && !slices.Contains(names, a.Server) {
			names = append(names, a.Server)
		}
	}
	return names
}

// shown is what an instance says of a server.
func (t *turn) shown(at *InstanceObs, server string) ProxyServerObs {
	if len(t.o.Proxies) > 0 {
		return at.Servers[server]
	}
	return t.seen(len(t.o.Servers), server).Proxy
}

// leftover makes a view of a server that has left the policy; on instances where tidegate has not added it, it is not ours.
func (t *turn) leftover(v *view) {
	v.gone, v.m.Serve = true, false
	for k := range v.fronts {
		f := &v.fronts[k]
		ours := slices.ContainsFunc(t.m.Added, func(a Added) bool { return a.Server == v.p.Name && a.Proxy == f.at.Name })
		if !ours {
			f.o = &ProxyServerObs{}
		}
	}
}
