package conf

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // schedules must mean the same on a host without zone files

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// sizing reads how the app is sized. Keys of strategies that the app does not use are checked all the same.
func (s *source) sizing(key string, raw *rawApp, a *App) {
	p := &a.Policy
	l, lk := raw.Latency, key+".latency"
	p.Latency = core.LatencyPolicy{
		Requests:  s.int(lk+".requests", l.Requests, 15, 1, 10000),
		Threshold: s.duration(lk+".threshold", l.Threshold, 500*time.Millisecond, time.Millisecond, time.Hour),
		Breaches:  s.int(lk+".breaches", l.Breaches, 3, 1, 10000),
		Quiet:     s.duration(lk+".quiet", l.Quiet, 300*time.Second, time.Second, day),
	}
	p.Sizing = sizing.Default()
	z := &p.Sizing
	z.SLO = s.duration(key+".slo", raw.SLO, z.SLO, time.Millisecond, time.Hour)
	z.LeadTime = s.duration(key+".lead_time", raw.LeadTime, z.LeadTime, time.Second, time.Hour)
	e, ek := raw.Erlang, key+".erlang"
	z.Erlang.MaxWait = s.number(ek+".max_wait", e.MaxWait, z.Erlang.MaxWait, 0.001, 1)
	z.Erlang.MaxLate = s.number(ek+".max_late", e.MaxLate, z.Erlang.MaxLate, 0.0001, 0.5)
	z.Erlang.CV = s.number(ek+".service_cv", e.CV, z.Erlang.CV, 0, 10)
	z.Erlang.LoseNode = choice(e.LoseNode, z.Erlang.LoseNode)
	z.Erlang.Reserve = s.number(ek+".reserve", e.Reserve, z.Erlang.Reserve, 1, 10)
	z.Busy.Target = s.share(key+".busy_ratio.target", raw.BusyRatio.Target, z.Busy.Target, false)
	z.Busy.Window = s.duration(key+".busy_ratio.window", raw.BusyRatio.Window, z.Busy.Window, 0, time.Hour)
	z.RPS.Target = s.share(key+".rps_ratio.target", raw.RPSRatio.Target, z.RPS.Target, false)
	// Seconds older than this are not remembered one by one.
	z.RPS.Window = s.duration(key+".rps_ratio.window", raw.RPSRatio.Window, z.RPS.Window, time.Second, 2*time.Minute)
	q, qk := raw.Queue, key+".queue"
	z.Queue.Drain = s.duration(qk+".drain", q.Drain, z.Queue.Drain, time.Second, day)
	z.Queue.MaxAge = s.duration(qk+".max_age", q.MaxAge, z.Queue.MaxAge, 0, 30*day)
	z.Queue.Target = s.share(qk+".target", q.Target, z.Queue.Target, false)
	for i := range raw.Schedule {
		slot, zone := s.slot(index(key+".schedule", i), &raw.Schedule[i])
		z.Schedule, a.Zones = append(z.Schedule, slot), append(a.Zones, zone)
	}
	s.around(key, raw, z)
	p.Fill = s.share(key+".fill", raw.Fill, 0.75, false)
	a.Backlog = s.backlog(key+".backlog", raw.Backlog)
}

// around reads what stands around every strategy that sizes in workers.
func (s *source) around(key string, raw *rawApp, z *sizing.Policy) {
	u, uk := raw.Up, key+".up"
	z.Up.Every = s.duration(uk+".every", u.Every, z.Up.Every, 0, time.Hour)
	z.Up.Share = s.number(uk+".share", u.Share, z.Up.Share, 0, 10)
	z.Up.Step = s.int(uk+".step", u.Step, z.Up.Step, 0, maxCount)
	z.Up.Tolerance = s.number(uk+".tolerance", u.Tolerance, z.Up.Tolerance, 0, 0.5)
	d, dk := raw.Down, key+".down"
	z.Down.Window = s.duration(dk+".window", d.Window, z.Down.Window, time.Second, day)
	z.Down.Every = s.duration(dk+".every", d.Every, z.Down.Every, time.Second, day)
	z.Down.Share = s.share(dk+".share", d.Share, z.Down.Share, false)
	z.Down.Tolerance = s.number(dk+".tolerance", d.Tolerance, z.Down.Tolerance, 0, 0.5)
	g, gk := raw.Guard, key+".collapse_guard"
	z.Guard.Off = choice(g.Off, z.Guard.Off)
	z.Guard.Drop = s.number(gk+".drop", g.Drop, z.Guard.Drop, 0.01, 0.95)
	z.Guard.Hold = s.duration(gk+".hold", g.Hold, z.Guard.Hold, time.Minute, day)
	z.Guard.Extend = s.duration(gk+".extend", g.Extend, z.Guard.Extend, time.Second, day)
	z.Futility.Off = choice(raw.Futility.Off, z.Futility.Off)
	z.Futility.Probe = s.duration(key+".futility.probe", raw.Futility.Probe, z.Futility.Probe, time.Second, day)
	z.Profile.On = choice(raw.Profile.On, z.Profile.On)
	z.Profile.Days = s.int(key+".profile.days", raw.Profile.Days, z.Profile.Days, 1, 14)
	z.FlapBudget = s.int(key+".flap_budget", raw.FlapBudget, z.FlapBudget, 0, 3600)
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (s *source) slot(key string, raw *rawSlot) (sizing.ScheduleSlot, *time.Location) {
	slot := sizing.ScheduleSlot{From: s.clock(key+".from", raw.From), To: s.clock(key+".to", raw.To)}
	for i, name := range raw.Days {
		d := slices.Index(weekdays, name)
		if d < 0 {
			s.fail(index(key+".days", i), name, "one of %s", strings.Join(weekdays, ", "))
			continue
		}
		slot.Days = append(slot.Days, time.Weekday(d))
	}
	if raw.Workers == nil {
		s.fail(key+".workers", "", "the least number of workers in this time, from 1 to %d", maxCount)
	}
	slot.Workers = s.int(key+".workers", raw.Workers, 1, 1, maxCount)
	if raw.Zone == "" {
		return slot, time.UTC
	}
	zone, err := time.LoadLocation(raw.Zone)
	if err != nil || raw.Zone == "Local" {
		s.fail(key+".zone", raw.Zone, "a time zone such as Europe/Berlin, or UTC")
		return slot, time.UTC
	}
	return slot, zone
}

var clockRE = regexp.MustCompile(`^([0-9]{1,2}):([0-9]{2})$`)

// clock is a time of day, 00:00 to 24:00.
func (s *source) clock(key, value string) time.Duration {
	g := clockRE.FindStringSubmatch(value)
	if g != nil {
		h, _ := strconv.Atoi(g[1])
		m, _ := strconv.Atoi(g[2])
		if d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute; m < 60 && d <= day {
			return d
		}
	}
	s.fail(key, value, `a time of day from "00:00" to "24:00"`)
	return 0
}

func (s *source) backlog(key string, raw *rawBacklog) *Backlog {
	if raw == nil {
		return nil
	}
	b := &Backlog{
		URL: raw.URL, Command: raw.Command,
		Every:   s.duration(key+".every", raw.Every, 5*time.Second, 100*time.Millisecond, time.Minute),
		Timeout: s.duration(key+".timeout", raw.Timeout, time.Second, 50*time.Millisecond, 30*time.Second),
	}
	switch {
	case raw.URL == "" && len(raw.Command) == 0:
		s.fail(key, "", "one of `url` and `command`")
	case raw.URL != "" && len(raw.Command) > 0:
		s.fail(key, "url and command", "only one of them")
	}
	if raw.URL != "" {
		s.httpURL(key+".url", raw.URL, false)
	}
	s.command(key+".command", raw.Command)
	return b
}

// strategyNames are all strategies, the default first.
var strategyNames = []core.Strategy{core.Erlang, core.BusyRatio, core.RPSRatio, core.Queue, core.Schedule, core.Latency, core.Noop}

// alone tells that a strategy cannot stand beside another one.
func alone(name core.Strategy) bool { return name == core.Noop || name == core.Latency }

// strategies reads which strategies size the app, and checks that each has the sources it decides by.
func (s *source) strategies(key string, raw *rawApp, a *App, c *Controller) {
	p := &a.Policy
	at := key + ".strategy"
	var names []core.Strategy
	switch v := raw.Strategy.(type) {
	case nil:
		if why := s.lacks(core.Erlang, a, c); why != "" {
			s.fail(at, "", "the default is erlang, and that needs %s; %s fits here", why, s.fitting(a, c))
		}
		p.Strategy = core.Erlang
		return
	case string:
		names = append(names, core.Strategy(v))
	case []any:
		for _, name := range v {
			names = append(names, core.Strategy(fmt.Sprint(name)))
		}
	}
	if len(names) == 0 {
		s.fail(at, "", "a strategy or a list of strategies: %s", listed())
		return
	}
	for i, name := range names {
		where := at
		if _, list := raw.Strategy.([]any); list {
			where = index(at, i)
		}
		switch {
		case !slices.Contains(strategyNames, name):
			s.fail(where, string(name), "one of %s", listed())
		case slices.Contains(names[:i], name):
			s.fail(where, string(name), "each strategy once")
		case alone(name) && len(names) > 1:
			s.fail(where, string(name), "%s only alone, not in a list with others", name)
		default:
			if why := s.lacks(name, a, c); why != "" {
				s.fail(where, string(name), "%s only with %s", name, why)
			}
		}
	}
	p.Strategy, p.Also = names[0], names[1:]
	if len(p.Also) == 0 {
		p.Also = nil
	}
}

func listed() string {
	var names []string
	for _, n := range strategyNames {
		names = append(names, string(n))
	}
	return strings.Join(names, ", ")
}

// lacks says which source a strategy would need and the app does not have, "" when it has them all. Where only decisions matter,
// the observations bring the timings.
func (s *source) lacks(name core.Strategy, a *App, c *Controller) string {
	p := &a.Policy
	timed := s.policyOnly || p.Proxied && c.SPOA != nil
	switch {
	case name == core.Noop:
		return ""
	case name == core.Latency:
		if !timed {
			return "haproxy_backend and a section `spoa`: the timings come from HAProxy's filter"
		}
		return ""
	case (name == core.Erlang || name == core.RPSRatio) && !timed:
		return "haproxy_backend and a section `spoa`: arrivals and timings come from HAProxy's filter"
	case name == core.Queue && a.Backlog == nil && !s.policyOnly:
		return "a section `backlog` that tells the length of the message queue"
	case name == core.Schedule && len(p.Sizing.Schedule) == 0:
		return "a list `schedule` of times"
	}
	for _, sp := range p.Servers {
		if !sp.Managed {
			return fmt.Sprintf("a `node` for every server, whose agent counts and steers the workers (%s has none)", sp.Name)
		}
	}
	return ""
}

// fitting is the best strategy that has its sources.
func (s *source) fitting(a *App, c *Controller) core.Strategy {
	for _, name := range []core.Strategy{core.BusyRatio, core.Latency} {
		if s.lacks(name, a, c) == "" && len(a.Policy.Servers) > 0 {
			return name
		}
	}
	return core.Noop
}

func allManaged(p *core.AppPolicy) bool {
	for _, sp := range p.Servers {
		if !sp.Managed {
			return false
		}
	}
	return true
}
