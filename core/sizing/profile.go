package sizing

import (
	"maps"
	"math"
	"slices"
)

// Profile is what the app's days look like: the highest ten seconds of each quarter of an hour, of the newest days.
type Profile struct {
	// Days holds arrivals per second by quarter of an hour, by day since 1970.
	Days map[int64][]float32 `json:"days,omitempty"`
	// Over and Of count the decisions of the last hours in which the profile asked for far too much, and all.
	Over float64 `json:"over,omitempty"`
	Of   float64 `json:"of,omitempty"`
	At   int64   `json:"at,omitempty"`
	// Off is until when it is not followed, because it was wrong too often.
	Off int64 `json:"off,omitempty"`
}

const (
	quarter     = 900
	quarters    = daySeconds / quarter
	keptDays    = 15
	profileHalf = 7200.0
	profileOff  = 7200
)

func (p Profile) clone() Profile {
	p.Days = maps.Clone(p.Days)
	for k, v := range p.Days {
		p.Days[k] = slices.Clone(v)
	}
	return p
}

// learn notes the rate of the newest ten seconds.
func (p *Profile) learn(now int64, rate float64) {
	day, in := floorDiv(now, daySeconds)
	if p.Days == nil {
		p.Days = map[int64][]float32{}
	}
	slots := p.Days[day]
	if slots == nil {
		slots = make([]float32, quarters)
		p.Days[day] = slots
		for d := range p.Days {
			if d <= day-keptDays || d > day {
				delete(p.Days, d)
			}
		}
	}
	slots[in/quarter] = max(slots[in/quarter], float32(rate))
}

// weekend tells Saturday and Sunday from the other days; day 0 was a Thursday.
func weekend(day int64) bool {
	_, w := floorDiv(day+4, 7)
	return w == 0 || w == 6
}

// at is the third quartile, over the days of the same kind as today, of the rate at a second; known is false when there are
// fewer than least such days.
func (p *Profile) at(sec, today int64, least int) (rate float64, known bool) {
	day, in := floorDiv(sec, daySeconds)
	var values []float64
	for d, slots := range p.Days {
		if d < today && weekend(d) == weekend(day) && slots[in/quarter] > 0 {
			values = append(values, float64(slots[in/quarter]))
		}
	}
	if len(values) < max(1, least) {
		return 0, false
	}
	slices.Sort(values)
	return values[min(len(values)-1, 3*len(values)/4)], true
}

// profile is the floor that the app's own days ask for: what came at this time of the day, brought to today's level, at most twice
// the present need, and not at all while it is wrong too often or today is like no other day.
func (s *State) profile(need float64) float64 {
	p := &s.Memory.Profile
	if !s.Policy.Profile.On || !s.trusted {
		return 0
	}
	rate := s.Memory.History.rate(30)
	p.learn(s.Now, s.Memory.History.rate(10))
	if s.Now < p.Off {
		return 0
	}
	today, _ := floorDiv(s.Now, daySeconds)
	least := s.Policy.Profile.Days
	usual, ok := p.at(s.Now, today, least)
	if !ok || usual <= 0 {
		return 0
	}
	ratio := rate / usual
	s.overpredicts(p, ratio < 1/1.3)
	if ratio < 0.5 || s.Now < p.Off {
		return 0
	}
	ahead, ok := p.at(s.Now+int64(s.Lead)+300, today, least)
	if !ok {
		return 0
	}
	floor := math.Min(s.workers(math.Max(ahead, usual)*math.Max(0.7, math.Min(1.3, ratio))), 2*need)
	if floor > need {
		s.input("profile_arrivals", ahead)
	}
	return floor
}

// overpredicts keeps the share of the time in which the profile was too high, and switches it off for two hours when that is
// more than three tenths.
func (s *State) overpredicts(p *Profile, over bool) {
	dt := math.Max(0, math.Min(60, float64(s.Now-p.At)))
	p.At = s.Now
	fade := math.Exp(-dt / profileHalf)
	p.Over, p.Of = p.Over*fade, p.Of*fade+dt
	if over {
		p.Over += dt
	}
	if p.Of > 1800 && p.Over > 0.3*p.Of {
		p.Off, p.Over, p.Of = s.Now+profileOff, 0, 0
	}
}
