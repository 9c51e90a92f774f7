package sizing

import (
	"math"

	"github.com/tidegate/tidegate/core/queueing"
)

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
	s.sure = math.Max(s.sure, math.Max(lasting, s.workers(l.level)))
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
		s.sure = s.loseNode(s.sure)
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

// patience is how long requests are taken to wait before they give up, in seconds: more than that of the arrivals never waits.
const patience = 5

// backlog is how many more workers serve what waits, and what will wait when the next workers come, within the time that costs
// least: they are paid for until something may shrink again, and until the queue is empty all that arrive are slow.
func (s *State) backlog() float64 {
	waits := s.Queued >= 1 && s.Wait > 0.1*s.Policy.SLO.Seconds()
	// A rise beyond what the ready workers can serve fills the queue for sure: its workers are ordered with the first order.
	overload := s.load.burst && s.Ready > 0 && s.load.level*s.Service > s.Ready
	if !waits && !overload || s.Service <= 0 {
		return 0
	}
	s.input("queued", s.Queued)
	s.input("wait_s", s.Wait)
	q := s.Queued + math.Max(0, s.load.level-s.Ready/s.Service)*s.Lead
	q = math.Min(q, math.Max(s.Queued, s.load.level*patience))
	drain := math.Sqrt(patience * (s.Lead + upPause) / slowPrice)
	// By the usual service time: what makes requests slow may be a dependency, and more workers would only wait for it, too.
	service := s.Service
	if base := s.Memory.Service.Base; base > 0 {
		service = math.Min(service, base)
	}
	return math.Ceil(q * service / drain)
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
