package sizing

import "math"

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
