package peers

import "math"

// refGuard keeps the workers when the load collapses, because it may come back at once.
type refGuard struct {
	// until is when it ends; ref is the rate before the collapse, hold what is kept.
	until, ref float64
	hold       int
	// backFrom is since when the rate is above 0.8 ref, below 0 while it is not.
	backFrom float64
}

const (
	guardHold     = 1200.0
	guardFallen   = 0.5
	guardBefore   = 0.7
	guardSigmas   = 6
	guardLeast    = 0.03
	guardOfHour   = 0.6
	guardMargin   = 1.2
	guardBack     = 0.8
	guardBackTime = 60.0
)

// look is the number to keep, 0 without a collapse.
func (g *refGuard) look(n *refNow, p *refPast, workers func(rate, s float64) int) int {
	if n.Now < g.until {
		switch {
		case p.last().l30 <= guardBack*g.ref:
			g.backFrom = -1
		case g.backFrom < 0:
			g.backFrom = n.Now
		case n.Now-g.backFrom >= guardBackTime:
			g.until = n.Now
		}
	} else if ref, fell := collapsed(n.Now, p); fell {
		*g = refGuard{until: n.Now + guardHold, ref: ref, hold: max(n.current, workers(guardMargin*ref, n.s)), backFrom: -1}
	}
	if n.Now < g.until {
		return g.hold
	}
	return 0
}

// collapsed tells that the rate fell far within two minutes, farther than it usually does, to where it seldom was in the last
// hour. ref is the rate from six minutes to one minute ago.
func collapsed(now float64, p *refPast) (ref float64, fell bool) {
	l30 := p.last().l30
	ref = p.rate(now-360, now-60)
	before := p.within(now-125, now-120)
	if len(before) == 0 || l30 >= guardFallen*ref || before[0].l30 <= guardBefore*ref {
		return ref, false
	}
	// A choice: the deviation and the median are those of the rate over 30 s that is compared.
	var hour []float64
	for _, s := range p.within(now-refHour, now) {
		hour = append(hour, s.l30)
	}
	sigma := math.Max(robustSigma(hour), guardLeast*ref)
	return ref, ref-l30 > guardSigmas*sigma && l30 < guardOfHour*quantile(hour, 0.5)
}

// refFutility finds out that more workers do not help, as behind a dependency that is full.
type refFutility struct {
	// limit is the number from which on more do not help, 0 without one; probeAt is when that is tried again.
	limit   int
	probeAt float64
	// before is the state before workers arrived whose use is being watched, if watched; previous that of the last decision.
	before, previous refUse
	watched          bool
}

// refUse is what workers do: completions per second over 10 s.
type refUse struct {
	at, throughput float64
	ready          int
	saturated      bool
}

const (
	futileInflation = 1.25
	futileArrival   = 1.10
	futileAfter     = 20.0
	futileGain      = 0.3
	futileBusy      = 0.95
	futileLoad      = 0.8
	futileProbe     = 1.25
	futileProbeTime = 300.0
)

// look is the number of workers not to go above, 0 for none.
func (f *refFutility) look(n *refNow, p *refPast) int {
	_, done := p.work(n.Now-10, n.Now)
	// A choice: saturated is 95 % busy over the last 5 s, or requests that wait.
	now := refUse{at: n.Now, throughput: done / 10, ready: n.Ready(), saturated: n.busy >= futileBusy || n.Queued > 0}
	previous := f.previous
	f.previous = now
	if n.s <= futileInflation*n.s0 {
		f.limit, f.watched = 0, false
		return 0
	}
	switch {
	case f.watched && now.at-f.before.at >= futileAfter:
		f.watched = false
		f.limit = 0
		workers := float64(now.ready)/float64(f.before.ready) - 1
		if now.saturated && now.throughput/f.before.throughput-1 < futileGain*workers {
			f.limit, f.probeAt = f.before.ready, n.Now+futileProbeTime
		}
	case !f.watched && previous.saturated && previous.ready > 0 && previous.throughput > 0 && float64(now.ready) >= futileArrival*float64(previous.ready):
		f.watched, f.before = true, previous
	case f.limit > 0 && !f.watched && n.Now >= f.probeAt:
		f.limit, f.probeAt = ceil(futileProbe*float64(f.limit)), n.Now+futileProbeTime
	}
	if f.limit == 0 {
		return 0
	}
	return max(f.limit, ceil(n.lam*n.s0/futileLoad))
}
