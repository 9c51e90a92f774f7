package control

import (
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// sized adds to an app's status how its wanted number of workers came about, and keeps the last turn that changed it.
func (l *Loop) sized(out *api.App, app *App, p *core.AppPlan, now time.Time) {
	m := l.memory.Apps[p.Name]
	if m.Held {
		out.Hold = string(core.CodeHoldOrder)
	}
	for _, o := range l.orders.all() {
		if o.App == p.Name || o.App == api.AllApps {
			out.Orders = append(out.Orders, o)
		}
	}
	r := p.Sizing
	if r == nil {
		delete(l.changes, p.Name)
		return
	}
	out.Wanted = r.Workers
	for _, code := range r.Alarms {
		out.Alarms = append(out.Alarms, string(code))
	}
	// A pin is no hold: it may remove.
	if out.Hold == "" && r.Frozen != sizing.CodePin {
		out.Hold = string(r.Frozen)
	}
	s := sizingStatus(r, m.Sizing.Learned(&app.Policy.Sizing), now)
	out.Sizing = &s
	if r.Workers != r.Before {
		l.changes[p.Name] = s
	}
	if c, ok := l.changes[p.Name]; ok {
		out.Change = &c
	}
}

func sizingStatus(r *sizing.Result, known sizing.Learned, now time.Time) api.Sizing {
	t := &r.Trace
	s := api.Sizing{
		Time: now.UTC(), Before: r.Before, Workers: r.Workers, Need: float64(r.Workers), Strategy: string(t.Strategy), Frozen: string(r.Frozen),
		Inputs: t.Inputs, Limit: string(t.Limit), Without: t.Without, ArrivalsPerSecond: known.Arrivals, ServiceMS: -1,
		LeadMS: 1000 * known.Lead, LeadLearned: known.Measured,
	}
	for _, step := range t.Steps {
		s.Steps = append(s.Steps, api.SizingStep{Rule: string(step.Rule), Workers: step.Workers})
	}
	switch n := len(s.Steps); {
	case s.Limit != "" && s.Without > 0:
		s.Need = float64(s.Without)
	case s.Limit == "" && n > 0:
		s.Need = s.Steps[n-1].Workers
	}
	if v, ok := t.Inputs["service_s"]; ok {
		s.ServiceMS = 1000 * v
	} else if known.Service > 0 {
		s.ServiceMS = 1000 * known.Service
	}
	return s
}
