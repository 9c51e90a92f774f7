package nginxgen

import "math"

// Shift tells how much of the traffic would go elsewhere under want than under live, as far as weights, servers that are
// down and servers that are missing decide it. It is what a policy for reloads weighs against their cost.
//
// A server's share is its weight divided by the sum of the weights of the servers nginx asks: those that are neither down
// nor backups, or, where there are none, the backups that are not down. Upstreams are matched by name and by http or
// stream, servers by address.
//
// misrouted, 0 to 1, is the largest of all upstreams' total variation distance, half the sum of |share in want - share in
// live|: the part of the requests that another server would get. largest, 0 and above, is the largest relative change of
// one server's share, |want - live| / live: 0.2 is a fifth more or less than it has now. A server that comes or goes has
// changed by 1, and so has an upstream that is in one model only, or that has servers to ask in one model only, which are
// also misrouted by 1.
//
// Nothing else is looked at: two models that differ in a method, in max_conns or in their order have shifted by 0, 0.
func Shift(live, want Model) (misrouted, largest float64) {
	was, now := live.shares(), want.shares()
	for k, p := range was {
		m, l := 1.0, 1.0
		if q, there := now[k]; there {
			m, l = shiftOf(p, q)
		}
		misrouted, largest = math.Max(misrouted, m), math.Max(largest, l)
	}
	for k := range now {
		if _, there := was[k]; !there {
			misrouted, largest = 1, math.Max(largest, 1)
		}
	}
	return misrouted, largest
}

// shiftOf compares the shares of one upstream, by address.
func shiftOf(p, q map[string]float64) (misrouted, largest float64) {
	if len(p) == 0 && len(q) == 0 {
		return 0, 0
	}
	if len(p) == 0 || len(q) == 0 {
		return 1, 1
	}
	for address, before := range p {
		d := math.Abs(q[address] - before)
		misrouted += d / 2
		largest = math.Max(largest, d/before)
	}
	for address, after := range q {
		if p[address] == 0 {
			misrouted += after / 2
			largest = math.Max(largest, 1)
		}
	}
	return math.Min(1, misrouted), largest
}

// block names an upstream; http and stream have names of their own.
type block struct {
	name   string
	stream bool
}

// shares returns for each upstream the shares of the servers that nginx asks, by address; none for an upstream that has
// none.
func (m Model) shares() map[block]map[string]float64 {
	out := make(map[block]map[string]float64, len(m.Upstreams))
	for _, u := range m.Upstreams {
		asked := askedOf(u, false)
		if len(asked) == 0 {
			asked = askedOf(u, true)
		}
		sum := 0.0
		for _, w := range asked {
			sum += w
		}
		for address := range asked {
			asked[address] /= sum
		}
		out[block{u.Name, u.Stream}] = asked
	}
	return out
}

// askedOf returns the weights of an upstream's servers, or of its backups, that are not down.
func askedOf(u Upstream, backup bool) map[string]float64 {
	out := map[string]float64{}
	for _, s := range u.Servers {
		if !s.Down && s.Backup == backup {
			out[s.Address] = float64(max(1, s.Weight))
		}
	}
	return out
}
