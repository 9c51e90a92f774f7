package peers

import (
	"math"
	"slices"

	"github.com/tidegate/tidegate/sim"
)

// refStep is what came between two decisions of the reference policy.
type refStep struct {
	// at is its end.
	at, seconds float64
	// busy are worker-seconds, queue the sum of the waits of what was completed.
	arrivals, completions, busy, queue float64
	// rate, l10 and l30 are arrivals per second in it, and over 10 and 30 s to its end.
	rate, l10, l30 float64
}

// refPast is the last hour in such steps.
type refPast struct{ steps []refStep }

// add takes the seconds of an observation; ok is false when there are none, or when all are zero while requests are in flight.
func (p *refPast) add(o *sim.Observation) (ok bool) {
	t := refStep{at: o.Now, seconds: float64(len(o.Seconds))}
	for _, s := range o.Seconds {
		t.arrivals += float64(s.Arrivals)
		t.completions += float64(s.Completions)
		t.busy += s.Busy
		t.queue += s.Queue
	}
	if len(o.Seconds) == 0 || t.arrivals+t.completions+t.busy == 0 && o.InFlight > 0 {
		return false
	}
	p.steps = append(p.steps, t)
	last := p.last()
	last.rate, last.l10, last.l30 = t.arrivals/t.seconds, p.rate(t.at-10, t.at), p.rate(t.at-30, t.at)
	p.steps = p.steps[len(p.steps)-len(p.within(t.at-refHour-refPeakAgo, t.at)):]
	return true
}

func (p *refPast) last() *refStep { return &p.steps[len(p.steps)-1] }

// within are the steps that end after from and not after to.
func (p *refPast) within(from, to float64) []refStep {
	after := func(t float64) int {
		i, _ := slices.BinarySearchFunc(p.steps, t, func(s refStep, t float64) int {
			if s.at <= t {
				return -1
			}
			return 1
		})
		return i
	}
	return p.steps[after(from):after(to)]
}

// rate is the mean of arrivals per second, as far as they were seen.
func (p *refPast) rate(from, to float64) float64 {
	sum, seconds := 0.0, 0.0
	for _, s := range p.within(from, to) {
		sum, seconds = sum+s.arrivals, seconds+s.seconds
	}
	if seconds == 0 {
		return 0
	}
	return sum / seconds
}

// work is the worker-seconds and the completions.
func (p *refPast) work(from, to float64) (busy, completions float64) {
	for _, s := range p.within(from, to) {
		busy, completions = busy+s.busy, completions+s.completions
	}
	return busy, completions
}

// most10 is the highest rate of ten seconds.
func (p *refPast) most10(from, to float64) float64 {
	most := 0.0
	for _, s := range p.within(from, to) {
		most = math.Max(most, s.l10)
	}
	return most
}

// peak is the highest rate of ten seconds within an hour. A choice: the last minute does not count, or a burst would be
// within its own peak.
func (p *refPast) peak(now float64) float64 { return p.most10(now-refHour, now-refPeakAgo) }

// trend is the slope of the rate over 60 s by least squares, in requests per second per second, with its standard error;
// the slope is 0 without a whole minute.
func (p *refPast) trend(now float64) (slope, se float64) {
	steps := p.within(now-60, now)
	n := float64(len(steps))
	if n < 60/refTick {
		return 0, 0
	}
	mt, mr := 0.0, 0.0
	for _, s := range steps {
		mt, mr = mt+s.at/n, mr+s.rate/n
	}
	tt, tr, rr := 0.0, 0.0, 0.0
	for _, s := range steps {
		tt += (s.at - mt) * (s.at - mt)
		tr += (s.at - mt) * (s.rate - mr)
		rr += (s.rate - mr) * (s.rate - mr)
	}
	slope = tr / tt
	return slope, math.Sqrt(math.Max(0, rr-slope*tr) / (n - 2) / tt)
}

// slope is the rate that a burst reaches in one lead time when it goes on as in the last ten seconds: 0 where it is none. It is
// brought to the hour's peak where that is near, else to three times the rate when requests wait, and to half as much more.
func (p *refPast) slope(now, lead, l60, peak float64, waiting bool) float64 {
	before := p.within(now-10-refTick/2.0, now-10+refTick/2.0)
	if len(before) == 0 {
		return 0
	}
	rate := p.last().rate
	rise := rate - before[0].rate
	var steps []float64
	recent := p.within(now-600, now)
	for i := 1; i < len(recent); i++ {
		steps = append(steps, recent[i].rate-recent[i-1].rate)
	}
	// The difference of two means over 5 s of Poisson arrivals has the variance 2 l/5.
	if rise <= 4*math.Max(robustSigma(steps), math.Sqrt(2*l60/refTick)) {
		return 0
	}
	most := 1.5 * rate
	switch {
	case rate <= 1.15*peak:
		most = refPeakMost * peak
	case waiting:
		most = 3 * rate
	}
	return math.Min(rate+rise/10*lead, most)
}

// robustSigma is the standard deviation of normal values by their median absolute deviation.
func robustSigma(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	m := quantile(x, 0.5)
	away := make([]float64, len(x))
	for i, v := range x {
		away[i] = math.Abs(v - m)
	}
	return 1.4826 * quantile(away, 0.5)
}

// quantile is the value below which the part q of some values is, which must not be none.
func quantile(x []float64, q float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[min(len(x)-1, int(q*float64(len(x))))]
}

// refGrowth learns by which factor arrivals rise within one lead time.
type refGrowth struct {
	at, factor []float64
	next       float64
}

const (
	growthPrior = 1.2
	growthLeast = 1.06
	growthMost  = 1.6
	growthQ     = 0.95
	growthEvery = 10.0
	// growthCount is with how many samples it is known. A choice: the 95th percentile of fewer is their maximum.
	growthCount = 20
)

// learn notes the growth of the lead time that ends now, every 10 s, and returns the factor to expect.
func (g *refGrowth) learn(now, lead float64, p *refPast) float64 {
	if now >= g.next && now-lead-60 >= p.steps[0].at-refTick {
		g.next = now + growthEvery
		if before := p.rate(now-lead-60, now-lead); before > 0 {
			g.at, g.factor = append(g.at, now), append(g.factor, p.most10(now-lead, now)/before)
		}
	}
	for len(g.at) > 0 && g.at[0] <= now-refHour {
		g.at, g.factor = g.at[1:], g.factor[1:]
	}
	if len(g.factor) < growthCount {
		return growthPrior
	}
	return math.Min(growthMost, math.Max(growthLeast, quantile(g.factor, growthQ)))
}
