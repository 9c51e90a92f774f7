package sizing

import (
	"math"
	"slices"
)

const (
	// rateSeconds is the time the ordinary arrival rate is averaged over.
	rateSeconds = 60
	// burstOdds is the log likelihood ratio above which a rise is no chance: e^-8 for each window looked at.
	burstOdds = 8
	// trendErrors is how many standard errors a slope must be above zero.
	trendErrors = 3
	// burstErrors is the same within a rise, which is looked at in many windows in every turn.
	burstErrors = 3
	// lastingOdds is how much longer a rise is provided for than it has lasted: of rises of unknown length (no scale is likelier
	// than another) six of seven end before they have lasted seven times as long as now.
	lastingOdds = 6
	// known is up to how much above the hour's peak a rise is taken for one to that peak again.
	known = 1.15
	// mostGrowth bounds what a burst can be provided for in unknown territory, in multiples of the present rate.
	mostGrowth = 3
)

// windows are the lengths in seconds that a rise is looked for over.
var windows = [...]int{2, 3, 4, 5, 6, 8, 10, 14, 20, 30}

// load is what the arrivals say.
type load struct {
	// rate is the ordinary one, level what it is now, ahead what it will be one lead time from now.
	rate, level, ahead float64
	// trend is the ordinary rate one lead time from now.
	trend float64
	burst bool
	// spread is the ratio of the variance of arrivals to their mean (1: Poisson).
	spread float64
	peak   float64
}

// arrivals estimates the load from the history, lead seconds ahead.
func (h *History) arrivals(lead float64) load {
	l := load{rate: h.rate(rateSeconds), spread: 1, peak: h.peak()}
	l.spread = h.spread(l.rate)
	l.level, l.ahead = l.rate, l.rate
	l.trend = h.trend(l, lead)
	var so prefix
	so.fill(h)
	for _, k := range windows {
		mean, ok := so.rise(k, l.spread)
		if !ok {
			continue
		}
		l.burst = true
		level, ahead := mean, mean
		if slope, se := h.slope(k, l.spread); se > 0 && slope > burstErrors*se {
			level = mean + slope*float64(k-1)/2
			ahead = level + slope*math.Min(lead, lastingOdds*float64(k))
		}
		// Each window is a witness; the highest is believed.
		l.level = math.Max(l.level, level)
		l.ahead = math.Max(l.ahead, math.Max(level, math.Min(ahead, h.ceiling(level))))
	}
	return l
}

// ceiling is the most that a rise is believed to lead to: the hour's peak in known territory, beyond it mostGrowth.
func (h *History) ceiling(level float64) float64 {
	before := 0.0
	for _, v := range h.tens(hourTens, 3, make([]float64, 0, hourTens)) {
		before = math.Max(before, v)
	}
	if level <= known*before {
		return 1.05 * before
	}
	return mostGrowth * level
}

// prefix holds, by the number of the newest seconds, the sum of their arrivals and how many of them were told.
type prefix struct {
	sum  [riseSeconds + 1]float64
	told [riseSeconds + 1]int32
	n    int
}

// riseSeconds is the longest window of a rise and the minute before it.
const riseSeconds = 30 + rateSeconds

func (p *prefix) fill(h *History) {
	for i := h.Fine.n() - 1; i >= 0 && p.n < riseSeconds; i-- {
		f := h.Fine.at(i)
		p.sum[p.n+1], p.told[p.n+1] = p.sum[p.n], p.told[p.n]
		p.n++
		if !f.Gap {
			p.sum[p.n] += float64(f.A)
			p.told[p.n]++
		}
	}
}

// rise is the rate of the newest k seconds, if it is higher than that of the minute before them by more than chance: by the
// likelihood ratio of two Poisson rates, its log divided by spread.
func (p *prefix) rise(k int, spread float64) (rate float64, ok bool) {
	now, all := min(k, p.n), min(k+rateSeconds, p.n)
	before := p.told[all] - p.told[now]
	if int(p.told[now]) < k || before < 20 {
		return 0, false
	}
	n := float64(k)
	l1, l0 := p.sum[now]/n, math.Max(p.sum[all]-p.sum[now], 1)/float64(before)
	if l1 <= l0 {
		return l1, false
	}
	return l1, n*(l1*math.Log(l1/l0)-(l1-l0)) > burstOdds*spread
}

// slope is the least-squares slope of the newest k seconds' arrivals and its standard error.
func (h *History) slope(k int, spread float64) (b, se float64) {
	n := h.Fine.n()
	if n < k || k < 3 {
		return 0, 0
	}
	var sx, sy, sxx, sxy float64
	count := 0.0
	for i := n - k; i < n; i++ {
		f := h.Fine.at(i)
		if f.Gap {
			continue
		}
		x, y := float64(i-n+k), float64(f.A)
		sx, sy, sxx, sxy, count = sx+x, sy+y, sxx+x*x, sxy+x*y, count+1
	}
	d := count*sxx - sx*sx
	if count < 3 || d <= 0 {
		return 0, 0
	}
	b = (count*sxy - sx*sy) / d
	return b, math.Sqrt(spread * math.Max(sy/count, 1) * count / d)
}

// trend carries the last minute's slope on for one lead time, if it is one, within known territory or 30 %.
func (h *History) trend(l load, lead float64) float64 {
	b, se := h.slope(rateSeconds, l.spread)
	if se == 0 || b <= trendErrors*se {
		return l.rate
	}
	most := math.Max(1.05*l.peak, 1.3*l.rate)
	return math.Max(l.rate, math.Min(l.rate+b*(lead+rateSeconds/2), most))
}

// spread is the ratio of variance to mean of the arrivals, from the differences of successive sums of five seconds (robust:
// their median, so that a burst does not raise it), 1..20.
func (h *History) spread(rate float64) float64 {
	var space [fineSeconds / 5]float64
	diffs := space[:0]
	prev, have := 0.0, false
	for i := h.Fine.n() % 5; i+5 <= h.Fine.n(); i += 5 {
		sum, ok := 0.0, true
		for k := range 5 {
			f := h.Fine.at(i + k)
			sum += float64(f.A)
			ok = ok && !f.Gap
		}
		if ok && have {
			diffs = append(diffs, math.Abs(sum-prev))
		}
		prev, have = sum, ok
	}
	if len(diffs) < 6 || rate <= 0 {
		return 1
	}
	slices.Sort(diffs)
	sigma := 1.4826 * diffs[len(diffs)/2]
	return math.Min(20, math.Max(1, sigma*sigma/(10*rate)))
}
