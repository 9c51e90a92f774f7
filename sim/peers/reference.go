package peers

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/core/queueing"
	"github.com/tidegate/tidegate/sim"
)

// reference is the reference policy of the evaluation protocol, lean, that is without a margin for the loss of a node: demand from
// arrivals and a measured service time, growth over one lead time learned from the last hour, workers by Erlang C, a guard
// against load that collapses and one against workers that do not help. It is written from the policy's description alone, and
// shares no code with tidegate's own core but the formulas of the queue.
//
// Left out are its day profile, message queues, the counterfactuals of its explanations, the extension of the guard by errors, and
// what a real fleet needs besides: the shadow check of the metrics, the state over restarts, data of single nodes and of agents.
// The description leaves open what the comments call a choice; the plainest reading was taken.
type reference struct {
	p    sim.Params
	lead float64
	// started is when it first decided.
	started float64
	past    refPast
	// s0 is the service time without saturation, in seconds.
	s0     float64
	growth refGrowth
	// need is what the sustained load needed at each decision of the last refWindow seconds.
	need highest
	// upAt and shedAt are when workers were last ordered and let go.
	upAt, shedAt float64
	// dataAt is when there were data last.
	dataAt   float64
	guard    refGuard
	futility refFutility
	seenPush map[string]bool
}

// Its figures. Times are in seconds.
const (
	refTick = 5

	refPriorCount = 30 // completions that the baseline of the service time weighs as much as
	refBaseline   = 1800.0
	refCalm       = 0.85

	refWait = 0.2 // part of the SLO that a request may wait
	refLate = 0.03

	refBacklogWait  = 0.1 // part of the SLO from which on a mean wait is a backlog
	refBacklogDrain = 5.0

	refHour     = 3600.0
	refPeakAgo  = 60.0
	refPeakMost = 1.05
	refSteady   = 1.06

	refReserveMargin = 1.05
	refReserveMost   = 1800.0
	refReserveSeen   = 0.7
	refReserveOver   = 0.6

	refWindow   = 240.0
	refMargin   = 1.03
	refDownBand = 0.94
	refUpBand   = 1.03
	refShed     = 0.15
	refShedTime = 60.0
	refUpRest   = 30.0

	refNoDataAlarm = 300.0
	refNoDataPeak  = 1800.0
)

// Reference is the reference policy of the protocol.
func Reference() sim.Policy {
	return sim.Policy{Name: "reference", About: "the protocol's reference policy, lean: Erlang C on arrivals and service time, learned growth, guards against collapse and futility",
		New: func(s sim.Setup) (sim.Scaler, error) { return newReference(s.Params), nil }}
}

func newReference(p sim.Params) *reference {
	long := math.Inf(-1)
	return &reference{
		p: p, lead: p.WarmUp + refTick, started: -1, upAt: long, shedAt: long,
		// A choice: until it is measured the baseline is what the app is said to take.
		s0: p.Service, seenPush: map[string]bool{},
	}
}

func (r *reference) Every() int { return refTick }

func (r *reference) Decide(o *sim.Observation) sim.Decision {
	current := o.Target()
	if r.started < 0 {
		r.started, r.dataAt = o.Now, o.Now
	}
	if o.Missing || !r.past.add(o) {
		return r.noData(o.Now, current)
	}
	r.dataAt = o.Now
	n := &refNow{Observation: o, current: current, l60: r.past.rate(o.Now-60, o.Now), l10: r.past.last().l10}
	r.service(n)
	r.load(n)
	sustained := r.workers(n.sustained, n.s)
	want, why := r.workers(n.peak, n.s), n.words()
	if more := r.backlog(n); more > 0 {
		want += more
		why += fmt.Sprintf("; %d wait -> +%d", n.Queued, more)
	}
	floor, kept, about := r.floor(n)
	if floor > want {
		want, why = floor, why+"; "+about
	}
	low := max(floor, ceil(refMargin*float64(r.need.of(n.Now, refWindow, max(sustained, kept)))))
	limit := r.futility.look(n, &r.past)
	return sim.Decision{Workers: r.bounded(n, want, low, limit), Why: why, Alarms: r.alarms(n.Now)}
}

// refNow is what a decision knows. Rates are per second.
type refNow struct {
	*sim.Observation
	current int
	// l60 and l10 are arrivals over 60 and 10 s; lam is the one that counts: l10 in a burst.
	l60, l10, lam float64
	// s is the service time now and s0 without saturation.
	s, s0 float64
	// sustained is the rate to provide for without bursts, peak with them.
	sustained, peak float64
	busy            float64
}

func (n *refNow) words() string {
	return fmt.Sprintf("rate %.0f/s x %.0f ms = %.1f erlangs; growth x%.2f", n.lam, 1000*n.s, n.lam*n.s, n.peak/math.Max(n.lam, 1e-9))
}

// service is the service time by Little's law on the workers, drawn to its baseline where there are few requests.
func (r *reference) service(n *refNow) {
	over := func(span float64) float64 {
		busy, completions := r.past.work(n.Now-span, n.Now)
		return (busy + refPriorCount*r.s0) / (completions + refPriorCount)
	}
	n.s = over(60)
	if s := over(20); s > 1.3*n.s {
		n.s = s
	}
	if n.Ready() > 0 {
		n.busy = r.past.last().busy / r.past.last().seconds / float64(n.Ready())
	}
	if n.Queued == 0 && n.busy < refCalm && r.past.last().completions > 0 {
		r.s0 += (n.s - r.s0) * refTick / refBaseline
	}
	n.s0 = r.s0
}

// load is the rate to provide for: arrivals now, what they grow in one lead time, their trend, and the slope of a burst.
func (r *reference) load(n *refNow) {
	peak := r.past.peak(n.Now)
	g := r.growth.learn(n.Now, r.lead, &r.past)
	grown := func(rate float64) float64 {
		most := math.Max(refSteady*rate, refPeakMost*peak)
		trend := 0.0
		if b, se := r.past.trend(n.Now); b > 3*se {
			trend = math.Min(rate+b*r.lead, math.Max(refPeakMost*peak, 1.3*rate))
		}
		return math.Max(math.Min(rate*g, most), trend)
	}
	n.sustained = grown(n.l60)
	n.lam = n.l60
	if tens := 10 * n.l60; 10*n.l10 > tens+3*math.Sqrt(tens)+3 {
		n.lam = n.l10
	}
	n.peak = math.Max(grown(n.lam), r.past.slope(n.Now, r.lead, n.l60, peak, n.Queued > 0))
}

// workers is the least number with which at most 3 % wait longer than a fifth of the SLO.
func (r *reference) workers(rate, s float64) int {
	return queueing.Workers(rate*s, s, refWait*r.p.SLO, refLate, queueing.Kappa(1, r.p.CV))
}

// backlog is how many workers more it takes to serve within 5 s what waits and what will have come to wait until they are ready,
// as far as it has not given up by then.
func (r *reference) backlog(n *refNow) int {
	last := r.past.last()
	// A choice: where nothing was answered in 5 s while requests wait, the wait is taken for long.
	if n.Queued == 0 || last.queue <= refBacklogWait*r.p.SLO*last.completions && last.completions > 0 {
		return 0
	}
	grows := math.Max(0, n.lam-float64(n.Ready())/n.s) * r.lead
	return ceil(math.Min(n.lam*r.p.QueueTimeout, float64(n.Queued)+grows) * n.s / refBacklogDrain)
}

// floor is the number below which it does not go: announced load, the guard, and after its own start what it found. kept is the
// part of it that counts as a need when it is over: the text leaves only orders for bursts and backlogs out of the window. A
// choice: floors need what their rate needs, without learned growth; they have margins of their own.
func (r *reference) floor(n *refNow) (floor, kept int, why string) {
	raise := func(to int, about string) {
		if to > floor {
			floor, why = to, about
		}
	}
	for _, a := range n.Announced {
		if n.Now < math.Min(a.To, a.Told+refReserveMost) && !r.released(n, a) {
			raise(r.workers(refReserveMargin*a.Rate, n.s), "announced load")
		}
	}
	if hold := r.guard.look(n, &r.past, r.workers); hold > 0 {
		raise(hold, "the load collapsed: held")
	}
	kept = floor
	if n.Now-r.started < math.Max(refWindow, r.lead) {
		raise(n.current, "just started")
	}
	return floor, kept, why
}

// released tells that announced load has come and gone.
func (r *reference) released(n *refNow, a sim.Announcement) bool {
	if n.l10 >= refReserveSeen*a.Rate {
		r.seenPush[a.ID] = true
	}
	return r.seenPush[a.ID] && r.past.most10(n.Now-300, n.Now) < refReserveOver*a.Rate
}

// bounded is the number to order for what is wanted, not below low, within the rules of going up and down. limit is what more
// workers than do not help, 0 without one.
func (r *reference) bounded(n *refNow, want, low, limit int) int {
	current, part := n.current, refShed
	want = min(want, r.p.MaxWorkers)
	rests := n.Queued > 0 || n.Now-r.upAt < r.lead+refUpRest
	if limit > 0 {
		want, low = min(want, limit), min(low, limit)
		if current > limit {
			// What does not help goes twice as fast, queue or not.
			part, rests = 2*refShed, false
		}
	}
	switch {
	case float64(want) > refUpBand*float64(current) || n.Queued > 0 && want > current:
		r.upAt = n.Now
		return want
	case float64(low) < refDownBand*float64(current) && !rests && n.Now-r.shedAt >= refShedTime:
		r.shedAt = n.Now
		// A choice: one step each 60 s, of at most 15 % of what is there, and at least one worker.
		return max(low, current-max(1, int(part*float64(current))))
	}
	return current
}

// noData is what holds while nothing is known.
func (r *reference) noData(now float64, current int) sim.Decision {
	d := sim.Decision{Workers: current, Why: "no data"}
	if now-r.dataAt > refNoDataAlarm {
		d.Alarms = []string{"no data"}
	}
	if now-r.dataAt > refNoDataPeak {
		d.Workers = max(current, r.workers(r.past.most10(r.dataAt-refHour, r.dataAt), r.s0))
	}
	return d
}

func (r *reference) alarms(now float64) []string {
	var out []string
	if now < r.guard.until {
		out = append(out, "collapse")
	}
	if r.futility.limit > 0 {
		out = append(out, "dependency")
	}
	return out
}
