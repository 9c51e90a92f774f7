package sim

// observe is what the scaler gets to see at the beginning of a second.
func (e *engine) observe(s int) *Observation {
	t := float64(s)
	// The state of the data is that of the second that has just ended.
	missing, zero := e.missing(t-1), e.zero(t-1)
	o := &Observation{Now: t, Missing: missing, Seconds: e.pending, InFlight: len(e.running) + e.queue.count, Queued: e.queue.count}
	o.Responses, o.Services = last(e.responses), last(e.services)
	o.Nodes = make([]NodeState, len(e.fleet.nodes))
	for i := range e.fleet.nodes {
		n := &e.fleet.nodes[i]
		o.Nodes[i] = NodeState{Up: n.up, Max: n.max, Target: n.target, Ready: n.ready, Starting: n.starting, Draining: n.draining, Busy: n.lately, Answered: n.answered}
		if missing || zero {
			o.Nodes[i].Busy = 0
		}
	}
	if missing || zero {
		o.InFlight, o.Queued, o.Responses, o.Services = 0, 0, nil, nil
	}
	for _, a := range e.tr.Announced {
		if t >= a.Told && t < a.To {
			o.Announced = append(o.Announced, a)
		}
	}
	return o
}

func last(x []float64) []float64 {
	if len(x) > lastResponses {
		return x[len(x)-lastResponses:]
	}
	return x
}
