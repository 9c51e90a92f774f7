package control

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// apply is the observation after one turn's changes. It leaves the one before as it is.
func (s *Seen) apply(before core.Observation, now time.Time) (core.Observation, error) {
	o := core.Observation{Now: now, Problem: s.Problem, Nodes: before.Nodes, Apps: slices.Clone(before.Apps)}
	if s.Nodes != nil {
		o.Nodes = s.Nodes
	}
	for i := range o.Apps {
		// What is told once is of one turn.
		o.Apps[i].Traffic.Seconds, o.Apps[i].Traffic.Responses = nil, nil
	}
	for i := range s.Apps {
		d := &s.Apps[i]
		at := slices.IndexFunc(o.Apps, func(a core.AppObs) bool { return a.Name == d.App })
		switch {
		case d.Whole != nil && d.Whole.Name != d.App:
			return o, fmt.Errorf("the observation of %q is called %q", d.Whole.Name, d.App)
		case d.Whole != nil && at < 0:
			o.Apps = append(o.Apps, *d.Whole)
		case d.Whole != nil:
			o.Apps[at] = *d.Whole
		case at < 0:
			return o, fmt.Errorf("numbers are told of %q, of which nothing is known", d.App)
		default:
			if err := d.to(&o.Apps[at], now.Unix()); err != nil {
				return o, fmt.Errorf("app %q: %w", d.App, err)
			}
		}
	}
	return o, nil
}

// to changes an app's observation, whose lists are shared with the one before.
func (d *AppSeen) to(a *core.AppObs, now int64) error {
	if d.Counts != nil {
		if err := setCounts(a, d.Counts); err != nil {
			return err
		}
	}
	for _, v := range d.Seconds {
		sec, err := readSecond(v, now)
		if err != nil {
			return err
		}
		a.Traffic.Seconds = append(a.Traffic.Seconds, sec)
	}
	if d.Servers != nil {
		a.Servers = slices.Clone(a.Servers)
	}
	for _, v := range d.Servers {
		if len(v) == 0 || v[0] < 0 || int(v[0]) >= len(a.Servers) {
			return errors.New("a server is told of that is not in the list")
		}
		if err := setServer(&a.Servers[int(v[0])], v[1:]); err != nil {
			return err
		}
	}
	if d.Backlog != nil {
		if a.Backlog == nil {
			return errors.New("a backlog is told of where there is none")
		}
		b := *a.Backlog
		if err := setBacklog(&b, d.Backlog); err != nil {
			return err
		}
		a.Backlog = &b
	}
	for _, r := range d.Responses {
		a.Traffic.Responses = append(a.Traffic.Responses, time.Duration(r))
	}
	return nil
}

func readSecond(v []float64, now int64) (sizing.Second, error) {
	var busy *float64
	if len(v) == 10 {
		busy, v = &v[9], v[:9]
	}
	v, err := padded("a second", v, 9)
	if err != nil {
		return sizing.Second{}, err
	}
	return sizing.Second{
		At: now + int64(v[0]), Span: int(v[1]), Arrivals: v[2], Completions: v[3], Errors: v[4], Timed: v[5], Queue: v[6], Connect: v[7], Service: v[8], Busy: busy,
	}, nil
}
