package sizing

import (
	"math"
)

// Down remembers what shrinking looks back on.
type Down struct {
	// Needs are the highest lasting needs by tens of seconds.
	Needs []Point `json:"needs,omitempty"`
	// LastDown and LastUp are when the number last shrank and grew.
	LastDown int64 `json:"last_down,omitempty"`
	LastUp   int64 `json:"last_up,omitempty"`
	// Panic is until when nothing shrinks because requests piled up.
	Panic int64 `json:"panic,omitempty"`
	// Surplus is what is wanted and not needed.
	Surplus Surplus `json:"surplus,omitzero"`
}

const (
	// spare is kept above the highest need of the window.
	spare     = 1.03
	panicFor  = 20
	panicLoad = 2
	// upPause is how many seconds more than a lead time after the last growth nothing shrinks.
	upPause = 10
	// reserveBand is by how much more the reserve for growth alone must ask for before anything is ordered.
	reserveBand = 0.15
	// restartWindows is for how many windows after a start the number found is the floor, at least.
	restartWindows = 4
	// reversal is how soon a change in the other direction counts as one.
	reversal = 600
)

// note remembers a lasting need.
func (d *Down) note(now int64, need float64, window int64) {
	d.Needs = after(d.Needs, now-window)
	at := now - now%10
	if n := len(d.Needs); n > 0 && d.Needs[n-1].At >= at {
		d.Needs[n-1].Value = math.Max(d.Needs[n-1].Value, need)
		return
	}
	d.Needs = append(d.Needs, Point{at, need})
}

func (d *Down) highest() float64 {
	most := 0.0
	for _, p := range d.Needs {
		most = math.Max(most, p.Value)
	}
	return most
}

// panicking tells that requests pile up, or did within the last minute: more than twice as many as there are workers.
func (s *State) panicking() bool {
	d := &s.Memory.Down
	if s.Ready > 0 && s.Queued >= 1 && (math.Max(s.Busy, s.Ready)+s.Queued)/s.Ready >= panicLoad {
		d.Panic = s.Now + panicFor
	}
	return s.Now < d.Panic
}

// shrink is the number that may be gone down to from current, and the rule that kept it from target.
func (s *State) shrink(current int, target float64, frozen Code) (int, Code) {
	d, p := &s.Memory.Down, &s.Policy.Down
	// Also when another rule comes first, it is to be remembered for panicFor.
	panicking := s.panicking()
	floor := s.clamp(int(math.Ceil(math.Max(target, spare*d.highest()) - 1e-9)))
	enough := s.callOff(current, floor)
	switch {
	case floor >= current:
		return current, StepWindow
	case s.withinTolerance(current, floor):
		return current, StepTolerance
	case enough < current && (frozen == "" || frozen == CodeErrorStorm) && !s.starting():
		s.step(StepCallOff, float64(enough))
		return enough, ""
	case frozen != "":
		return current, StepNoShrink
	case s.starting():
		return current, StepRestart
	case s.Queued >= 1 && s.Wait > 0.1*s.Policy.SLO.Seconds() || panicking:
		return current, StepPanic
	case s.Now-d.LastUp < int64(s.Lead)+upPause || s.Now-d.LastDown < int64(p.Every.Seconds()):
		return current, StepDownPause
	}
	step := max(1, int(float64(current)*p.Share))
	if current-step > floor {
		return current - step, StepDownShare
	}
	return floor, ""
}

// starting tells that the app has not been watched for long enough to shrink.
func (s *State) starting() bool {
	return s.Now-s.Memory.Since.Unix() < int64(math.Max(restartWindows*s.Policy.Down.Window.Seconds(), s.Lead))
}

// grow is the number that may be gone up to, and the rule that kept it from target.
func (s *State) grow(current, target int) (int, Code) {
	u := &s.Policy.Up
	if float64(target) <= float64(current)*(1+u.Tolerance) && s.Queued < 1 {
		return current, StepTolerance
	}
	// The reserve is an estimate: while the workers do for what is there, it is not followed up and down by ones and twos.
	if s.Queued < 1 && s.sure <= float64(current) && float64(target) <= float64(current)*(1+reserveBand) {
		return current, StepTolerance
	}
	if u.Every <= 0 {
		return target, ""
	}
	if s.Now-s.Memory.Down.LastUp < int64(math.Ceil(u.Every.Seconds())) {
		return current, StepUpLimit
	}
	if most := current + max(1, u.Step, int(float64(current)*u.Share)); target > most {
		return most, StepUpLimit
	}
	return target, ""
}

func (s *State) clamp(n int) int { return max(s.Policy.MinWorkers, min(n, s.Policy.MaxWorkers)) }

// Flaps counts reversals of direction.
type Flaps struct {
	// Turns are the seconds of the last hour in which the direction turned within ten minutes.
	Turns []int64 `json:"turns,omitempty"`
	// Up is the last direction, At when.
	Up bool  `json:"up,omitempty"`
	At int64 `json:"at,omitempty"`
	// Reported tells that the alarm was raised.
	Reported bool `json:"reported,omitempty"`
}

// turn notes a change.
func (f *Flaps) turn(up bool, now int64) {
	if f.At > 0 && f.Up != up && now-f.At < reversal {
		f.Turns = append(f.Turns, now)
	}
	f.Up, f.At = up, now
}

// flapping raises the alarm when there were more reversals within an hour than the budget.
func (s *State) flapping(r *Result) {
	f := &s.Memory.Flaps
	for len(f.Turns) > 0 && s.Now-f.Turns[0] >= 3600 {
		f.Turns = f.Turns[1:]
	}
	over := s.Policy.FlapBudget > 0 && len(f.Turns) > s.Policy.FlapBudget
	if over {
		r.alarm(CodeFlapping)
		if !f.Reported {
			r.event(CodeFlapping, map[string]float64{"reversals": float64(len(f.Turns)), "budget": float64(s.Policy.FlapBudget)},
				"the number of workers changed its direction %d times within an hour, and %d are the budget", len(f.Turns), s.Policy.FlapBudget)
		}
	}
	f.Reported = over
}
