package sizing

import "math"

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
