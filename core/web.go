package core

// web is the wanted nginx upstream: ready workers as weight for servers in service, down for all others. nil leaves nginx
// as it is: without an upstream of its own, before all servers have been seen, and whenever no server would be left.
func (t *turn) web() []WebServer {
	if !t.p.Web {
		return nil
	}
	out := make([]WebServer, 0, len(t.servers))
	any := false
	for i := range t.p.Servers {
		v := &t.servers[i]
		if !v.met {
			return nil
		}
		w := 0
		// A server that is no longer wanted stays until the limiter lets it leave.
		if (v.m.Phase.InService() || v.stays) && !v.foreign {
			w = t.webWeight(v)
			any = true
		}
		out = append(out, WebServer{Server: v.p.Name, Weight: w})
	}
	if !any {
		return nil
	}
	return out
}

func (t *turn) webWeight(v *view) int {
	switch {
	case !v.p.Managed:
		return 1
	case v.o.Pool.Known && v.o.Pool.Ready > 0:
		return v.o.Pool.Ready
	default:
		// The agent is silent: the last order is the best that is known.
		return max(1, v.m.Workers)
	}
}
