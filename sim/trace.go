package sim

import (
	"fmt"
	"math"
)

// Trace is what happens to the app, second by second.
type Trace struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
	// Rate is the arrival rate in each second; its length is the length of the trace.
	Rate []float64 `json:"-"`
	// Factor multiplies service times that begin in a second; nil is 1. A zero or negative value counts as 1.
	Factor []float64 `json:"-"`
	// Cap is how many requests per second a dependency lets through, nil and 0 for any number. A request that must wait for it
	// keeps its worker.
	Cap []float64 `json:"-"`
	// Lost are the times in which nodes are down.
	Lost []Loss `json:"lost,omitempty"`
	// Missing are the times in which no metrics arrive, Zero those in which all of them say zero.
	Missing []Span `json:"missing,omitempty"`
	Zero    []Span `json:"zero,omitempty"`
	// Announced are loads that someone tells about in advance.
	Announced []Announcement `json:"announced,omitempty"`
	// Disturbance is when the event of the trace happens, from which recovery and alarms are timed; 0 is none.
	Disturbance float64 `json:"disturbance,omitempty"`
	// Nodes replaces the number of nodes of the parameters; 0 does not.
	Nodes int `json:"nodes,omitempty"`
}

// Span is the time from From to To (not included).
type Span struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

func (s Span) holds(t float64) bool { return t >= s.From && t < s.To }

func anyHolds(spans []Span, t float64) bool {
	for _, s := range spans {
		if s.holds(t) {
			return true
		}
	}
	return false
}

// Loss is the time in which a node, counted from 0, is down.
type Loss struct {
	Span
	Node int `json:"node"`
}

// Announcement is load that is told in advance, at Told.
type Announcement struct {
	ID   string  `json:"id"`
	Told float64 `json:"told"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// Rate is the whole rate to expect.
	Rate float64 `json:"rate"`
}

// Seconds is the length of the trace.
func (t *Trace) Seconds() int { return len(t.Rate) }

// factor and limit are the values of a second.
func (t *Trace) factor(s int) float64 {
	if s >= len(t.Factor) || !(t.Factor[s] > 0) {
		return 1
	}
	return t.Factor[s]
}

func (t *Trace) limit(s int) float64 {
	if s >= len(t.Cap) || !(t.Cap[s] > 0) {
		return 0
	}
	return t.Cap[s]
}

// Demand is the load of a second in erlangs, for a mean service time: what the arrivals ask for, whether or not it can be had.
func (t *Trace) Demand(s int, service float64) float64 { return t.Rate[s] * service * t.factor(s) }

// maxRequests bounds a trace, so that a slip of the pen in a file does not run for hours.
const maxRequests = 1e9

// Check says what is wrong with the trace, in one sentence.
func (t *Trace) Check() error {
	if len(t.Rate) == 0 {
		return fmt.Errorf("trace %s is empty", t.Name)
	}
	sum := 0.0
	for i, r := range t.Rate {
		if !(r >= 0) || math.IsInf(r, 0) {
			return fmt.Errorf("trace %s has the rate %v in second %d; allowed is 0 and more", t.Name, r, i)
		}
		sum += r
	}
	if sum > maxRequests {
		return fmt.Errorf("trace %s has %.3g requests; allowed are %.0e", t.Name, sum, maxRequests)
	}
	return nil
}
