package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Steer starts or stops one unit. The job's end is seen by the next looks: a start is done when the unit is active, a stop
// when it is inactive.
func (u *Units) Steer(now time.Time, target int, work func(proc.ID) adapter.Work) (int, error) {
	if target == adapter.NoTarget || u.conn == nil {
		return 0, nil
	}
	u.fails.calm(now)
	want := min(max(target, u.opt.Min), u.opt.Max)
	live := u.sorted((*unit).runs)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	switch {
	case len(live) < want && !now.Before(u.fails.until):
		return u.start(ctx, now)
	case len(live) > want:
		one := leaver(live, work)
		if _, err := u.conn.StopUnitContext(ctx, one.name, "replace", nil); err != nil {
			return 0, fmt.Errorf("stop %s: %w", one.name, explain(err))
		}
		u.told[one.n] = true
		one.job = "stop" // until the next look
		u.looked = time.Time{}
		return -1, nil
	}
	return 0, nil
}

// start starts the unit with the lowest free number; those that somebody else has stopped come last.
func (u *Units) start(ctx context.Context, now time.Time) (int, error) {
	var n int
	for _, last := range []bool{false, true} {
		for i := 1; i <= u.opt.Max && n == 0; i++ {
			one := u.units[i]
			if free := one == nil || !one.runs() && !one.leaves(); free && u.shunned[i] == last {
				n = i
			}
		}
	}
	if n == 0 {
		return 0, nil // all others still leave
	}
	name := u.name(n)
	if one := u.units[n]; one != nil && one.state == "failed" {
		// A unit that has failed too often is not started before that is forgotten.
		if err := u.conn.ResetFailedUnitContext(ctx, name); err != nil {
			u.fails.note(now, "")
			return 0, fmt.Errorf("reset the failure of %s: %w", name, explain(err))
		}
	}
	done := make(chan string, 1)
	if _, err := u.conn.StartUnitContext(ctx, name, "replace", done); err != nil {
		err = fmt.Errorf("start %s: %w", name, explain(err))
		u.shunned[n] = true
		u.fails.note(now, err.Error())
		return 0, err
	}
	delete(u.told, n)
	if u.units[n] == nil {
		u.units[n] = &unit{n: n, name: name}
	}
	one := u.units[n]
	one.job, one.failureSeen, one.ordered, one.done = "start", false, true, done // until the next look
	u.looked = time.Time{}
	return 1, nil
}

// leaver is the unit with the least to finish, the highest number of several. live is ordered by number.
func leaver(live []*unit, work func(proc.ID) adapter.Work) *unit {
	best, least := live[len(live)-1], -1
	for i := len(live) - 1; i >= 0 && work != nil; i-- {
		if n := work(live[i].id).Busy; least < 0 || n < least {
			best, least = live[i], n
		}
	}
	return best
}

// note lengthens the wait for the next start.
func (f *fails) note(now time.Time, what string) {
	pause := longestPause
	if f.row < 6 {
		pause = firstPause << f.row
	}
	f.row, f.last, f.until = f.row+1, now, now.Add(min(pause, longestPause))
	if what != "" {
		f.what = what
	}
}

// calm ends a series of failures after a while without one.
func (f *fails) calm(now time.Time) {
	if f.row > 0 && now.Sub(f.until) > calmAfter {
		*f = fails{}
	}
}

// problem is the sentence for the report, empty when nothing has failed of late.
func (f *fails) problem(now time.Time) string {
	switch {
	case f.row == 0:
		return ""
	case now.Before(f.until):
		return fmt.Sprintf("%s; no start is tried before %v are over", f.what, f.until.Sub(now).Round(100*time.Millisecond))
	}
	return f.what
}
