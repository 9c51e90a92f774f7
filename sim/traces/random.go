package traces

import (
	"fmt"
	"math"
	"strings"

	"github.com/tidegate/tidegate/sim"
)

// randomSeconds is the length of a random trace.
const randomSeconds = 2 * hour

// Random makes the trace number n (from 1) of the random ones for a seed: a base of a random shape (level, ramp, steps, waves, a
// walk, a sawtooth), two to five random events on it (bursts, double bursts, dips, flash crowds that fade, outages, new levels),
// noise of a random size and time, and now and then trouble (slow service, a capped dependency, metrics that are missing or zero, a
// lost node, an announced push). No rule was tuned on them.
func Random(n int, seed uint64) *sim.Trace {
	s := newShape(fmt.Sprintf("random-%d", n), randomSeconds, seed)
	about := []string{s.base()}
	for range 2 + s.r.IntN(4) {
		about = append(about, s.event())
	}
	s.noise(s.between(0, 0.15), 1+s.r.IntN(30))
	s.most(s.between(900, 1600))
	if s.r.Float64() < 0.4 {
		about = append(about, s.trouble())
	}
	s.About = strings.Join(about, ", ")
	return &s.Trace
}

// base fills in the rates.
func (s *shape) base() string {
	low := math.Exp(s.between(math.Log(40), math.Log(400)))
	high := low * s.between(1.2, 3.5)
	wave := func(period float64, shape func(x float64) float64) {
		phase := s.r.Float64()
		s.each(func(t float64) float64 {
			_, x := math.Modf(t/period + phase)
			return low + (high-low)*shape(x)
		})
	}
	switch s.r.IntN(6) {
	case 0:
		s.level(0, (low+high)/2)
		return "level"
	case 1:
		up := s.r.IntN(2) == 0
		s.each(func(t float64) float64 {
			x := t / float64(len(s.Rate))
			if !up {
				x = 1 - x
			}
			return low + (high-low)*x
		})
		return "ramp"
	case 2:
		for at := 0; at < len(s.Rate); at += s.moment(240, 1500) {
			s.level(at, s.between(low, high))
		}
		return "steps"
	case 3:
		wave(math.Exp(s.between(math.Log(120), math.Log(5400))), func(x float64) float64 { return (1 - math.Cos(2*math.Pi*x)) / 2 })
		return "waves"
	case 4:
		wave(s.between(300, 2400), func(x float64) float64 { return x })
		return "sawtooth"
	}
	at := (low + high) / 2
	s.each(func(float64) float64 {
		at = math.Max(low, math.Min(high, at*(1+0.012*s.r.NormFloat64())))
		return at
	})
	return "walk"
}

// event puts something on the rates.
func (s *shape) event() string {
	at := s.moment(600, float64(len(s.Rate)-600))
	up := s.moment(1, 120)
	lasts := up + s.moment(20, 900)
	factor := s.between(1.5, 4.5)
	switch s.r.IntN(6) {
	case 0:
		s.times(at, at+lasts, factor, up, s.moment(1, 300))
		return "burst"
	case 1:
		s.times(at, at+lasts, factor, up, 30)
		again := at + lasts + s.moment(60, 900)
		s.times(again, again+lasts, factor*s.between(0.7, 1.2), up, 30)
		return "two bursts"
	case 2:
		s.times(at, at+lasts, s.between(0.2, 0.8), up, s.moment(1, 300))
		return "dip"
	case 3:
		fade := s.between(60, 600)
		for i := at; i < len(s.Rate); i++ {
			s.Rate[i] *= 1 + (factor-1)*math.Min(1, float64(i-at+1)/float64(up))*math.Exp(-math.Max(0, float64(i-at-up))/fade)
		}
		return "flash crowd"
	case 4:
		back := at + s.moment(120, 1200)
		s.times(at, back, s.between(0, 0.1), 0, 0)
		s.times(back, back+s.moment(60, 600), s.between(1, 1.6), 5, 30)
		return "outage"
	}
	s.times(at, len(s.Rate), s.between(0.4, 2), up, 0)
	return "new level"
}

// trouble is what does not come from the arrivals.
func (s *shape) trouble() string {
	at := s.moment(900, float64(len(s.Rate)-1800))
	end := at + s.moment(180, 1500)
	switch s.r.IntN(6) {
	case 0:
		s.factor(at, end, s.between(1.3, 2.5))
		return "slow service"
	case 1:
		sum := 0.0
		for _, r := range s.Rate[at:end] {
			sum += r
		}
		s.limit(at, end, s.between(0.6, 0.95)*sum/float64(end-at))
		return "capped dependency"
	case 2:
		s.Missing = []sim.Span{span(at, end)}
		return "missing metrics"
	case 3:
		s.Zero = []sim.Span{span(at, end)}
		return "zero metrics"
	case 4:
		s.Lost = []sim.Loss{{Span: span(at, end), Node: 0}}
		return "lost node"
	}
	factor := s.between(2, 4)
	before := s.Rate[at]
	s.times(at, end, factor, s.moment(5, 60), s.moment(5, 60))
	s.Announced = []sim.Announcement{{ID: "announced", Told: float64(at) - s.between(60, 300), From: float64(at), To: float64(end + 300), Rate: factor * before}}
	return "announced push"
}
