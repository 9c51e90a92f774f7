package sim

import (
	"context"
	"fmt"
	"runtime"
	"sync"
)

// Source makes a trace from a seed.
type Source struct {
	Name string
	Make func(seed uint64) (*Trace, error)
}

// Suite is a number of runs: each policy on each trace with each seed, and the oracle.
type Suite struct {
	Params   Params
	Traces   []Source
	Seeds    []uint64
	Policies []Policy
	// Oracle is how the oracle is found, which takes about as long as five policies; nil leaves it out, and ratios are unknown then.
	Oracle *Yardstick
	// Done is told after each run, if set; calls do not overlap.
	Done func(done, all int)
}

// Outcome is what a suite brought, in the order of its traces, seeds and policies; the oracle comes last.
type Outcome struct {
	Params   Params   `json:"params"`
	Traces   []string `json:"traces"`
	Seeds    []uint64 `json:"seeds"`
	Policies []string `json:"policies"`
	// Yardstick is the name of the oracle's, "" without an oracle.
	Yardstick string    `json:"yardstick,omitempty"`
	Runs      []*Result `json:"runs"`
}

// Run runs the suite on all processors. The outcome does not depend on how many there are.
func (s Suite) Run(ctx context.Context) (*Outcome, error) {
	out := &Outcome{Params: s.Params, Seeds: s.Seeds}
	for _, t := range s.Traces {
		out.Traces = append(out.Traces, t.Name)
	}
	for _, p := range s.Policies {
		out.Policies = append(out.Policies, p.Name)
	}
	jobs := s.jobs()
	if s.Oracle != nil {
		out.Policies, out.Yardstick = append(out.Policies, OracleName), s.Oracle.Name
	}
	out.Runs = make([]*Result, len(jobs))
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	var mu sync.Mutex
	next, done := 0, 0
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(jobs) || ctx.Err() != nil {
					return
				}
				out.Runs[i], errs[i] = jobs[i]()
				mu.Lock()
				done++
				if s.Done != nil {
					s.Done(done, len(jobs))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	out.ratios()
	return out, nil
}

// jobs are the runs in order.
func (s Suite) jobs() []func() (*Result, error) {
	var jobs []func() (*Result, error)
	for _, source := range s.Traces {
		for _, seed := range s.Seeds {
			trace := sync.OnceValues(func() (*Trace, error) {
				t, err := source.Make(seed)
				if err == nil && float64(t.Seconds()) <= s.Params.Unmeasured {
					err = fmt.Errorf("trace %s lasts %d s; it must be longer than the %v s at the beginning that are not measured", t.Name, t.Seconds(), s.Params.Unmeasured)
				}
				return t, err
			})
			for _, policy := range s.Policies {
				jobs = append(jobs, func() (*Result, error) {
					t, err := trace()
					if err != nil {
						return nil, err
					}
					return Run(s.Params, t, seed, policy)
				})
			}
			if s.Oracle != nil {
				jobs = append(jobs, func() (*Result, error) {
					t, err := trace()
					if err != nil {
						return nil, err
					}
					return Oracle(s.Params, t, seed, *s.Oracle)
				})
			}
		}
	}
	return jobs
}

// ratios relates each run to the oracle's on the same trace and seed.
func (o *Outcome) ratios() {
	n := len(o.Policies)
	for i := 0; i+n <= len(o.Runs); i += n {
		best := o.Runs[i+n-1]
		if best.Policy != OracleName || best.WorkerHours == 0 {
			continue
		}
		for _, r := range o.Runs[i : i+n] {
			r.OracleRatio = r.WorkerHours / best.WorkerHours
		}
	}
}

// Hopeless tells that on a trace even the oracle's mean share of slow requests is above 10 %: a dependency is too slow, or the fleet
// too small. Means over all traces are better read without it.
func (o *Outcome) Hopeless(trace string) bool {
	return o.Mean(OracleName, trace, nil).SlowShare > 0.1
}

// Mean is the mean figures of several runs of one policy.
type Mean struct {
	Policy string `json:"policy"`
	// Trace is the trace, or "" for all of them.
	Trace string `json:"trace,omitempty"`
	Runs  int    `json:"runs"`
	// SlowShare and OracleRatio are means over the runs, Worst and Dearest the largest ones.
	SlowShare   float64 `json:"slow_share"`
	Worst       float64 `json:"worst_slow_share"`
	OracleRatio float64 `json:"oracle_ratio,omitempty"`
	Dearest     float64 `json:"worst_oracle_ratio,omitempty"`
	WorkerHours float64 `json:"worker_hours"`
	P50         float64 `json:"p50"`
	P95         float64 `json:"p95"`
	P99         float64 `json:"p99"`
	// Flaps, Reversals, Starts and Actions are per hour.
	Flaps      float64 `json:"flaps_per_hour"`
	Reversals  float64 `json:"reversals_per_hour"`
	Starts     float64 `json:"starts_per_hour"`
	Actions    float64 `json:"actions_per_hour"`
	BadMinutes float64 `json:"bad_minutes"`
	// Recovery is the mean over the traces with a disturbance, -1 without one.
	Recovery float64 `json:"recovery"`
}

// Mean is the mean over the runs of a policy on a trace, or on all traces that keep says yes to when trace is "".
func (o *Outcome) Mean(policy, trace string, keep func(trace string) bool) Mean {
	m := Mean{Policy: policy, Trace: trace, Recovery: -1}
	recovered, recoveries := 0.0, 0
	for _, r := range o.Runs {
		if r.Policy != policy || trace != "" && r.Trace != trace || keep != nil && !keep(r.Trace) {
			continue
		}
		m.Runs++
		m.SlowShare += r.SlowPart
		m.Worst = max(m.Worst, r.SlowPart)
		m.OracleRatio += r.OracleRatio
		m.Dearest = max(m.Dearest, r.OracleRatio)
		m.WorkerHours += r.WorkerHours
		m.P50, m.P95, m.P99 = m.P50+r.P50, m.P95+r.P95, m.P99+r.P99
		m.Flaps, m.Reversals = m.Flaps+r.PerHour(r.Flaps), m.Reversals+r.PerHour(r.Reversals)
		m.Starts, m.Actions = m.Starts+r.PerHour(r.Starts), m.Actions+r.PerHour(r.Actions)
		m.BadMinutes += float64(r.BadMinutes)
		if r.Recovery >= 0 {
			recovered += r.Recovery
			recoveries++
		}
	}
	if m.Runs == 0 {
		return m
	}
	n := float64(m.Runs)
	for _, x := range []*float64{
		&m.SlowShare, &m.OracleRatio, &m.WorkerHours, &m.P50, &m.P95, &m.P99, &m.Flaps, &m.Reversals, &m.Starts, &m.Actions, &m.BadMinutes,
	} {
		*x /= n
	}
	if recoveries > 0 {
		m.Recovery = recovered / float64(recoveries)
	}
	return m
}
