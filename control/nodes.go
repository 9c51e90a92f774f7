package control

import (
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/core"
)

// nodeObs is what is known of each machine. A silent agent makes its node unknown, not lost: its workers may serve. The node is
// lost when HAProxy, too, finds every server in service on it down, until the agent or one of the servers answers again.
func (l *Loop) nodeObs(s *sight, now time.Time) []core.NodeObs {
	out := make([]core.NodeObs, 0, len(l.setup.Nodes))
	for _, name := range slices.Sorted(maps.Keys(l.setup.Nodes)) {
		n := core.NodeObs{Name: name, CPU: -1, Memory: -1}
		st, seen := l.nodes[name]
		fresh := seen && st.at.Equal(now)
		if seen {
			n.Capacity = st.report.Capacity
		}
		if fresh {
			n.CPU, n.Memory = st.report.CPU, st.report.Memory
		}
		switch up, down := l.serversOn(name, s); {
		case fresh || up:
			delete(l.lost, name)
		case down:
			l.lost[name] = true
		}
		n.Up = !l.lost[name]
		out = append(out, n)
	}
	return out
}

// serversOn tells whether HAProxy finds one of the servers on a node that should get traffic up, or one down.
func (l *Loop) serversOn(node string, s *sight) (up, down bool) {
	for i := range l.setup.Apps {
		a := &l.setup.Apps[i]
		for _, k := range l.setup.on(a) {
			for _, srv := range a.Servers {
				if srv.Node != node {
					continue
				}
				if o := s.serverOn(k, a.Backend, srv.Name); o.Known && o.Admin == core.AdminReady {
					up, down = up || o.Up, down || !o.Up
				}
			}
		}
	}
	return up, down
}
