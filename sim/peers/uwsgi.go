package peers

import (
	"fmt"

	"github.com/tidegate/tidegate/sim"
)

// uwsgi is uWSGI's cheaper_busyness (unbit/uwsgi, plugins/cheaper_busyness/cheaper_busyness.c): every cycle the mean busy time of
// the active workers; above max `step` workers more; below min for `multiplier` cycles one worker less; a worker needed again sooner
// than that makes the multiplier greater by the penalty; three cycles in between begin the idle count anew. A backlog above the
// alert, or one that lasts for a minute, brings emergency workers. It measures on the machine itself, so an outage of the
// metrics does not touch it. A real uWSGI forks faster than the model's workers warm up.
type uwsgi struct {
	p          uwsgiParams
	multiplier int
	idle       int
	between    int
	// cheaped counts the cycles since a worker was let go last.
	cheaped  int
	waitFrom float64
}

type uwsgiParams struct {
	cycle               int
	min, max            float64
	multiplier, penalty int
	step                int
	alert, backlogStep  int
}

// UWSGI is cheaper_busyness with its defaults.
func UWSGI() sim.Policy {
	return uwsgiPolicy("uwsgi", "uWSGI's cheaper_busyness with its defaults (3 s, 25 to 50 %, one worker at a time)",
		uwsgiParams{cycle: 3, min: 0.25, max: 0.5, multiplier: 10, penalty: 2, step: 1, alert: 33, backlogStep: 1})
}

// UWSGITuned is cheaper_busyness with values that a large user has published, as we remember them.
func UWSGITuned() sim.Policy {
	return uwsgiPolicy("uwsgi-tuned", "uWSGI's cheaper_busyness tuned (1 s, 20 to 70 %, 16 workers at a time)",
		uwsgiParams{cycle: 1, min: 0.2, max: 0.7, multiplier: 30, penalty: 2, step: 16, alert: 16, backlogStep: 2})
}

func uwsgiPolicy(name, about string, p uwsgiParams) sim.Policy {
	return sim.Policy{Name: name, About: about, New: func(s sim.Setup) (sim.Scaler, error) {
		return &uwsgi{p: p, multiplier: p.multiplier}, nil
	}}
}

func (u *uwsgi) Every() int { return u.p.cycle }

// Local tells the engine that the rule sees the machine itself.
func (u *uwsgi) Local() bool { return true }

func (u *uwsgi) Decide(o *sim.Observation) sim.Decision {
	want := o.Target()
	if len(o.Seconds) == 0 || o.Ready() == 0 {
		return sim.Decision{Workers: want}
	}
	sum := 0.0
	for _, s := range o.Seconds {
		sum += s.Busy
	}
	// Workers that still start are counted as idle: uWSGI knows no others than running ones.
	share := sum / float64(len(o.Seconds)) / float64(o.Ready()+o.Starting())
	u.cheaped++
	switch {
	case share > u.p.max:
		u.idle, u.between = 0, 0
		if u.cheaped < u.multiplier {
			u.multiplier += u.p.penalty
		}
		want += u.p.step
	case share < u.p.min:
		u.between = 0
		u.idle++
		if u.idle >= u.multiplier {
			u.idle, u.cheaped = 0, 0
			want--
		}
	default:
		if u.between++; u.between >= 3 {
			u.idle = 0
		}
	}
	switch {
	case o.Queued == 0:
		u.waitFrom = o.Now
	case o.Queued > u.p.alert, o.Now-u.waitFrom > 60:
		want += u.p.backlogStep
	}
	return sim.Decision{Workers: want, Why: fmt.Sprintf("busy %.0f %%, %d requests wait", 100*share, o.Queued)}
}
