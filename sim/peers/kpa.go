package peers

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/sim"
)

// kpa is the rule of Knative's pod autoscaler on concurrency (knative/serving, pkg/autoscaler/scaling/autoscaler.go and
// pkg/autoscaler/config): the mean concurrency over 60 s, or over 6 s in panic, over a target of 70 % of what a worker can do at
// once; at most down to half and up to a thousandfold at a time; panic from twice the ready number on, left 60 s after the last
// breach, and never shrinking meanwhile; the highest decision of the scale-down delay. It starts in panic.
type kpa struct {
	h         history
	delay     float64
	decisions highest
	panicAt   float64
	panicMost int
	started   bool
}

const (
	kpaTarget = 0.7
	kpaStable = 60
	kpaPanic  = 6
	kpaBreach = 2.0
	kpaUp     = 1000
	kpaDown   = 2.0
)

// KPA is Knative's autoscaler with a scale-down delay in seconds (its default is 0).
func KPA(name string, delay float64) sim.Policy {
	return sim.Policy{
		Name: name, About: fmt.Sprintf("Knative's autoscaler: concurrency over 60 s (panic 6 s) against 70 %%, scale-down delay %v s", delay),
		New: func(sim.Setup) (sim.Scaler, error) { return &kpa{h: history{most: 120}, delay: delay}, nil },
	}
}

func (k *kpa) Every() int { return 2 }

func (k *kpa) Decide(o *sim.Observation) sim.Decision {
	k.h.add(o)
	ready := max(1, o.Ready())
	if !k.started {
		k.started, k.panicAt, k.panicMost = true, o.Now, ready
	}
	stable, ok := k.h.mean(o.Now, kpaStable, concurrency)
	now, okNow := k.h.mean(o.Now, kpaPanic, concurrency)
	if !ok || !okNow {
		// Without data the decision is invalid and nothing changes.
		return sim.Decision{Workers: o.Target()}
	}
	low, high := math.Floor(float64(ready)/kpaDown), float64(ready)*kpaUp
	bound := func(x float64) int { return int(math.Min(high, math.Max(low, math.Ceil(x)))) }
	want, wantNow := bound(stable/kpaTarget), bound(now/kpaTarget)
	switch {
	case math.Ceil(now/kpaTarget)/float64(ready) >= kpaBreach:
		if k.panicAt < 0 {
			k.panicMost = 0
		}
		k.panicAt = o.Now
	case k.panicAt >= 0 && o.Now-k.panicAt > kpaStable:
		k.panicAt = -1
	}
	why := "concurrency over 60 s"
	if k.panicAt >= 0 {
		k.panicMost = max(k.panicMost, want, wantNow)
		want, why = k.panicMost, "panic: concurrency over 6 s"
	}
	if k.delay > 0 {
		want = k.decisions.of(o.Now, k.delay, want)
	}
	return sim.Decision{Workers: want, Why: fmt.Sprintf("%s: %.1f (6 s: %.1f)", why, stable, now)}
}
