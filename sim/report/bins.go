package report

import "github.com/tidegate/tidegate/sim"

// mostBins is how many points a chart has at most.
const mostBins = 480

// bin is some seconds of a run together.
type bin struct {
	at                  float64
	demand, ready, paid float64
	arrivals, slow      float64
	queued              float64
	slowShare           float64
}

// bins sums a series up to at most mostBins parts of whole seconds; step is the length of each.
func bins(s sim.Series) (out []bin, step int) {
	n := len(s.Arrivals)
	step = max(1, (n+mostBins-1)/mostBins)
	for from := 0; from < n; from += step {
		b := bin{at: float64(from)}
		to := min(from+step, n)
		for i := from; i < to; i++ {
			b.demand += float64(s.Demand[i])
			b.ready += float64(s.Ready[i])
			b.paid += float64(s.Ready[i] + s.Starting[i] + s.Draining[i])
			b.arrivals += float64(s.Arrivals[i])
			b.slow += float64(s.Slow[i])
			b.queued = max(b.queued, float64(s.Queued[i]))
		}
		k := float64(to - from)
		b.demand, b.ready, b.paid = b.demand/k, b.ready/k, b.paid/k
		if b.arrivals > 0 {
			b.slowShare = b.slow / b.arrivals
		}
		out = append(out, b)
	}
	return out, step
}
