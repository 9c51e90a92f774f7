package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/tidegate/tidegate/sim"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// mostRows is how many decisions the page lists for a run.
const mostRows = 300

type page struct {
	App, Left string
	First     string
	Oracle    string
	Plane     template.HTML
	Means     []meanRow
	Policies  []string
	Matrix    []matrixRow
	Traces    []traceView
}

type meanRow struct {
	Name, Slow, Worst, Ratio, Dearest, P50, P95, P99, Bad, Recovery, Flaps, Reversals, Starts string
	Bar                                                                                       template.CSS
	Class                                                                                     string
}

type matrixRow struct {
	Trace string
	Cells []string
}

type traceView struct {
	Name, About string
	Runs        []runView
}

type runView struct {
	Policy, Summary string
	Open            bool
	Chart           template.HTML
	Alarms          []string
	Changes         []changeView
	More            int
}

type changeView struct{ At, Step, Why string }

// HTML writes one self-contained page: no script, nothing from elsewhere, light and dark. Charts are of the first seed.
func HTML(w io.Writer, o *sim.Outcome) error {
	p := page{Policies: o.Policies, First: o.Policies[0], Oracle: oracle(o)}
	p.App = fmt.Sprintf("Service %s (CV %s), goal %s, warm-up %s, queue time-out %s, %d to %d workers on %d nodes, %s.", short(o.Params.Service), number(o.Params.CV),
		short(o.Params.SLO), short(o.Params.WarmUp), short(o.Params.QueueTimeout), o.Params.MinWorkers, o.Params.MaxWorkers, o.Params.Nodes, seeds(o.Seeds))
	keep, left := feasible(o)
	if len(left) > 0 {
		p.Left = strings.Join(left, ", ")
	}
	var means []sim.Mean
	worst := 0.0
	for _, name := range o.Policies {
		m := o.Mean(name, "", keep)
		means = append(means, m)
		worst = max(worst, m.SlowShare)
	}
	p.Plane = plane(means)
	for i, m := range means {
		p.Means = append(p.Means, meansRow(i, m, worst))
	}
	for _, t := range o.Traces {
		row := matrixRow{Trace: t}
		for _, name := range o.Policies {
			row.Cells = append(row.Cells, cell(o.Mean(name, t, nil)))
		}
		p.Matrix = append(p.Matrix, row)
		p.Traces = append(p.Traces, view(o, t))
	}
	return pageTemplate.Execute(w, p)
}

func seeds(s []uint64) string {
	if len(s) == 1 {
		return fmt.Sprintf("seed %d", s[0])
	}
	return fmt.Sprintf("%d seeds from %d on", len(s), s[0])
}

func meansRow(i int, m sim.Mean, worst float64) meanRow {
	r := meanRow{
		Name: m.Policy, Slow: fmt.Sprintf("%.2f", 100*m.SlowShare), Worst: fmt.Sprintf("%.2f", 100*m.Worst), Ratio: ratio(m.OracleRatio), Dearest: ratio(m.Dearest),
		P50: short(m.P50), P95: short(m.P95), P99: short(m.P99), Bad: fmt.Sprintf("%.1f", m.BadMinutes), Recovery: recovery(m.Recovery),
		Flaps: fmt.Sprintf("%.1f", m.Flaps), Reversals: fmt.Sprintf("%.1f", m.Reversals), Starts: fmt.Sprintf("%.0f", m.Starts),
	}
	if worst > 0 {
		r.Bar = template.CSS(fmt.Sprintf("--part:%.1f%%", 100*m.SlowShare/worst))
	}
	switch {
	case i == 0:
		r.Class = "first"
	case m.Policy == sim.OracleName:
		r.Class = "best"
	}
	return r
}

// view is a trace with the first seed's runs, the first policy's open.
func view(o *sim.Outcome, trace string) traceView {
	v := traceView{Name: trace}
	var runs []*sim.Result
	var oracle *sim.Result
	for _, r := range o.Runs {
		if r.Trace == trace && r.Seed == o.Seeds[0] {
			runs, v.About = append(runs, r), r.About
			if r.Policy == sim.OracleName {
				oracle = r
			}
		}
	}
	for i, r := range runs {
		rv := runView{Policy: r.Policy, Open: i == 0, Chart: chart(r, oracle)}
		rv.Summary = fmt.Sprintf("%.2f %% slow, p95 %s, p99 %s, %.1f worker-hours", 100*r.SlowPart, short(r.P95), short(r.P99), r.WorkerHours)
		if r.OracleRatio > 0 {
			rv.Summary += fmt.Sprintf(" (×%.2f of the oracle)", r.OracleRatio)
		}
		if r.TimedOut+r.Killed > 0 {
			rv.Summary += fmt.Sprintf(", %d requests gave up, %d were killed", r.TimedOut, r.Killed)
		}
		for _, a := range r.Alarms {
			rv.Alarms = append(rv.Alarms, a.Name+" at "+clock(a.At))
		}
		if r.Policy != sim.OracleName {
			rv.More = max(0, len(r.Changes)-mostRows)
			for _, c := range r.Changes[:min(len(r.Changes), mostRows)] {
				rv.Changes = append(rv.Changes, changeView{clock(c.At), fmt.Sprintf("%d → %d", c.From, c.To), c.Why})
			}
		}
		v.Runs = append(v.Runs, rv)
	}
	return v
}
