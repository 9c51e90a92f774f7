package peers

import (
	"fmt"

	"github.com/tidegate/tidegate/sim"
)

// script is the script of 2011 that tidegate began with: when the mean response time of the last 15 requests is above the limit
// three times in a row, one server comes in; five minutes without any change take one out. A server is eight workers here.
type script struct {
	slo      float64
	recent   []float64
	breaches int
	changed  float64
}

const (
	scriptRequests = 15
	scriptBreaches = 3
	scriptQuiet    = 300
	scriptServer   = 8
)

// Script2011 is that script, looking every 5 s.
func Script2011() sim.Policy {
	return sim.Policy{Name: "script-2011", About: "mean response time of 15 requests above the SLO three times: one server (8 workers) more; a quiet five minutes: one less",
		New: func(s sim.Setup) (sim.Scaler, error) { return &script{slo: s.Params.SLO}, nil }}
}

func (s *script) Every() int { return 5 }

func (s *script) Decide(o *sim.Observation) sim.Decision {
	s.recent = append(s.recent, o.Responses...)
	if over := len(s.recent) - scriptRequests; over > 0 {
		s.recent = append(s.recent[:0], s.recent[over:]...)
	}
	want := o.Target()
	if o.Starting() > 0 {
		// It brings in one server after the other.
		return sim.Decision{Workers: want}
	}
	mean := 0.0
	for _, r := range s.recent {
		mean += r / float64(len(s.recent))
	}
	if mean > s.slo {
		s.breaches++
	} else {
		s.breaches = 0
	}
	switch {
	case s.breaches >= scriptBreaches:
		s.breaches, s.changed = 0, o.Now
		return sim.Decision{Workers: want + scriptServer, Why: fmt.Sprintf("mean response time %.2f s", mean)}
	case o.Now-s.changed >= scriptQuiet:
		s.changed = o.Now
		return sim.Decision{Workers: want - scriptServer, Why: "five quiet minutes"}
	}
	return sim.Decision{Workers: want}
}

// job is a job that runs every five minutes on the share of busy workers, as large sites had it before there were others: our
// reading of such descriptions. Outside of 40 to 60 % busy it orders what would be 50 % busy.
type job struct{ h history }

const (
	jobEvery  = 300
	jobTarget = 0.5
	jobBand   = 0.1
)

// FiveMinutes is that job.
func FiveMinutes() sim.Policy {
	return sim.Policy{Name: "five-minutes", About: "every five minutes the mean share of busy workers against 50 %, within 10 points nothing",
		New: func(sim.Setup) (sim.Scaler, error) { return &job{h: history{most: 2 * jobEvery}}, nil }}
}

func (j *job) Every() int { return jobEvery }

func (j *job) Decide(o *sim.Observation) sim.Decision {
	j.h.add(o)
	want := o.Target()
	mean, ok := j.h.mean(o.Now, jobEvery, busy)
	if !ok || o.Ready() == 0 {
		return sim.Decision{Workers: want}
	}
	share := mean / float64(o.Ready())
	if share > jobTarget+jobBand || share < jobTarget-jobBand {
		want = ceil(mean / jobTarget)
	}
	return sim.Decision{Workers: want, Why: fmt.Sprintf("busy %.0f %% over five minutes", 100*share)}
}
