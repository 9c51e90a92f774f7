package core

import "time"

// latency is the strategy of the 2011 script. Each request's server response time enters the average of the last Requests;
// nothing is decided before there are that many. An average above the threshold is a breach, one below ends the row; the
// Breaches-th breach in a row brings one server in and the counting starts again. A quiet period without any scaling (and
// without a row that could not be answered, for want of servers) takes one server out, and the period starts again.
//
// While a server is on its way in, breaches are not counted: the script, too, waited for its warm-up request.
func (t *turn) latency() {
	lp := t.p.Latency
	coming := t.coming()
	rows, high := 0, time.Duration(0)
	for _, r := range t.o.Traffic.Responses {
		t.m.Latency.Recent = append(t.m.Latency.Recent, r)
		if n := len(t.m.Latency.Recent) - lp.Requests; n > 0 {
			t.m.Latency.Recent = t.m.Latency.Recent[n:]
		}
		if coming || len(t.m.Latency.Recent) < lp.Requests || t.average() <= lp.Threshold {
			t.m.Latency.Breaches = 0
			continue
		}
		t.m.Latency.Breaches++
		if t.m.Latency.Breaches >= lp.Breaches {
			t.m.Latency.Breaches = 0
			rows++
			high = t.average()
		}
	}
	switch {
	case rows > 0:
		t.growLatency(high)
	case t.now.Sub(t.m.Activity) >= lp.Quiet && t.hold == "" && !coming:
		t.shrinkQuiet()
	}
	for i := range t.servers {
		if v := &t.servers[i]; v.m.Serve {
			v.m.Workers = v.p.MaxWorkers
		}
	}
}

func (t *turn) average() time.Duration {
	var sum time.Duration
	for _, r := range t.m.Latency.Recent {
		sum += r
	}
	return sum / time.Duration(len(t.m.Latency.Recent))
}

// coming tells whether a server is on its way into service. One that has stood in the same phase for very long is not: an
// always_up server whose node is dead must not keep the others out.
func (t *turn) coming() bool {
	for i := range t.servers {
		v := &t.servers[i]
		if v.m.Serve && !v.foreign && !v.m.Phase.InService() && t.now.Sub(v.m.Since) < 4*t.p.StartDeadline {
			return true
		}
	}
	return false
}

func (t *turn) growLatency(high time.Duration) {
	lp := t.p.Latency
	t.m.Activity = t.now
	numbers := map[string]float64{
		"average_ms": float64(high.Milliseconds()), "threshold_ms": float64(lp.Threshold.Milliseconds()),
		"requests": float64(lp.Requests), "breaches": float64(lp.Breaches),
	}
	var free []*view
	for i := range t.servers {
		if v := &t.servers[i]; t.candidate(v) {
			free = append(free, v)
		}
	}
	if len(free) == 0 {
		if !t.m.AtMax {
			t.reason(CodeAtMax, "", numbers, "the last %d requests took %v on average (threshold %v), but no further server can be brought in", lp.Requests, high.Round(time.Millisecond), lp.Threshold)
		}
		t.m.AtMax = true
		return
	}
	t.m.AtMax = false
	v := t.choose(free)
	t.want(v)
	t.reason(CodeGrowLatency, v.p.Name, numbers, "the last %d requests took %v on average, above %v for %d requests in a row: %s is brought in", lp.Requests, high.Round(time.Millisecond), lp.Threshold, lp.Breaches, v.p.Name)
}

func (t *turn) shrinkQuiet() {
	var active []*view
	wanted := 0
	for i := range t.servers {
		v := &t.servers[i]
		if !v.m.Serve || v.foreign {
			continue
		}
		wanted++
		if !v.p.AlwaysUp {
			active = append(active, v)
		}
	}
	t.m.Activity = t.now
	t.m.AtMax = false
	if len(active) == 0 || wanted <= t.p.MinServers {
		return
	}
	v := t.choose(active)
	t.unwant(v)
	t.reason(CodeShrinkQuiet, v.p.Name, map[string]float64{"quiet_s": t.p.Latency.Quiet.Seconds(), "servers": float64(wanted)}, "nothing was scaled for %v: %s is taken out", t.p.Latency.Quiet, v.p.Name)
}
