package peers

import (
	"fmt"

	"github.com/tidegate/tidegate/sim"
)

// aws is target tracking of AWS Auto Scaling on the share of busy workers, in the cadence its documents give: points of one
// minute; three above the target scale out in proportion, fifteen below 90 % of it scale in; while new workers warm up only more
// of them can be ordered. Without data (INSUFFICIENT_DATA) nothing happens.
type aws struct {
	h      history
	points []float64
	until  float64
	warmUp float64
}

const (
	awsTarget = 0.6
	awsOut    = 3
	awsIn     = 15
)

// AWS is target tracking at 60 %.
func AWS() sim.Policy {
	return sim.Policy{Name: "aws", About: "AWS target tracking of 60 % busy: 3 one-minute points out, 15 in", New: func(s sim.Setup) (sim.Scaler, error) {
		return &aws{h: history{most: 120}, warmUp: s.Params.WarmUp}, nil
	}}
}

func (a *aws) Every() int { return 60 }

func (a *aws) Decide(o *sim.Observation) sim.Decision {
	a.h.add(o)
	keep := sim.Decision{Workers: o.Target()}
	mean, ok := a.h.mean(o.Now, 60, busy)
	if !ok || o.Ready() == 0 {
		a.points = a.points[:0]
		return keep
	}
	share := mean / float64(o.Ready())
	a.points = append(a.points, share)
	all := func(n int, f func(float64) bool) bool {
		if len(a.points) < n {
			return false
		}
		for _, p := range a.points[len(a.points)-n:] {
			if !f(p) {
				return false
			}
		}
		return true
	}
	want := ceil(mean / awsTarget)
	why := fmt.Sprintf("busy %.0f %%", 100*share)
	switch {
	case all(awsOut, func(p float64) bool { return p > awsTarget }) && want > o.Target():
		a.points, a.until = a.points[:0], o.Now+a.warmUp
		return sim.Decision{Workers: want, Why: why + " in 3 points"}
	case o.Now >= a.until && all(awsIn, func(p float64) bool { return p < 0.9*awsTarget }) && want < o.Target():
		a.points = a.points[:0]
		return sim.Decision{Workers: want, Why: why + " in 15 points"}
	}
	return keep
}
