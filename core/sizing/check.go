package sizing

import (
	"fmt"
	"time"
)

// Check says what is wrong with a policy that did not come through a configuration file, in one sentence. The ranges are those of
// package conf.
func (p *Policy) Check() error {
	const day = 24 * time.Hour
	for _, f := range []struct {
		name     string
		value    float64
		from, to float64
	}{
		{"erlang.max_wait", p.Erlang.MaxWait, 0.001, 1},
		{"erlang.max_late", p.Erlang.MaxLate, 0.0001, 0.5},
		{"erlang.service_cv", p.Erlang.CV, 0, 10},
		{"erlang.reserve", p.Erlang.Reserve, 1, 10},
		{"busy_ratio.target", p.Busy.Target, 0.01, 1},
		{"rps_ratio.target", p.RPS.Target, 0.01, 1},
		{"queue.target", p.Queue.Target, 0.01, 1},
		{"up.share", p.Up.Share, 0, 10},
		{"up.tolerance", p.Up.Tolerance, 0, 0.5},
		{"down.share", p.Down.Share, 0.0001, 1},
		{"down.tolerance", p.Down.Tolerance, 0, 0.5},
		{"collapse_guard.drop", p.Guard.Drop, 0.01, 0.95},
		{"min_workers", float64(p.MinWorkers), 1, 1 << 20},
		{"max_workers", float64(p.MaxWorkers), float64(p.MinWorkers), 1 << 20},
	} {
		if !(f.value >= f.from && f.value <= f.to) {
			return fmt.Errorf("%s is %v; allowed is %v to %v", f.name, f.value, f.from, f.to)
		}
	}
	for _, f := range []struct {
		name     string
		value    time.Duration
		from, to time.Duration
	}{
		{"slo", p.SLO, time.Millisecond, time.Hour},
		{"lead_time", p.LeadTime, time.Second, time.Hour},
		{"busy_ratio.window", p.Busy.Window, 0, time.Hour},
		{"rps_ratio.window", p.RPS.Window, time.Second, 2 * time.Minute},
		{"up.every", p.Up.Every, 0, time.Hour},
		{"down.window", p.Down.Window, time.Second, day},
		{"down.every", p.Down.Every, time.Second, day},
		{"collapse_guard.hold", p.Guard.Hold, time.Minute, day},
		{"collapse_guard.extend", p.Guard.Extend, time.Second, day},
		{"futility.probe", p.Futility.Probe, time.Second, day},
	} {
		if f.value < f.from || f.value > f.to {
			return fmt.Errorf("%s is %v; allowed is %v to %v", f.name, f.value, f.from, f.to)
		}
	}
	return nil
}
