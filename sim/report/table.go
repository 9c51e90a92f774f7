package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/tidegate/tidegate/sim"
)

// Table prints slow shares and costs by trace and policy, then each policy's means.
func Table(w io.Writer, o *sim.Outcome) error {
	fmt.Fprintf(w, "slow %% / worker-hours over the %s's; %s, SLO %s, warm-up %s, %d to %d workers on %d nodes, seeds %v\n\n",
		oracle(o), "service "+short(o.Params.Service)+" CV "+number(o.Params.CV), short(o.Params.SLO), short(o.Params.WarmUp), o.Params.MinWorkers, o.Params.MaxWorkers, o.Params.Nodes, o.Seeds)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\t\n", strings.Join(o.Policies, "\t"))
	for _, trace := range o.Traces {
		fmt.Fprintf(t, "%s\t", trace)
		for _, p := range o.Policies {
			fmt.Fprintf(t, "%s\t", cell(o.Mean(p, trace, nil)))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	keep, left := feasible(o)
	if len(left) > 0 {
		fmt.Fprintf(w, "\nthe means are without %s, where even the oracle has more than 10 %% slow requests", strings.Join(left, ", "))
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "means\tslow %\tworst\tx oracle\tworst\tp50\tp95\tp99\tbad min\trecovery s\tflaps/h\treversals/h\tstarts/h\tactions/h\t")
	for _, p := range o.Policies {
		m := o.Mean(p, "", keep)
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%s\t%s\t%s\t%s\t%s\t%.1f\t%s\t%.1f\t%.1f\t%.0f\t%.0f\t\n", p, 100*m.SlowShare, 100*m.Worst, ratio(m.OracleRatio), ratio(m.Dearest),
			short(m.P50), short(m.P95), short(m.P99), m.BadMinutes, recovery(m.Recovery), m.Flaps, m.Reversals, m.Starts, m.Actions)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if lines := alarms(o); len(lines) > 0 {
		fmt.Fprintf(w, "\nalarms (first time, after the trace's event where it has one)\n%s\n", strings.Join(lines, "\n"))
	}
	return nil
}

// oracle names the oracle that costs are told over.
func oracle(o *sim.Outcome) string {
	if o.Yardstick == sim.Coarse.Name {
		return "coarse " + sim.OracleName
	}
	return sim.OracleName
}

// feasible says which traces the means are taken over, and which are left out.
func feasible(o *sim.Outcome) (keep func(string) bool, left []string) {
	for _, t := range o.Traces {
		if o.Hopeless(t) {
			left = append(left, t)
		}
	}
	if len(left) == len(o.Traces) {
		left = nil
	}
	return func(t string) bool { return !slices.Contains(left, t) }, left
}

func cell(m sim.Mean) string {
	if m.OracleRatio == 0 {
		return fmt.Sprintf("%.2f / %.0f h", 100*m.SlowShare, m.WorkerHours)
	}
	return fmt.Sprintf("%.2f / %.2f", 100*m.SlowShare, m.OracleRatio)
}

func ratio(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", x)
}

func recovery(x float64) string {
	if x < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", x)
}

// short is a time in seconds for a person.
func short(x float64) string {
	switch {
	case x < 1:
		return strconv.FormatFloat(1000*x, 'f', 0, 64) + "ms"
	case x < 120:
		return strconv.FormatFloat(x, 'g', 3, 64) + "s"
	}
	return strconv.FormatFloat(x/60, 'g', 3, 64) + "min"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }

// alarms lists the alarms of each run.
func alarms(o *sim.Outcome) []string {
	var out []string
	for _, r := range o.Runs {
		for _, a := range r.Alarms {
			when := "at " + short(a.At)
			if a.After >= 0 {
				when = fmt.Sprintf("after %.0f s", a.After)
			}
			line := fmt.Sprintf("  %s, %s: %s %s", r.Trace, r.Policy, a.Name, when)
			if len(o.Seeds) > 1 {
				line += fmt.Sprintf(" (seed %d)", r.Seed)
			}
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// summary is the JSON form of an outcome: the runs and the means.
type summary struct {
	*sim.Outcome
	// Means are over the traces that are not LeftOut.
	Means   []sim.Mean `json:"means"`
	LeftOut []string   `json:"left_out,omitempty"`
}

// JSON prints the outcome as one document.
func JSON(w io.Writer, o *sim.Outcome) error {
	s := summary{Outcome: o}
	keep, left := feasible(o)
	s.LeftOut = left
	for _, p := range o.Policies {
		s.Means = append(s.Means, o.Mean(p, "", keep))
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// CSV prints one line for each run.
func CSV(w io.Writer, o *sim.Outcome) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{
		"trace", "policy", "seed", "hours", "requests", "slow_share", "timed_out", "killed", "p50", "p95", "p99", "worker_hours", "oracle_ratio",
		"bad_minutes", "recovery", "flaps_per_hour", "reversals_per_hour", "starts_per_hour", "actions_per_hour", "alarms",
	})
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	for _, r := range o.Runs {
		var names []string
		for _, a := range r.Alarms {
			names = append(names, fmt.Sprintf("%s@%.0f", a.Name, a.At))
		}
		_ = c.Write([]string{
			r.Trace, r.Policy, strconv.FormatUint(r.Seed, 10), f(r.Hours), strconv.Itoa(r.Requests), f(r.SlowPart), strconv.Itoa(r.TimedOut), strconv.Itoa(r.Killed),
			f(r.P50), f(r.P95), f(r.P99), f(r.WorkerHours), f(r.OracleRatio), strconv.Itoa(r.BadMinutes), f(r.Recovery),
			f(r.PerHour(r.Flaps)), f(r.PerHour(r.Reversals)), f(r.PerHour(r.Starts)), f(r.PerHour(r.Actions)), strings.Join(names, " "),
		})
	}
	c.Flush()
	return c.Error()
}
