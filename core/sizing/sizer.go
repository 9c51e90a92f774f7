package sizing

import (
	"math"

	"github.com/tidegate/tidegate/core/queueing"
)

// Sizer is a strategy: it says from one turn's state how many workers are needed.
type Sizer interface {
	// Need returns what is needed now and, at most as much, what is needed lastingly: only the latter keeps an app from shrinking for
	// a whole window.
	Need(s *State) (now, lasting float64)
}

// sizers are all strategies that size in workers.
var sizers = map[Strategy]Sizer{
	BusyRatio: busyRatio{}, RPSRatio: rpsRatio{}, Queue: consumers{}, Schedule: schedule{}, Erlang: erlang{},
}

// State is one turn's view of an app: what was seen, what has been learned, and the trace that a strategy writes.
type State struct {
	Policy *Policy
	Obs    *Observation
	Memory *Memory
	// Now is the second since 1970.
	Now int64
	// Ready, Starting and Busy are sums over the nodes that report; BusyKnown tells that Busy means something.
	Ready, Starting, Busy float64
	BusyKnown             bool
	// Queued is what waits, Wait the mean queue time of the last five seconds' requests, in seconds.
	Queued, Wait float64
	// Service is the mean service time and Lead the lead time in seconds.
	Service, Lead float64
	load          load
	trusted       bool
	trace         Trace
}

func (s *State) input(name string, v float64) {
	if s.trace.Inputs == nil {
		s.trace.Inputs = map[string]float64{}
	}
	s.trace.Inputs[name] = round3(v)
}

func (s *State) step(rule Code, workers float64) {
	s.trace.Steps = append(s.trace.Steps, Step{rule, round3(workers)})
}

func round3(x float64) float64 {
	if math.Abs(x) > 1e12 || math.IsNaN(x) {
		return x
	}
	return math.Round(1000*x) / 1000
}

// erlang is arrivals x service time, enough workers that few wait long (Erlang C with Allen and Cunneen's correction), what
// arrivals may grow to before more workers can be there, and what waits already.
type erlang struct{}

func (erlang) Need(s *State) (now, lasting float64) {
	l := s.load
	s.input("arrivals", l.level)
	s.input("arrivals_60s", l.rate)
	s.input("service_s", s.Service)
	lasting = s.workers(l.rate)
	s.step(StepDemand, l.rate*s.Service)
	s.step(StepErlang, lasting)
	if l.trend > l.rate {
		lasting = math.Max(lasting, s.workers(l.trend))
		s.step(StepTrend, lasting)
	}
	lasting = s.grown(l.rate, lasting)
	now = lasting
	if l.burst {
		s.input("arrivals_ahead", l.ahead)
		now = math.Max(now, math.Max(s.workers(l.ahead), s.grown(l.level, 0)))
		s.step(StepBurst, now)
	}
	if more := s.backlog(); more > 0 {
		now += more
		s.step(StepBacklog, now)
	}
	if s.Policy.Erlang.LoseNode {
		now, lasting = s.loseNode(now), s.loseNode(lasting)
		s.step(StepLoseNode, now)
	}
	return now, lasting
}

// grown is the need for a rate after the growth learned for one lead time, which stays within what the last hour has seen.
func (s *State) grown(rate, need float64) float64 {
	g := s.Memory.Growth.Factor
	least := s.Policy.Erlang.Reserve
	ahead := math.Min(rate*g, math.Max(least*rate, 1.05*s.load.peak))
	if n := s.workers(ahead); n > need {
		s.input("growth", ahead/math.Max(rate, 1e-9))
		s.step(StepGrowth, n)
		return n
	}
	return need
}

// workers is the least number with which at most MaxLate of the requests wait longer than MaxWait of the SLO.
func (s *State) workers(rate float64) float64 {
	if rate <= 0 || s.Service <= 0 {
		return 0
	}
	e := &s.Policy.Erlang
	kappa := (s.load.spread + e.CV*e.CV) / 2
	return float64(queueing.Workers(rate*s.Service, s.Service, e.MaxWait*s.Policy.SLO.Seconds(), e.MaxLate, kappa))
}

// drainSeconds is the time within which what waits is to be served.
const drainSeconds = 10

// patience is how long requests are taken to wait before they give up, in seconds: more than that of the arrivals never waits.
const patience = 5

// backlog is how many more workers serve what waits, and what will wait when the next workers come, within drainSeconds.
func (s *State) backlog() float64 {
	if s.Queued < 1 || s.Wait <= 0.1*s.Policy.SLO.Seconds() || s.Service <= 0 {
		return 0
	}
	s.input("queued", s.Queued)
	s.input("wait_s", s.Wait)
	q := s.Queued + math.Max(0, s.load.level-s.Ready/s.Service)*s.Lead
	q = math.Min(q, math.Max(s.Queued, s.load.level*patience))
	return math.Ceil(q * s.Service / drainSeconds)
}

// loseNode is enough that the workers outside the largest node carry the demand at 92 %.
func (s *State) loseNode(need float64) float64 {
	share := s.largestShare()
	if share <= 0 || share >= 1 {
		return need
	}
	a := s.load.rate * s.Service
	return math.Max(need, math.Ceil(a/(0.92*(1-share))))
}

// largestShare is the share of the nodes' workers that the largest node has, as far as nodes are known, at most one half.
func (s *State) largestShare() float64 {
	total, most := 0.0, 0.0
	for i := range s.Obs.Nodes {
		n := &s.Obs.Nodes[i]
		if n.Up && n.Known {
			total += float64(n.Ready)
			most = math.Max(most, float64(n.Ready))
		}
	}
	if total == 0 {
		return 0
	}
	return math.Min(0.5, most/total)
}

// busyRatio is the demand (busy workers and what waits) against the target share. When nearly all workers are busy the true
// demand cannot be seen, and half as many again as are ready are asked for.
type busyRatio struct{}

func (busyRatio) Need(s *State) (now, lasting float64) {
	if !s.BusyKnown {
		return 0, 0
	}
	p := s.Policy.Busy
	demand := s.Busy + s.Queued
	m := s.Memory
	m.Busy = append(after(m.Busy, s.Now-int64(p.Window.Seconds())), Point{s.Now, demand})
	sum := 0.0
	for _, point := range m.Busy {
		sum += point.Value
	}
	average := sum / float64(len(m.Busy))
	s.input("busy", s.Busy)
	s.input("ready", s.Ready)
	s.input("queued", s.Queued)
	s.input("mean_demand", average)
	now = math.Ceil(average/p.Target - 1e-9)
	if demand >= 0.95*s.Ready && s.Ready > 0 {
		now = math.Max(now, math.Ceil(1.5*s.Ready))
	}
	s.step(StepBusy, now)
	return now, now
}

// rpsRatio is arrivals x service time against the target share.
type rpsRatio struct{}

func (rpsRatio) Need(s *State) (now, lasting float64) {
	p := s.Policy.RPS
	rate := s.Memory.History.rate(max(1, int(p.Window.Seconds())))
	s.input("arrivals", rate)
	s.input("service_s", s.Service)
	now = math.Ceil(rate*s.Service/p.Target - 1e-9)
	s.step(StepRPS, now)
	return now, now
}

// consumers sizes the consumers of a message queue: enough for what comes in and for the backlog to be gone within Drain. An
// item that waits stays, so growth decides; when items are older than MaxAge, or would be by the time new consumers are there,
// the backlog is to be gone within one lead time.
type consumers struct{}

func (consumers) Need(s *State) (now, lasting float64) {
	b := s.Obs.Backlog
	if b == nil {
		return 0, 0
	}
	p := s.Policy.Queue
	each := b.Service
	if each <= 0 && b.Out > 0 && s.Ready > 0 {
		each = s.Ready / b.Out
	}
	if each <= 0 {
		each = math.Max(s.Service, 1e-3)
	}
	s.input("items", b.Items)
	s.input("in", b.In)
	s.input("out", b.Out)
	s.input("oldest_s", b.Oldest)
	s.input("service_s", each)
	lasting = math.Ceil(b.In*each/p.Target - 1e-9)
	drain := math.Max(1, p.Drain.Seconds())
	ahead := b.Items + math.Max(0, b.In-b.Out)*s.Lead
	// By Little's law the newest item will be as old as the backlog divided by what is taken per second.
	age := b.Oldest
	if b.Out > 0 {
		age = math.Max(age, ahead/b.Out)
	}
	if p.MaxAge > 0 && b.Items >= 1 && age > p.MaxAge.Seconds() {
		drain = math.Min(drain, math.Max(1, s.Lead))
		s.input("age_ahead_s", age)
	}
	now = math.Ceil((b.In+ahead/drain)*each/p.Target - 1e-9)
	s.step(StepQueue, now)
	return math.Max(now, lasting), lasting
}

// schedule wants what the slots say.
type schedule struct{}

func (schedule) Need(s *State) (now, lasting float64) {
	for _, slot := range s.Policy.Schedule {
		// What is to be there at From is ordered one lead time before.
		if slot.covers(s.Now) || slot.covers(s.Now+int64(math.Ceil(s.Lead))) {
			now = math.Max(now, float64(slot.Workers))
		}
	}
	if now > 0 {
		s.step(StepSchedule, now)
	}
	return now, now
}

const daySeconds = 24 * 3600

// covers tells whether the slot contains a second since 1970.
func (t *ScheduleSlot) covers(sec int64) bool {
	sec += int64(t.Offset.Seconds())
	day, in := floorDiv(sec, daySeconds)
	from, to := int64(t.From.Seconds()), int64(t.To.Seconds())
	if from < to {
		return in >= from && in < to && t.on(day)
	}
	return in >= from && t.on(day) || in < to && t.on(day-1)
}

// on tells whether the slot is for a day since 1970; that began with a Thursday.
func (t *ScheduleSlot) on(day int64) bool {
	if len(t.Days) == 0 {
		return true
	}
	_, weekday := floorDiv(day+4, 7)
	for _, d := range t.Days {
		if int64(d) == weekday {
			return true
		}
	}
	return false
}

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q, r = q-1, r+b
	}
	return q, r
}
