package sizing

import (
	"math"
	"slices"
)

// Growth is how much the app's arrivals have grown over one lead time, learned over the last hour.
type Growth struct {
	// Samples are ratios, one every ten seconds, oldest first; Factor is what is provided for.
	Samples []float32 `json:"samples,omitempty"`
	Factor  float64   `json:"factor"`
	At      int64     `json:"at"`
}

const (
	// priorGrowth is provided for until priorSamples are known.
	priorGrowth  = 1.2
	priorSamples = 30
	// mostLearned bounds the factor: what grows more than that within a lead time is a case for a reservation.
	mostLearned = 4
	// beforeTens is what growth is measured against. A jump is in it after half a minute, so that it counts once.
	beforeTens = 3
	// slowPrice is what a slow request costs, in units of the work to serve one.
	slowPrice = 40
)

// learn adds a sample: the highest ten of the last lead time against the half minute before it.
func (g *Growth) learn(h *History, least float64, lead float64, now int64) {
	if g.Factor == 0 {
		g.Factor = priorGrowth
	}
	if now-g.At < 10 {
		return
	}
	g.At = now
	span := max(1, int(math.Ceil(lead/10)))
	var space [hourTens]float64
	recent := h.tens(span, 0, space[:0])
	most := 0.0
	for _, v := range recent {
		most = math.Max(most, v)
	}
	before := h.tens(beforeTens, span, space[:0])
	if len(before) < beforeTens-1 || most <= 0 {
		return
	}
	start := mean(before)
	if start <= 0 {
		return
	}
	g.Samples = newest(g.Samples, float32(math.Min(10, most/start)), hourTens)
	g.Factor = g.cheapest(least)
}

// cheapest is the factor from least to mostLearned with which the samples would have cost least: workers for it all the time,
// and slow requests wherever arrivals grew by more. A burst that workers are not enough for makes all of its requests slow, so
// half a reserve is worth nothing, and only what the samples grew by is looked at.
func (g *Growth) cheapest(least float64) float64 {
	sorted := slices.Clone(g.Samples)
	slices.Sort(sorted)
	all := math.Max(priorSamples, float64(len(sorted)))
	best, bestCost, beyond := least, math.Inf(1), 0.0
	for i := len(sorted) - 1; i >= -1; i-- {
		f := least
		if i >= 0 {
			f = math.Max(least, float64(sorted[i]))
		}
		if cost := (f-1)*all + slowPrice*beyond; f <= mostLearned && cost < bestCost {
			best, bestCost = f, cost
		}
		if f <= least {
			break
		}
		beyond += math.Min(f, mostLearned)
	}
	if len(sorted) < priorSamples {
		return math.Max(best, priorGrowth)
	}
	return best
}

// newest is a new list of at most n samples that ends with v. The memory of the turn before keeps the old one.
func newest(samples []float32, v float32, n int) []float32 {
	samples = samples[max(0, len(samples)+1-n):]
	out := make([]float32, 0, len(samples)+1)
	return append(append(out, samples...), v)
}

func mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// Lead is the app's lead time: from an order to its first good answer.
type Lead struct {
	// Samples are seconds, the newest 20, oldest first.
	Samples []float32 `json:"samples,omitempty"`
	// Ordered is the number ordered last that was more than was ready, since At; 0 for none.
	Ordered int   `json:"ordered,omitempty"`
	At      int64 `json:"at,omitempty"`
	// Ready is when as many were ready, 0 for not yet: then the first good answer is awaited.
	Ready int64 `json:"ready,omitempty"`
}

const (
	keptLeads = 20
	// mostLead ends the wait for an order that never comes.
	mostLead = 600
	// answerSeconds ends the wait for a good answer of workers that are ready: nobody asks them.
	answerSeconds = 30
)

// order notes that more is wanted than is ready.
func (l *Lead) order(workers int, now int64) {
	if l.Ordered == 0 {
		l.Ordered, l.At = workers, now
	}
}

// see notes what is ready; fresh tells that not all of it has given a good answer yet.
func (l *Lead) see(ready, wanted int, fresh bool, now int64) {
	switch {
	case l.Ordered == 0:
	case ready >= l.Ordered:
		if l.Ready == 0 {
			l.Ready = now
		}
		end := now
		if fresh {
			if now-l.Ready < answerSeconds {
				return
			}
			end = l.Ready
		}
		l.Samples = newest(l.Samples, float32(math.Max(1, float64(end-l.At))), keptLeads)
		l.Ordered, l.Ready = 0, 0
	case wanted < l.Ordered || now-l.At > mostLead:
		l.Ordered, l.Ready = 0, 0
	default:
		l.Ready = 0
	}
}

// seconds is the ninth tenth of what was learned, or what the policy says until three orders have come true, with one turn of
// the loop added by the caller's own observations.
func (l *Lead) seconds(prior float64) float64 {
	if len(l.Samples) < leastLeads {
		return prior
	}
	sorted := slices.Clone(l.Samples)
	slices.Sort(sorted)
	return float64(sorted[min(len(sorted)-1, int(0.9*float64(len(sorted))))])
}
