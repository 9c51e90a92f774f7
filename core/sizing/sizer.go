package sizing

import "math"

// Sizer is a strategy: it says from one turn's state how many workers are needed.
type Sizer interface {
	// Need returns what is needed now and, at most as much, what is needed lastingly: only the latter keeps an app from shrinking for
	// a whole window.
	Need(s *State) (now, lasting float64)
}

// sizers are all strategies that size in workers.
var sizers = map[Strategy]Sizer{
	BusyRatio: busyRatio{}, RPSRatio: rpsRatio{}, Queue: consumers{}, Schedule: schedule{}, Erlang: erlang{},
}

// State is one turn's view of an app: what was seen, what has been learned, and the trace that a strategy writes.
type State struct {
	Policy *Policy
	Obs    *Observation
	Memory *Memory
	// Now is the second since 1970.
	Now int64
	// Ready, Starting and Busy are sums over the nodes that report; BusyKnown tells that Busy means something.
	Ready, Starting, Busy float64
	BusyKnown             bool
	// partly tells that others serve, too, whose busy workers are not known.
	partly bool
	// every is how many seconds one count of busy workers stands for: those of a turn, unless the integral of each second was told.
	every float64
	// OnTheWay are the starting workers that go first when fewer are wanted.
	OnTheWay float64
	// Fresh tells that a node has not given a good answer since it came into service.
	Fresh bool
	// Queued is what waits, Wait the mean queue time of the last five seconds' requests, in seconds.
	Queued, Wait float64
	// Service is the mean service time and Lead the lead time in seconds.
	Service, Lead float64
	// sure is what is needed without any reserve for growth.
	sure float64
	load load
	// trusted tells that the data may be decided on, usual that they may be learned from, too.
	trusted, usual bool
	trace          Trace
}

func (s *State) input(name string, v float64) {
	if s.trace.Inputs == nil {
		s.trace.Inputs = map[string]float64{}
	}
	s.trace.Inputs[name] = round3(v)
}

func (s *State) step(rule Code, workers float64) {
	s.trace.Steps = append(s.trace.Steps, Step{rule, round3(workers)})
}

func round3(x float64) float64 {
	if math.Abs(x) > 1e12 || math.IsNaN(x) {
		return x
	}
	return math.Round(1000*x) / 1000
}
