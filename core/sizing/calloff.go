package sizing

// Surplus is for how long the wanted number has been more than is needed.
type Surplus struct {
	// Since is when the number was last needed, or changed; Most is the most that has been needed since.
	Since int64 `json:"since,omitempty"`
	Most  int   `json:"most,omitempty"`
}

// callOffAfter is for how many seconds workers on their way must not have been needed before they are called off.
const callOffAfter = 10

// callOffShare is the least part of the number that must not have been needed: less is not worth the unrest.
const callOffShare = 0.25

// callOff is the number that is enough, when workers that are still on their way have not been needed for callOffAfter seconds; otherwise
// it is current. A rise is provided for as if it went on, and most end before: what has not come yet can go at once, since nothing is
// taken away with it, and that not even while requests end in errors. floor is what is needed now. It must be asked in every turn.
func (s *State) callOff(current, floor int) int {
	d := &s.Memory.Down
	u := &d.Surplus
	if s.OnTheWay == 0 || float64(floor) > (1-callOffShare)*float64(current) || max(d.LastUp, d.LastDown) >= u.Since {
		*u = Surplus{Since: s.Now}
		return current
	}
	u.Most = max(u.Most, floor)
	if s.Now-u.Since < callOffAfter {
		return current
	}
	return min(current, max(u.Most, current-int(s.OnTheWay)))
}

// withinTolerance tells that floor is too near below current, or above it, for anything to leave.
func (s *State) withinTolerance(current, floor int) bool {
	return floor >= current || float64(floor) > float64(current)*(1-s.Policy.Down.Tolerance) && floor > s.Policy.MinWorkers
}
