package peers

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/sim"
)

// reactive is the policy Reactive of Gandhi et al. (AutoScale, ACM TOCS 30(4), 2012): every 20 s k = ceil(R/r) workers for the rate R
// that arrives, with r requests per second that a worker was found to carry. With release > 0 it is their AutoScale--: a worker
// leaves only after it was idle for that long, with requests packed on the first ones, which is the highest k of that time.
type reactive struct {
	h       history
	perWork float64
	release float64
	recent  highest
}

// reactiveLoad is the load of a worker that r stands for.
const reactiveLoad = 0.7

// Reactive follows the rate at once, in both directions.
func Reactive() sim.Policy { return reactivePolicy("reactive", 0) }

// AutoScale is AutoScale-- with a release time of 120 s.
func AutoScale() sim.Policy { return reactivePolicy("autoscale--", 120) }

func reactivePolicy(name string, release float64) sim.Policy {
	about := "the arrival rate over 20 s at 70 % of what a worker can do (Gandhi et al.)"
	if release > 0 {
		about += fmt.Sprintf(", released after %v s", release)
	}
	return sim.Policy{Name: name, About: about, New: func(s sim.Setup) (sim.Scaler, error) {
		return &reactive{h: history{most: 60}, perWork: reactiveLoad / s.Params.Service, release: release}, nil
	}}
}

func (r *reactive) Every() int { return 20 }

func (r *reactive) Decide(o *sim.Observation) sim.Decision {
	r.h.add(o)
	rate, ok := r.h.mean(o.Now, 20, arrivals)
	if !ok {
		return sim.Decision{Workers: o.Target()}
	}
	want := ceil(rate / r.perWork)
	if r.release > 0 {
		want = r.recent.of(o.Now, r.release, want)
	}
	return sim.Decision{Workers: want, Why: fmt.Sprintf("%.0f requests per second", rate)}
}

// always keeps what the highest demand of the trace needs, which it knows: the largest mean of ten seconds, with a margin of
// the square root of it.
type always struct{ workers int }

// AlwaysOn never changes anything.
func AlwaysOn() sim.Policy {
	return sim.Policy{Name: "always-on", About: "as many workers as the peak needs, always", New: func(s sim.Setup) (sim.Scaler, error) {
		peak := 0.0
		for i := 0; i+10 <= s.Trace.Seconds(); i++ {
			sum := 0.0
			for k := range 10 {
				sum += s.Trace.Demand(i+k, s.Params.Service)
			}
			peak = math.Max(peak, sum/10)
		}
		return &always{workers: ceil(peak + math.Sqrt(peak))}, nil
	}}
}

func (a *always) Every() int { return 1 }

func (a *always) Decide(*sim.Observation) sim.Decision { return sim.Decision{Workers: a.workers} }
