package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Options configure the units of one application.
type Options struct {
	// Unit is the template with %d for the number: "shop@%d.service".
	Unit string
	// Min and Max bound the workers; numbers go from 1 up.
	Min, Max int
	// Connect opens a connection to systemd; nil takes the system bus, or systemd's own socket for root where there is no
	// bus. The connection lives until ctx ends.
	Connect func(ctx context.Context) (*sd.Conn, error)
}

const (
	// lookEvery is the time between two looks at the units: the list takes systemd about 0.1 ms.
	lookEvery = 200 * time.Millisecond
	// callLimit bounds each call; systemd answers nobody while it loads its units again.
	callLimit = time.Second
	// connectEvery is the time between two attempts to connect.
	connectEvery = time.Second
	// firstPause and longestPause bound the wait after a start that failed, calmAfter ends the series.
	firstPause, longestPause, calmAfter = time.Second, time.Minute, time.Minute
	// maxNumber bounds the numbers that count as workers.
	maxNumber = 100000
)

// Units is the actuator for the units of a template. It is for one goroutine.
type Units struct {
	opt            Options
	prefix, suffix string
	proc           proc.Reader

	conn   *sd.Conn
	cancel context.CancelFunc
	// connectAt is when the next attempt to connect is due, err what the last one said.
	connectAt time.Time
	err       error

	looked time.Time
	// units are those of the last look that are there in some way, by number.
	units map[int]*unit
	// ours were started or stopped by this agent: their end is no surprise. shunned were stopped by somebody else, or cannot
	// told were stopped by this agent, so that their end is no surprise; shunned were stopped by somebody else, or could not
	// be started.
	told, shunned map[int]bool
	fails         fails
	problem       string
}

// unit is what is known of one unit of the template.
type unit struct {
	n          int
	name       string
	state, job string
	// id is its main process, zero when it has none.
	id proc.ID
	// wasRunning and failureSeen are of the looks before.
	wasRunning, failureSeen bool
	// ordered: this agent has started it and it has not been seen active since; done gets the start job's result.
	ordered bool
	done    chan string
}

// fails holds back starts after failures.
type fails struct {
	row         int
	last, until time.Time
	what        string
}

// New returns the actuator; nothing is opened or started.
func New(o Options) *Units {
	prefix, suffix, _ := strings.Cut(o.Unit, "%d")
	if o.Connect == nil {
		o.Connect = sd.NewWithContext
	}
	return &Units{opt: o, prefix: prefix, suffix: suffix, units: map[int]*unit{}, told: map[int]bool{}, shunned: map[int]bool{}}
}

// Owns is the template.
func (u *Units) Owns() []string { return []string{u.opt.Unit} }

// Limits: there may be no unit at all; only a target brings one back.
func (u *Units) Limits() adapter.Limits { return adapter.Limits{Zero: true} }

// Close ends the connection; the units stay as they are.
func (u *Units) Close() error {
	u.drop(nil)
	return nil
}

// drop ends the connection, because of err.
func (u *Units) drop(err error) {
	u.err = err
	u.looked = time.Time{}
	if u.conn != nil {
		u.conn.Close()
		u.cancel()
		u.conn = nil
	}
}

// connect makes a connection when there is none, or says why not.
func (u *Units) connect(now time.Time) error {
	if u.conn != nil && u.conn.Connected() {
		return nil
	}
	if u.conn != nil {
		u.drop(errors.New("the connection to systemd was lost"))
	}
	if now.Before(u.connectAt) && u.err != nil {
		return u.err
	}
	u.connectAt = now.Add(connectEvery)
	ctx, cancel := context.WithCancel(context.Background())
	limit := time.AfterFunc(2*callLimit, cancel)
	conn, err := u.opt.Connect(ctx)
	if err == nil && !limit.Stop() {
		conn.Close()
		err = errors.New("it does not answer")
	}
	if err != nil {
		limit.Stop()
		cancel()
		u.err = fmt.Errorf("connect to systemd over D-Bus: %w", err)
		return u.err
	}
	u.conn, u.cancel, u.err = conn, cancel, nil
	return nil
}

// Observe lists the units of the template and the process of each.
func (u *Units) Observe(now time.Time) (adapter.Workers, error) {
	if err := u.connect(now); err != nil {
		return adapter.Workers{}, err
	}
	if now.Sub(u.looked) >= lookEvery || now.Before(u.looked) {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		if err := u.look(ctx, now); err != nil {
			err = fmt.Errorf("ask systemd for the units %s: %w", u.opt.Unit, explain(err))
			u.drop(err)
			return adapter.Workers{}, err
		}
		u.looked = now
	}
	return u.workers(now), nil
}

// look brings the units up to date.
func (u *Units) look(ctx context.Context, now time.Time) error {
	list, err := u.conn.ListUnitsByPatternsContext(ctx, nil, []string{u.prefix + "*" + u.suffix})
	if err != nil {
		return err
	}
	u.problem = ""
	seen := map[int]bool{}
	for _, s := range list {
		n, ok := u.number(s.Name)
		if !ok {
			continue
		}
		seen[n] = true
		one := u.units[n]
		if one == nil {
			one = &unit{n: n, name: s.Name}
			u.units[n] = one
		}
		one.state, one.job = s.ActiveState, s.JobType
		if err := u.follow(ctx, now, one); err != nil {
			return err
		}
	}
	for n, one := range u.units {
		if !seen[n] {
			u.stopped(now, one)
			delete(u.units, n)
		}
	}
	return nil
}

// follow finds the unit's process and notices failures and stops.
func (u *Units) follow(ctx context.Context, now time.Time, one *unit) error {
	switch {
	case one.state == "failed" && one.job != "start":
		if !one.failureSeen {
			one.failureSeen = true
			result := "unknown"
			if p, err := u.conn.GetServicePropertyContext(ctx, one.name, "Result"); err == nil {
				result, _ = p.Value.Value().(string)
			}
			u.fails.note(now, fmt.Sprintf("%s has failed (%s)", one.name, result))
		}
		one.id, one.wasRunning, one.ordered = proc.ID{}, false, false
		return nil
	case !one.runs() && !one.leaves():
		u.stopped(now, one)
		one.id, one.wasRunning = proc.ID{}, false
		return nil
	}
	one.failureSeen = false
	if one.runs() {
		one.wasRunning = true
		one.ordered = one.ordered && one.starts()
		delete(u.shunned, one.n)
	}
	if one.id != (proc.ID{}) && u.proc.Alive(one.id) {
		return nil
	}
	one.id = proc.ID{}
	p, err := u.conn.GetServicePropertyContext(ctx, one.name, "MainPID")
	if err != nil {
		return err
	}
	pid, _ := p.Value.Value().(uint32)
	if st, err := u.proc.Stat(int(pid)); pid > 0 && err == nil && !st.Dead() {
		one.id = proc.ID{PID: int(pid), Start: st.Start}
	}
	return nil
}

// stopped takes note of a unit that is inactive: somebody else has stopped it, or its start came to nothing (a dependency
// failed, a condition does not hold).
func (u *Units) stopped(now time.Time, one *unit) {
	switch {
	case one.ordered:
		result := "of which systemd has not told the result"
		select {
		case result = <-one.done:
			result = "with the result " + result
		default:
		}
		u.fails.note(now, fmt.Sprintf("%s is not active after its start job, %s", one.name, result))
	case one.wasRunning && !u.told[one.n]:
		u.shunned[one.n] = true
	}
	one.ordered = false
	delete(u.told, one.n)
}

// runs: it stands for a worker.
func (one *unit) runs() bool {
	switch one.state {
	case "active", "activating", "reloading", "refreshing":
		return one.job != "stop"
	}
	return one.job == "start" || one.job == "restart"
}

// leaves: it was told to stop and has not ended.
func (one *unit) leaves() bool {
	return one.state == "deactivating" || one.job == "stop" && one.state != "inactive" && one.state != "failed"
}

// starts: it cannot serve yet.
func (one *unit) starts() bool {
	return one.state != "active" && one.state != "reloading" && one.state != "refreshing"
}

// number is the instance's of a unit of the template: decimal, from 1, without leading zeros.
func (u *Units) number(name string) (int, bool) {
	rest, ok1 := strings.CutPrefix(name, u.prefix)
	rest, ok2 := strings.CutSuffix(rest, u.suffix)
	n, err := strconv.Atoi(rest)
	return n, ok1 && ok2 && err == nil && n >= 1 && n <= maxNumber && strconv.Itoa(n) == rest
}

func (u *Units) name(n int) string { return u.prefix + strconv.Itoa(n) + u.suffix }

// sorted are the units for which keep holds, by number.
func (u *Units) sorted(keep func(*unit) bool) []*unit {
	var out []*unit
	for _, one := range u.units {
		if keep(one) {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *unit) int { return cmp.Compare(a.n, b.n) })
	return out
}

// workers is the observation.
func (u *Units) workers(now time.Time) adapter.Workers {
	w := adapter.Workers{Groups: true, Starting: map[proc.ID]bool{}, Problem: u.problem}
	if w.Problem == "" {
		w.Problem = u.fails.problem(now)
	}
	for _, one := range u.sorted(func(one *unit) bool { return one.runs() || one.leaves() }) {
		switch {
		case one.id != (proc.ID{}):
			w.Children = append(w.Children, one.id)
			if one.starts() {
				w.Starting[one.id] = true
			}
		case one.runs() && one.starts():
			w.Coming++
		case one.runs() && w.Problem == "":
			w.Problem = fmt.Sprintf("%s is active without a main process, so it is not counted", one.name)
		}
	}
	slices.SortStableFunc(w.Children, func(a, b proc.ID) int { return cmp.Compare(a.Start, b.Start) })
	return w
}

// Draining tells whether the unit of p is being stopped.
func (u *Units) Draining(p proc.ID) bool {
	for _, one := range u.units {
		if one.id == p {
			return one.leaves()
		}
	}
	return false
}

// explain turns systemd's errors into what a person can do about them.
func explain(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		var p *dbus.Error
		if !errors.As(err, &p) {
			if errors.Is(err, context.DeadlineExceeded) {
				return errors.New("it does not answer")
			}
			return err
		}
		e = *p
	}
	switch e.Name {
	case "org.freedesktop.systemd1.NoSuchUnit":
		return errors.New("systemd does not know it; is the template installed, and was systemctl daemon-reload run?")
	case "org.freedesktop.systemd1.UnitMasked":
		return errors.New("it is masked (systemctl unmask gives it back)")
	case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return errors.New("systemd does not allow it; the agent must be root, or polkit must allow it org.freedesktop.systemd1.manage-units")
	}
	return e
}
