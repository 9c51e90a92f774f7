package sim

import "math"

// Figures of the definitions in Result.
const (
	flapWithin   = 600.0
	badShare     = 0.05
	recoverShare = 0.10
	recoverStep  = 10
	recoverMost  = 1200
)

// recorder turns what happens in a run into a Result.
type recorder struct {
	p      Params
	tr     *Trace
	result Result
	times  times
	wanted int
	// direction of the last change and when it was.
	direction int
	changed   float64
	// paid and started up to the end of the unmeasured time.
	paidBefore    float64
	startedBefore int
}

func newRecorder(p Params, tr *Trace, seed uint64) *recorder {
	n := tr.Seconds()
	return &recorder{p: p, tr: tr, result: Result{
		Trace: tr.Name, About: tr.About, Seed: seed, Recovery: -1,
		Series: Series{
			Arrivals: make([]int32, n), Slow: make([]int32, n), Ready: make([]int32, n), Starting: make([]int32, n),
			Draining: make([]int32, n), Queued: make([]int32, n), Demand: make([]float32, n),
		},
	}}
}

func (r *recorder) measured(at float64) bool { return at >= r.p.Unmeasured }

func (r *recorder) arrival(at float64) {
	r.result.All.Arrived++
	r.result.Series.Arrivals[int(at)]++
	if r.measured(at) {
		r.result.Requests++
	}
}

func (r *recorder) response(at, took float64) {
	r.result.All.Completed++
	if r.measured(at) {
		r.times.add(took)
	}
	if took > r.p.SLO {
		r.slow(at)
	}
}

func (r *recorder) slow(at float64) {
	r.result.Series.Slow[int(at)]++
	if r.measured(at) {
		r.result.Slow++
	}
}

// lost is a request that got a 503 after its time in the queue, or was killed with its node.
func (r *recorder) lost(at float64, timedOut bool) {
	r.slow(at)
	all, measured := &r.result.All.Killed, &r.result.Killed
	if timedOut {
		all, measured = &r.result.All.TimedOut, &r.result.TimedOut
	}
	*all++
	if r.measured(at) {
		*measured++
	}
}

func (r *recorder) decision(now float64, want int, d Decision) {
	for _, name := range d.Alarms {
		r.alarm(now, name)
	}
	if want == r.wanted {
		return
	}
	r.result.Changes = append(r.result.Changes, Change{At: now, From: r.wanted, To: want, Why: d.Why})
	direction := 1
	if want < r.wanted {
		direction = -1
	}
	if r.measured(now) {
		r.result.Actions++
		if r.direction*direction < 0 {
			r.result.Reversals++
			if now-r.changed < flapWithin {
				r.result.Flaps++
			}
		}
	}
	r.wanted, r.direction, r.changed = want, direction, now
}

func (r *recorder) alarm(now float64, name string) {
	for _, a := range r.result.Alarms {
		if a.Name == name {
			return
		}
	}
	after := -1.0
	if r.tr.Disturbance > 0 && now >= r.tr.Disturbance {
		after = now - r.tr.Disturbance
	}
	r.result.Alarms = append(r.result.Alarms, Alarm{Name: name, At: now, After: after})
}

// second notes the state at the end of a second.
func (r *recorder) second(s int, e *engine, ready, starting, draining int) {
	se := &r.result.Series
	se.Ready[s], se.Starting[s], se.Draining[s], se.Queued[s] = int32(ready), int32(starting), int32(draining), int32(e.queue.count)
	se.Demand[s] = float32(r.tr.Demand(s, r.p.Service))
	if float64(s+1) <= r.p.Unmeasured {
		r.paidBefore, r.startedBefore = e.fleet.paid, e.fleet.started
	}
}

func (r *recorder) finish(e *engine) *Result {
	out := &r.result
	out.Hours = math.Max(0, float64(r.tr.Seconds())-r.p.Unmeasured) / 3600
	out.WorkerHours = (e.fleet.paid - r.paidBefore) / 3600
	out.Starts = e.fleet.started - r.startedBefore
	if out.Requests > 0 {
		out.SlowPart = float64(out.Slow) / float64(out.Requests)
	}
	out.P50, out.P95, out.P99 = r.times.quantile(0.5), r.times.quantile(0.95), r.times.quantile(0.99)
	from := int(math.Ceil(r.p.Unmeasured))
	for s := from; s < r.tr.Seconds(); s += 60 {
		if r.share(s, s+60) > badShare {
			out.BadMinutes++
		}
	}
	if at := int(r.tr.Disturbance); at > 0 {
		out.Recovery = 0
		for s := at; s < min(at+recoverMost, r.tr.Seconds()); s += recoverStep {
			if r.share(s, s+recoverStep) > recoverShare {
				out.Recovery = float64(s + recoverStep - at)
			}
		}
	}
	return out
}

// share of slow requests among those that arrived in the seconds from a to b (not included).
func (r *recorder) share(a, b int) float64 {
	arrived, slow := 0, 0
	for s := a; s < min(b, r.tr.Seconds()); s++ {
		arrived += int(r.result.Series.Arrivals[s])
		slow += int(r.result.Series.Slow[s])
	}
	if arrived == 0 {
		return 0
	}
	return float64(slow) / float64(arrived)
}

// times counts response times in steps of one per cent from 0.1 ms on.
type times struct {
	counts [2000]int
	total  int
}

const (
	timesLeast = 1e-4
	timesStep  = 0.01
)

func (t *times) add(x float64) {
	i := 0
	if x > timesLeast {
		i = min(len(t.counts)-1, int(math.Log(x/timesLeast)/timesStep))
	}
	t.counts[i]++
	t.total++
}

// quantile is exact to one per cent; 0 without any time.
func (t *times) quantile(q float64) float64 {
	left := int(math.Ceil(q * float64(t.total)))
	for i, n := range t.counts {
		if left -= n; left <= 0 && n > 0 {
			return timesLeast * math.Exp((float64(i)+0.5)*timesStep)
		}
	}
	return 0
}
