package sim

import "math"

// Yardstick is how the oracle's beta is found.
type Yardstick struct {
	// Name is fine or coarse.
	Name string
	// Step is the distance of two betas that are tried, from 0 to mostBeta.
	Step float64
	// Largest takes the largest beta where none has few enough slow requests. Otherwise it is the cheapest that is nearly as good.
	Largest bool
}

// Fine is the stricter yardstick. Coarse is that of the measured comparison whose figures our goals are told in: its tables say the slow
// requests of its oracle (0.52 to 0.56 % on calm traces, which is what a beta of 0.25 has) and what others' rules cost beside it
// (docs/simulate.md).
var (
	Fine   = Yardstick{Name: "fine", Step: 0.1}
	Coarse = Yardstick{Name: "coarse", Step: 0.25, Largest: true}
)

const (
	// mostBeta bounds the oracle's search: it provides a + beta sqrt(a) workers for a demand of a erlangs.
	mostBeta = 3
	// oracleSlow is the share of slow requests it may have.
	oracleSlow = 0.01
)

// Oracle is the clairvoyant: it knows the rate and the service time of every second to come, but not the single requests, and its
// workers warm up as long as everybody's. At the time t it has
//
//	c(t) = max over u in [t, t+warm-up] of need(u),  need(u) = ceil(a(u) + beta sqrt(a(u)))
//
// A worker needed at u is ordered at u - warm-up; one that is not needed for a time shorter than the warm-up is kept, because to
// start it again would cost as much. For a given need no plan with these workers is cheaper. Beta is the smallest with which at
// most 1 % of the requests are slow. Where none does that (the fleet is too small, a dependency is slow), it is the largest, or the
// smallest with which the share of slow requests is within 0.1 percentage points of what the largest reaches, as the yardstick says.
//
// It is a good, not a proven bound: between the requests of a second, another rule may do with less.
func Oracle(p Params, tr *Trace, seed uint64, y Yardstick) (*Result, error) {
	runs := map[int]*Result{}
	try := func(step int) (*Result, error) {
		if r := runs[step]; r != nil {
			return r, nil
		}
		r, err := Run(p, tr, seed, oraclePolicy(float64(step)*y.Step))
		runs[step] = r
		return r, err
	}
	search := func(limit float64) (*Result, error) {
		low, high := 0, int(math.Round(mostBeta/y.Step))
		for low < high {
			mid := (low + high) / 2
			r, err := try(mid)
			if err != nil {
				return nil, err
			}
			if r.SlowPart <= limit {
				high = mid
			} else {
				low = mid + 1
			}
		}
		return try(low)
	}
	best, err := search(oracleSlow)
	if err != nil || best.SlowPart <= oracleSlow || y.Largest {
		return best, err
	}
	return search(best.SlowPart + 0.001)
}

// OracleName is the policy name of the oracle's results.
const OracleName = "oracle"

// oraclePolicy is the oracle for one beta.
func oraclePolicy(beta float64) Policy {
	return Policy{Name: OracleName, New: func(s Setup) (Scaler, error) {
		return &oracle{plan: oraclePlan(s.Params, s.Trace, beta)}, nil
	}}
}

type oracle struct{ plan []int }

func (o *oracle) Every() int { return 1 }

func (o *oracle) Decide(ob *Observation) Decision {
	return Decision{Workers: o.plan[min(int(ob.Now), len(o.plan)-1)]}
}

// oraclePlan is c(t) for each second.
func oraclePlan(p Params, tr *Trace, beta float64) []int {
	need := make([]int, tr.Seconds())
	for s := range need {
		a := tr.Demand(s, p.Service)
		need[s] = max(p.MinWorkers, min(p.MaxWorkers, int(math.Ceil(a+beta*math.Sqrt(a)))))
	}
	lead := int(math.Ceil(p.WarmUp))
	// A sliding maximum over [s, s+lead] with a queue of falling values, from the end on.
	plan := make([]int, len(need))
	var falling []int
	for s := len(need) - 1; s >= 0; s-- {
		for len(falling) > 0 && need[falling[len(falling)-1]] <= need[s] {
			falling = falling[:len(falling)-1]
		}
		falling = append(falling, s)
		for falling[0] > s+lead {
			falling = falling[1:]
		}
		plan[s] = need[falling[0]]
	}
	return plan
}
