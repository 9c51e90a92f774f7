package core_test

import (
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/core"
)

// size is what a machine is worth when it takes requests.
func (m *machine) size(o core.ServerObs) float64 {
	if m.policy.Managed {
		return float64(o.Pool.Ready)
	}
	return math.Max(1, float64(m.policy.MaxWorkers))
}

// takes tells whether the k-th HAProxy, or nginx where there is none, sends requests to a machine that can answer them.
func (a *appWorld) takes(k int, m *machine, o *core.AppObs, so core.ServerObs) bool {
	able := !m.policy.Managed || so.Pool.Known && so.Pool.Ready > 0
	switch {
	case !a.policy.Proxied:
		return able && m.web > 0
	case a.on > 1:
		so.Proxy = o.Proxies[k].Servers[m.policy.Name]
	}
	return able && so.Proxy.Known && so.Proxy.Admin == core.AdminReady && so.Proxy.Up && so.Proxy.Weight > 0
}

func (a *appWorld) takesAny(m *machine, o *core.AppObs, so core.ServerObs) bool {
	for k := range a.on {
		if a.takes(k, m, o, so) {
			return true
		}
	}
	return false
}

// leaving lists what a plan takes from machines that take requests: by each HAProxy or their agent, and by nginx.
func (a *appWorld) leaving(now time.Time, o *core.AppObs, plan core.AppPlan) (events [balancers][]outEvent, gone []outEvent) {
	for i, m := range a.servers {
		so := o.Servers[i]
		if !a.takesAny(m, o, so) {
			continue
		}
		has := m.size(so)
		for _, act := range plan.Actions {
			if act.Server != m.policy.Name {
				continue
			}
			for k := range a.on {
				switch act.Kind {
				case core.Drain, core.Park, core.Enter:
					if (a.on == 1 || act.Proxy == instance(k)) && a.takes(k, m, o, so) {
						events[k] = append(events[k], outEvent{now, act.Server, has, has})
					}
				case core.SetWorkers:
					if less := has - float64(act.Value); less > 0 {
						events[k] = append(events[k], outEvent{now, act.Server, less, has})
					}
				}
			}
		}
		// nginx also drops what a human holds or what died; that is no one's plan.
		for _, ws := range plan.Web {
			if ws.Server == m.policy.Name && ws.Weight == 0 && m.web > 0 {
				gone = append(gone, outEvent{now, ws.Server, has, has})
			}
		}
	}
	if !a.policy.Proxied {
		for k := range a.on {
			events[k] = append(events[k], gone...)
		}
		return events, nil
	}
	return events, gone
}

// judge is the oracle: it knows neither phases nor memories. What was ordered may have got lost; what counts is what was
// carried out, of what there was when it was ordered.
func (a *appWorld) judge(now time.Time, o *core.AppObs, ordered, done core.AppPlan, total *tally) error {
	a.asked = lastMinute(a.asked, now)
	asked, askedGone := a.leaving(now, o, ordered)
	for k := range asked {
		a.asked = append(a.asked, asked[k]...)
	}
	a.asked = append(a.asked, askedGone...)
	events, gone := a.leaving(now, o, done)
	total.web += len(gone)
	a.webOut = append(lastMinute(a.webOut, now), gone...)
	whole, largest := a.had(o)
	for k := range a.on {
		left := map[string]bool{}
		for _, e := range events[k] {
			if e.amount == e.had {
				left[e.server] = true
				total.leaves++
			} else {
				total.workers++
			}
		}
		if err := a.lastReady(k, o, left, total); err != nil {
			return err
		}
		a.out[k] = append(lastMinute(a.out[k], now), events[k]...)
		if err := a.minute(fmt.Sprint("HAProxy ", k, " and workers"), a.out[k], len(events[k]), whole, largest); err != nil {
			return err
		}
	}
	return a.minute("nginx", a.webOut, len(gone), whole, largest)
}

// minute holds what left within it, events of it just now, against what there was.
func (a *appWorld) minute(where string, window []outEvent, events int, whole, largest float64) error {
	sum := 0.0
	for _, e := range window {
		sum += e.amount
	}
	if most := max(a.policy.MaxOut*whole, largest); events > 0 && sum > most+1e-6 {
		return fmt.Errorf("%s: %.0f of %.0f left within a minute, at most %.1f may: %+v", where, sum, whole, most, window)
	}
	return nil
}

// lastReady: whoever leaves leaves enough others behind that take requests.
func (a *appWorld) lastReady(k int, o *core.AppObs, left map[string]bool, total *tally) error {
	stay := 0
	for i, m := range a.servers {
		if a.takes(k, m, o, o.Servers[i]) && !left[m.policy.Name] {
			stay++
		}
	}
	if stay == a.policy.MinServers {
		total.floor++
	}
	if len(left) > 0 && stay < a.policy.MinServers {
		return fmt.Errorf("%v left HAProxy %d, and %d servers that take requests stay (floor %d)", left, k, stay, a.policy.MinServers)
	}
	return nil
}

func lastMinute(out []outEvent, now time.Time) (window []outEvent) {
	for _, e := range out {
		if now.Sub(e.at) < time.Minute {
			window = append(window, e)
		}
	}
	return window
}

// had is what there is, and what there was where something left within the minute: in all, and on the largest machine.
func (a *appWorld) had(o *core.AppObs) (whole, largest float64) {
	for i, m := range a.servers {
		had := 0.0
		if a.takesAny(m, o, o.Servers[i]) {
			had = m.size(o.Servers[i])
		}
		for _, e := range a.asked {
			if e.server == m.policy.Name {
				had = max(had, e.had)
			}
		}
		whole += had
		largest = max(largest, had)
	}
	return whole, largest
}
