package sizing

import (
	"fmt"
	"math"
	"slices"
)

// Guard is the state of the collapse guard.
type Guard struct {
	// Until is when the hold ends, 0 for none; Since when it began; Level the arrivals per second before the collapse; Workers
	// what is held; Back since when traffic has been back.
	Until   int64   `json:"until,omitempty"`
	Since   int64   `json:"since,omitempty"`
	Level   float64 `json:"level,omitempty"`
	Workers int     `json:"workers,omitempty"`
	Back    int64   `json:"back,omitempty"`
	Longer  bool    `json:"longer,omitempty"`
	// Quiet is until when the guard does not start again after it ended by time: the lower level is the new one.
	Quiet int64 `json:"quiet,omitempty"`
}

const (
	// returnLoad is what traffic is expected to come back with, in multiples of what it was: those who could not be served
	// come again beside those who come anyway.
	returnLoad = 1.5
	// backShare of the former level for backSeconds is traffic that is back.
	backShare   = 0.8
	backSeconds = 60
	// lastingErrors is the share of errors that extends a hold.
	lastingErrors = 0.05
	// announcedEnd is how long after announced load a fall is no surprise, in seconds.
	announcedEnd = 600
)

// collapse tells whether arrivals have fallen off a cliff, and from which level: the last half minute is below Drop of the mean
// of five minutes that ended a minute ago, two minutes ago it was not, the fall is far beyond what this app does otherwise, and the
// level is low against the whole hour.
func (h *History) collapse(drop float64) (level float64, fell bool) {
	var few [30]float64
	now := h.over(30, 0)
	if now.n < 20 {
		return 0, false
	}
	l30 := now.a / float64(now.n)
	ref := mean(h.tens(30, 6, few[:0]))
	before := mean(h.tens(3, 11, few[:0]))
	if ref <= 0 || l30 >= drop*ref || before <= 0.7*ref {
		return 0, false
	}
	level, usual := h.against(ref, l30)
	return level, !usual
}

// against looks at a fall from ref to l30 in the light of the whole hour: usual tells that it is none beyond what the app does otherwise.
func (h *History) against(ref, l30 float64) (level float64, usual bool) {
	var space [hourTens]float64
	hour := h.tens(hourTens, 0, space[:0])
	if len(hour) < 30 {
		return 0, true
	}
	// Differences between half minutes that are a minute apart say how much this app's traffic moves by itself.
	var steps [hourTens]float64
	diffs := steps[:0]
	for i := 8; i < len(hour); i++ {
		diffs = append(diffs, math.Abs(mean(hour[i-2:i+1])-mean(hour[i-8:i-5])))
	}
	slices.Sort(diffs)
	sigma := 0.03 * ref
	if len(diffs) > 0 {
		sigma = math.Max(sigma, 1.4826*diffs[len(diffs)/2])
	}
	slices.Sort(hour)
	median := hour[len(hour)/2]
	// What a burst added to the hour's ordinary level is not awaited back.
	return math.Min(ref, median), ref-l30 <= 6*sigma || l30 >= 0.6*median
}

// guard starts, extends and ends the hold after a collapse of traffic, and returns the least number meanwhile.
func (s *State) guard(r *Result) (floor float64) {
	g, p := &s.Memory.Guard, s.Policy.Guard
	if p.Off {
		*g = Guard{}
		return 0
	}
	if g.Until == 0 {
		if s.expectsAnEnd() {
			// What was announced ends, and what it ends with is no collapse.
			g.Quiet = max(g.Quiet, s.Now+announcedEnd)
		}
		if s.Now < g.Quiet || !s.trusted {
			return 0
		}
		level, fell := s.Memory.History.collapse(p.Drop)
		if !fell {
			return 0
		}
		need := int(s.workers(returnLoad * level))
		*g = Guard{Since: s.Now, Until: s.Now + int64(p.Hold.Seconds()), Level: level, Workers: need}
		r.event(CodeGuard, map[string]float64{"before": round3(level), "now": round3(s.Memory.History.rate(30)), "workers": float64(g.Workers)},
			"arrivals fell from %.1f to %.1f per second within two minutes: %d workers are held for %v, ready for their return", level, s.Memory.History.rate(30), need, p.Hold)
	}
	s.guardEnd(r)
	if g.Until == 0 {
		return 0
	}
	return float64(g.Workers)
}

// expectsAnEnd tells that load is there that was announced, and will end.
func (s *State) expectsAnEnd() bool {
	for _, r := range s.Memory.Reservations {
		if r.Seen {
			return true
		}
	}
	return false
}

// guardEnd ends the hold when traffic is back or the time is over, and extends it while errors last.
func (s *State) guardEnd(r *Result) {
	g, p := &s.Memory.Guard, s.Policy.Guard
	recent := s.Memory.History.over(10, 0)
	if s.trusted && recent.n > 0 && recent.a/float64(recent.n) > backShare*g.Level {
		if g.Back == 0 {
			g.Back = s.Now
		}
	} else {
		g.Back = 0
	}
	last := s.Memory.History.over(30, 0)
	errors := s.Obs.Bad != "" || last.x+last.e > 0 && last.e/math.Max(last.x, last.e) > lastingErrors
	switch {
	case g.Back > 0 && s.Now-g.Back >= backSeconds:
		r.event(CodeGuardOver, map[string]float64{"held_s": float64(s.Now - g.Since)}, "traffic is back: the hold of %d s ends", s.Now-g.Since)
		*g = Guard{}
	case s.Now < g.Until:
	case errors:
		g.Until = s.Now + int64(math.Max(1, p.Extend.Seconds()))
		if !g.Longer {
			r.event(CodeGuardLonger, nil, "errors last: the hold goes on")
		}
		g.Longer = true
	default:
		r.event(CodeGuardOver, map[string]float64{"held_s": float64(s.Now - g.Since)}, "traffic has stayed away for %d s: it is taken for the new level", s.Now-g.Since)
		*g = Guard{Quiet: s.Now + hourTens*10}
	}
}

// returning bounds how far a rise is carried on while the collapse guard waits for traffic to come back: what is awaited is no rise of unknown size.
func (g *Guard) returning(l *load) {
	if g.Until > 0 {
		l.ahead = math.Max(l.level, math.Min(l.ahead, returnLoad*g.Level))
	}
}

func (r *Result) event(code Code, numbers map[string]float64, format string, args ...any) {
	r.Events = append(r.Events, Event{Code: code, Numbers: numbers, Sentence: fmt.Sprintf(format, args...)})
}

func (r *Result) alarm(code Code) { r.Alarms = append(r.Alarms, code) }
