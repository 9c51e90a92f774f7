package sim

import (
	"math"
	"math/rand/v2"
)

// request is one request: when it comes and how long it takes to serve, before any slowness of the moment.
type request struct{ at, service float64 }

// requests makes the requests of a trace: a Poisson process whose rate changes every second, and lognormal service times. They
// depend on trace, parameters and seed alone.
type requests struct {
	random      *rand.Rand
	rate        []float64
	second      int
	now         float64
	mu, sigma   float64
	mean        float64
	constant    bool
	exponential bool
}

func newRequests(p Params, t *Trace, seed uint64) *requests {
	r := &requests{random: rand.New(rand.NewPCG(seed, 0x7469646567617465)), rate: t.Rate, mean: p.Service, constant: p.CV == 0, exponential: p.Exponential}
	// A lognormal with mean m and CV v has sigma^2 = ln(1+v^2) and mu = ln m - sigma^2/2.
	s2 := math.Log(1 + p.CV*p.CV)
	r.sigma, r.mu = math.Sqrt(s2), math.Log(p.Service)-s2/2
	return r
}

// next is the next request; its time is +Inf after the end of the trace.
func (r *requests) next() request {
	left := r.random.ExpFloat64()
	for r.second < len(r.rate) {
		lambda := r.rate[r.second]
		end := float64(r.second + 1)
		if in := (end - r.now) * lambda; left >= in {
			left -= in
			r.now = end
			r.second++
			continue
		}
		r.now += left / lambda
		return request{r.now, r.serviceTime()}
	}
	return request{math.Inf(1), 0}
}

func (r *requests) serviceTime() float64 {
	switch {
	case r.exponential:
		return r.mean * r.random.ExpFloat64()
	case r.constant:
		return r.mean
	}
	return math.Exp(r.mu + r.sigma*r.random.NormFloat64())
}
