package sizing

import (
	"math"
	"slices"
)

// Data remembers whether the data may be believed.
type Data struct {
	// Problem is the reason reported last, Since when it began; Absurd is until when absurd numbers are remembered.
	Problem Code  `json:"problem,omitempty"`
	Since   int64 `json:"since,omitempty"`
	Absurd  int64 `json:"absurd,omitempty"`
	Long    bool  `json:"long,omitempty"`
	// Told tells that the problem was reported here, not by the caller.
	Told bool `json:"told,omitempty"`
}

const (
	// staleSeconds is how old the newest second may be.
	staleSeconds = 15
	longSeconds  = 300
	veryLong     = 1800
	absurdFor    = 30
)

// judgeData decides whether this turn's data may shrink anything, and reports when that changes.
func (s *State) judgeData(r *Result, absurd bool) Code {
	d := &s.Memory.Data
	if absurd {
		d.Absurd = s.Now + absurdFor
	}
	problem, sentence := s.problem()
	switch {
	case problem != "" && problem != d.Problem:
		if d.Problem == "" {
			d.Since = s.Now
		}
		d.Problem = problem
		if s.Obs.Bad == "" {
			d.Told = true
			r.event(problem, nil, "%s; nothing shrinks meanwhile", sentence)
		}
	case problem == "" && d.Problem != "":
		if d.Told {
			r.event(CodeDataBack, map[string]float64{"for_s": float64(s.Now - d.Since)}, "the data may be believed again after %d s", s.Now-d.Since)
		}
		*d = Data{Absurd: d.Absurd}
	}
	if d.Problem != "" && s.Now-d.Since > longSeconds {
		r.alarm(CodeNoDataLong)
		if !d.Long {
			d.Long = true
			r.event(CodeNoDataLong, map[string]float64{"for_s": float64(s.Now - d.Since)}, "there have been no data to go by for %d s", s.Now-d.Since)
		}
	}
	return problem
}

// problem names what is wrong with the data that the app's strategies need.
func (s *State) problem() (Code, string) {
	o := s.Obs
	if o.Bad != "" && o.Bad != CodeErrorStorm {
		return o.Bad, "the observation as a whole is not to be believed"
	}
	if s.Now < s.Memory.Data.Absurd {
		return CodeAbsurdData, "numbers came that cannot be (negative, not finite, or beyond all measure)"
	}
	if s.uses(Erlang) || s.uses(RPSRatio) {
		switch h := &s.Memory.History; {
		case !o.Traffic:
			return CodeNoData, "no timing or counters come from HAProxy's SPOE filter"
		case s.Now-h.last() > staleSeconds:
			return CodeNoData, "the newest second told is too old"
		case h.rate(10) == 0 && (o.InFlight >= 3 || s.BusyKnown && s.Busy >= 3):
			return CodeZeroData, "no arrivals are told while requests are running"
		}
	}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		switch {
		case !n.absurd() && (!n.Up || n.Known && (n.BusyKnown || !s.uses(BusyRatio))):
		case n.absurd():
			return CodeAbsurdData, "the agent of " + n.Name + " reports numbers that cannot be"
		case !n.Known && n.Max > 0:
			return CodeNoData, "the agent of " + n.Name + " does not report"
		case !n.BusyKnown:
			return CodeNoData, "the agent of " + n.Name + " cannot count busy workers"
		}
	}
	if s.uses(Queue) {
		b := o.Backlog
		if b == nil {
			return CodeNoData, "the message queue's length is not known"
		}
		for _, x := range [...]float64{b.Items, b.In, b.Out, b.Oldest, b.Service} {
			if math.IsNaN(x) || x < 0 || x > 1e12 {
				return CodeAbsurdData, "the message queue reports numbers that cannot be"
			}
		}
	}
	return o.Bad, "many requests end in errors"
}

func (s *State) uses(name Strategy) bool { return slices.Contains(s.Policy.Strategies, name) }

// absurd tells that a node reports what cannot be.
func (n *Node) absurd() bool {
	const most = 1 << 20
	bad := math.IsNaN(n.Busy) || n.Busy < 0 || n.Busy > most
	for _, k := range [...]int{n.Max, n.Total, n.Ready, n.Starting, n.Draining} {
		bad = bad || k < 0 || k > most
	}
	return bad
}

// lost reports nodes that had workers and are gone.
func (s *State) lost(r *Result) {
	for i := range s.Obs.Nodes {
		n := &s.Obs.Nodes[i]
		had := s.Memory.Nodes[n.Name]
		switch {
		case n.Up && n.Known && !n.absurd() && n.Ready != had:
			if s.Memory.Nodes == nil {
				s.Memory.Nodes = map[string]int{}
			}
			s.Memory.Nodes[n.Name] = n.Ready
		case !n.Up && had > 0:
			r.event(CodeNodeLost, map[string]float64{"workers": float64(had)}, "%s is lost with %d workers: others take its share", n.Name, had)
			delete(s.Memory.Nodes, n.Name)
		}
	}
}
