package peers

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/sim"
)

// hpa is the rule of Kubernetes' horizontal pod autoscaler v2 (kubernetes/kubernetes, pkg/controller/podautoscaler: horizontal.go
// and replica_calculator.go): every 15 s usage over target, nothing within 10 %; pods that are not ready count as 0 on the way
// up, and when that turns the direction round nothing changes; up at once by 100 % or four pods, whichever is more, in 15 s;
// down to the highest recommendation of 300 s.
type hpa struct {
	h      history
	metric func(sim.Second) float64
	name   string
	recent highest
}

const (
	hpaTarget    = 0.7
	hpaTolerance = 0.1
	hpaSync      = 15
	hpaStabilise = 300
)

// HPAUtil is the HPA on the share of busy workers, HPAConcurrency on requests in service and in the queue; both against 70 %.
func HPAUtil() sim.Policy {
	return hpaPolicy("hpa-util", "the share of busy workers", busy)
}

// HPAConcurrency is the HPA on requests in service and in the queue.
func HPAConcurrency() sim.Policy {
	return hpaPolicy("hpa-conc", "requests in service and in the queue per worker", concurrency)
}

func hpaPolicy(name, about string, metric func(sim.Second) float64) sim.Policy {
	return sim.Policy{Name: name, About: "the HPA rule on " + about + " against 70 %, 300 s stabilisation", New: func(sim.Setup) (sim.Scaler, error) {
		return &hpa{h: history{most: 60}, metric: metric, name: about}, nil
	}}
}

func (p *hpa) Every() int { return hpaSync }

func (p *hpa) Decide(o *sim.Observation) sim.Decision {
	p.h.add(o)
	current := o.Target()
	usage, ok := p.h.mean(o.Now, hpaSync, p.metric)
	if !ok || current == 0 {
		return sim.Decision{Workers: current}
	}
	want := p.recommend(usage, current, o.Ready(), o.Starting())
	highest := p.recent.of(o.Now, hpaStabilise, want)
	if want < current {
		want = min(current, highest)
	}
	want = min(want, max(2*current, current+4))
	return sim.Decision{Workers: want, Why: fmt.Sprintf("%s: %.1f on %d workers", p.name, usage, o.Ready())}
}

func (p *hpa) recommend(usage float64, current, ready, starting int) int {
	if ready == 0 {
		return current
	}
	ratio := usage / (hpaTarget * float64(ready))
	if starting == 0 || ratio <= 1 {
		if math.Abs(ratio-1) <= hpaTolerance {
			return current
		}
		return ceil(ratio * float64(ready))
	}
	all := float64(ready + starting)
	with := usage / (hpaTarget * all)
	if with <= 1+hpaTolerance {
		return current
	}
	return ceil(with * all)
}
