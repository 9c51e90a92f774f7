package sizing

import "math"

// Service is what is known of the time a worker needs for a request.
type Service struct {
	// Base is the service time in seconds while the app is at ease, 0 when not known; BaseAt when it was last updated.
	Base   float64 `json:"base"`
	BaseAt int64   `json:"base_at,omitempty"`
}

const (
	// baseSeconds is the time constant of the base.
	baseSeconds = 1800
	// priorCompletions is how many completions the base is worth.
	priorCompletions = 30
	// defaultService is the service time of an app that has not answered yet, in seconds.
	defaultService = 0.1
)

// estimate is the mean service time now, in seconds: by Little's law the busy integral by the completions, or, without busy
// counts, the response times at the servers, in which waiting inside a server is cut off at all workers busy. The shortest window that
// is longer than the minute by more than chance wins, so that a dependency that becomes slow is seen at once. every is how many seconds
// one count of busy workers stands for.
func (v *Service) estimate(h *History, ready, cv, every float64) float64 {
	base := v.Base
	weight := float64(priorCompletions)
	if base == 0 {
		weight = 0
	}
	minute, ok := serviceOver(h, 60, ready, base, weight)
	if !ok {
		if base > 0 {
			return base
		}
		return defaultService
	}
	for _, n := range [...]int{5, 10, 20} {
		t := h.over(n, 0)
		s, ok := serviceOver(h, n, ready, base, weight)
		if !ok {
			continue
		}
		if s > minute*(1+math.Max(0.1, 4*serviceError(t, minute, cv, every))) {
			return s
		}
	}
	return minute
}

// serviceError is the relative standard error of a service time of s seconds over the sums t. The first part is that of the mean of so many
// service times. The second is for workers who are not counted all the time: one count is the mean of a second (Poisson: its variance is
// that of one moment, or 2s times that if it is less) and stands for every seconds.
func serviceError(t sums, s, cv, every float64) float64 {
	cv = math.Max(cv, 0.5)
	variance := cv * cv / math.Max(t.x, 1)
	if t.b > 0 {
		variance += math.Min(1, 2*s) * (every - 1) / t.b
	}
	return math.Sqrt(variance)
}

func serviceOver(h *History, n int, ready, base, weight float64) (float64, bool) {
	t := h.over(n, 0)
	switch {
	case t.busySeconds > 0 && t.busyCompleted+weight > 0:
		return (t.b + weight*base) / (t.busyCompleted + weight), true
	case t.t > 0:
		s := t.s / t.t
		if t.x > 0 && ready > 0 {
			s = math.Min(s, ready*float64(t.n)/t.x)
		}
		return (s*t.x + weight*base) / (t.x + weight), true
	}
	return 0, false
}

// learn moves the base towards the present service time while nothing waits and workers are free.
func (v *Service) learn(now int64, s, busyShare float64, queued bool, completed float64) {
	if completed < 1 || queued || busyShare > 0.85 {
		v.BaseAt = now
		return
	}
	if v.Base == 0 {
		v.Base, v.BaseAt = s, now
		return
	}
	dt := math.Max(0, math.Min(60, float64(now-v.BaseAt)))
	v.Base += (s - v.Base) * (1 - math.Exp(-dt/baseSeconds))
	v.BaseAt = now
}
