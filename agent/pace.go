package agent

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// calmAfter is how long nothing must have happened to the workers before they are looked at less often.
const calmAfter = 2 * time.Second

// pace looks at the workers of a patient actuator (adapter.Patient) less often while nothing happens to them: busy counts need
// every scan, and looking at fifty workers costs more than counting their requests. The zero value looks at each scan until
// nothing has happened for a while. It is for one goroutine.
type pace struct {
	last    adapter.Workers
	looked  time.Time // of the last good observation
	changed time.Time // of the last event
	target  int
	kept    bool // this scan goes by the last observation
}

// observe returns the workers: those of an observation of now, or the last ones.
func (p *pace) observe(now time.Time, act adapter.Actuator, target int) (adapter.Workers, error) {
	patient, ok := act.(adapter.Patient)
	if target != p.target {
		p.target, p.changed = target, now
	}
	p.kept = ok && !p.looked.IsZero() && now.Sub(p.changed) >= calmAfter && now.Sub(p.looked) < patient.Patience()
	if p.kept {
		return p.last, nil
	}
	w, err := act.Observe(now)
	if err != nil {
		p.looked, p.changed = time.Time{}, now
		return w, err
	}
	settled := len(w.Starting) == 0 && w.Coming == 0 && (target == adapter.NoTarget || target == len(w.Children)) &&
		!slices.ContainsFunc(w.Children, act.Draining)
	if !settled || w.Master != p.last.Master || !slices.Equal(w.Children, p.last.Children) {
		p.changed = now
	}
	p.last, p.looked = w, now
	p.last.Children = slices.Clone(w.Children)
	return w, nil
}

// steer passes the step on when the workers were looked at.
func (p *pace) steer(now time.Time, act adapter.Actuator, target int, work func(proc.ID) adapter.Work) (int, error) {
	if p.kept {
		return 0, nil
	}
	step, err := act.Steer(now, target, work)
	if step != 0 || err != nil {
		p.changed = now
	}
	return step, err
}

// counted looks for a process that says it can serve and is no worker that is known: workers have changed.
func (p *pace) counted(now time.Time, c adapter.Count, f *adapter.Family) {
	for id := range c.Booted {
		if !f.Has(id) {
			p.changed = now
			return
		}
	}
}
