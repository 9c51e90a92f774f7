package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/sim"
)

// The measures of a chart in its own units.
const (
	width     = 920.0
	left      = 46.0
	right     = 12.0
	top       = 14.0
	upper     = 190.0 // height of the panel with workers
	marks     = 20.0  // height of the row of decisions
	lower     = 54.0  // height of the panel with slow requests
	bottom    = 24.0
	mostMarks = 400
)

// svg writes elements.
type svg struct{ strings.Builder }

func (s *svg) add(format string, args ...any) { fmt.Fprintf(&s.Builder, format, args...) }

func (s *svg) text(x, y float64, class, anchor, text string) {
	s.add(`<text x="%s" y="%s" class="%s" text-anchor="%s">%s</text>`, f1(x), f1(y), class, anchor, html.EscapeString(text))
}

func f1(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// line is a path through points; steps makes it go level, then up or down.
func line(n int, x, y func(i int) float64, steps bool) string {
	var b strings.Builder
	for i := range n {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%s %s", f1(x(i)), f1(y(i)))
		case steps:
			fmt.Fprintf(&b, "H%sV%s", f1(x(i)), f1(y(i)))
		default:
			fmt.Fprintf(&b, "L%s %s", f1(x(i)), f1(y(i)))
		}
	}
	return b.String()
}

// nice is a round step that divides a range into about n parts.
func nice(most float64, n int) float64 {
	if !(most > 0) {
		return 1
	}
	raw := most / float64(n)
	mag := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 2.5, 5, 10} {
		if k*mag >= raw*(1-1e-9) {
			return k * mag
		}
	}
	return 10 * mag
}

// timeStep is a round step of a time axis in seconds.
func timeStep(seconds float64) float64 {
	for _, s := range []float64{10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 3 * 3600, 6 * 3600, 12 * 3600, 86400} {
		if seconds/s <= 9 {
			return s
		}
	}
	return 7 * 86400
}

func clock(t float64) string {
	s := int(math.Round(t))
	if s%60 != 0 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/3600, s/60%60)
}

// chart is one run: above, load and capacity; in the middle, the decisions; below, the share of slow requests.
func chart(r, oracle *sim.Result) template.HTML {
	b, step := bins(r.Series)
	var o []bin
	if oracle != nil && oracle != r {
		o, _ = bins(oracle.Series)
	}
	seconds := float64(len(r.Series.Arrivals))
	most, worst := 1.0, 0.1
	for i := range b {
		most, worst = math.Max(most, math.Max(b[i].demand, b[i].paid)), math.Max(worst, b[i].slowShare)
	}
	for i := range o {
		most = math.Max(most, o[i].ready)
	}
	grid := nice(most, 4)
	most = math.Ceil(most/grid-1e-9) * grid
	x := func(t float64) float64 { return left + (width-left-right)*t/seconds }
	y := func(v float64) float64 { return top + upper*(1-v/most) }
	var s svg
	height := top + upper + marks + lower + bottom
	s.add(`<svg viewBox="0 0 %s %s" role="img" aria-label="%s">`, f1(width), f1(height), html.EscapeString("workers and slow requests of "+r.Policy+" on "+r.Trace))
	for v := 0.0; v <= most+1e-9; v += grid {
		s.add(`<path class="grid" d="M%s %sH%s"/>`, f1(left), f1(y(v)), f1(width-right))
		s.text(left-6, y(v)+3.5, "tick", "end", number(v))
	}
	s.text(left, top-4, "tick", "start", "workers")
	base := top + upper + marks + lower
	for t, by := 0.0, timeStep(seconds); t <= seconds; t += by {
		s.add(`<path class="grid" d="M%s %sV%s"/>`, f1(x(t)), f1(top), f1(base))
		s.text(x(t), base+14, "tick", "middle", clock(t))
	}
	at := func(bs []bin) func(int) float64 { return func(i int) float64 { return x(bs[i].at) } }
	s.add(`<path class="demand" d="%sL%s %sL%s %sZ"/>`, line(len(b), at(b), func(i int) float64 { return y(b[i].demand) }, false), f1(x(b[len(b)-1].at)), f1(y(0)), f1(x(0)), f1(y(0)))
	if len(o) > 0 {
		s.add(`<path class="oracle" d="%s"/>`, line(len(o), at(o), func(i int) float64 { return y(o[i].ready) }, true))
	}
	s.add(`<path class="paid" d="%s"/>`, line(len(b), at(b), func(i int) float64 { return y(b[i].paid) }, true))
	s.add(`<path class="ready" d="%s"/>`, line(len(b), at(b), func(i int) float64 { return y(b[i].ready) }, true))
	decisions(&s, r, x, top+upper+marks/2)
	slowPanel(&s, b, x, base, float64(step), worst)
	s.add(`</svg>`)
	return template.HTML(s.String()) //nolint:gosec // every text in it is escaped above
}

// decisions are marks with the reason as a tooltip: up and down.
func decisions(s *svg, r *sim.Result, x func(float64) float64, y float64) {
	every := (len(r.Changes) + mostMarks - 1) / mostMarks
	for i, c := range r.Changes {
		if i%every != 0 {
			continue
		}
		class, d := "up", -4.5
		if c.To < c.From {
			class, d = "down", 4.5
		}
		px := x(c.At)
		s.add(`<path class="%s" d="M%s %sl-4 %sh8z"><title>%s</title></path>`, class, f1(px), f1(y+d), f1(-2*d), html.EscapeString(fmt.Sprintf("%s  %d → %d workers. %s", clock(c.At), c.From, c.To, c.Why)))
	}
}

// slowPanel draws bars upwards from base.
func slowPanel(s *svg, b []bin, x func(float64) float64, base, step, worst float64) {
	scale := lower - 6
	s.add(`<path class="axis" d="M%s %sH%s"/>`, f1(left), f1(base), f1(width-right))
	s.text(left-6, base-scale+4, "tick", "end", number(100*worst)+"%")
	s.text(left-6, base, "tick", "end", "slow")
	var path strings.Builder
	wide := math.Max(0.8, x(step)-x(0))
	for i := range b {
		if h := scale * b[i].slowShare / worst; h >= 0.3 {
			fmt.Fprintf(&path, "M%s %sv%sh%sv%sz", f1(x(b[i].at)), f1(base), f1(-h), f1(wide), f1(h))
		}
	}
	s.add(`<path class="slow" d="%s"/>`, path.String())
}

// plane puts each policy at its cost and its share of slow requests, means over all traces.
func plane(means []sim.Mean) template.HTML {
	const high, low = 300.0, 40.0
	mostX, mostY, leastX := 0.0, 0.0, 1.0
	known := false
	for _, m := range means {
		known = known || m.OracleRatio > 0
		mostX, mostY = math.Max(mostX, m.OracleRatio), math.Max(mostY, 100*m.SlowShare)
		leastX = math.Min(leastX, m.OracleRatio)
	}
	if !known {
		return ""
	}
	gx, gy := nice(mostX-leastX+0.1, 6), nice(mostY, 5)
	begin := math.Floor(leastX/gx) * gx
	endX, endY := math.Ceil((mostX+0.02)/gx)*gx, math.Ceil(mostY*1.05/gy)*gy
	x := func(v float64) float64 { return left + (width-left-130)*(v-begin)/(endX-begin) }
	y := func(v float64) float64 { return top + (high-top-low)*(1-v/endY) }
	var s svg
	s.add(`<svg viewBox="0 0 %s %s" role="img" aria-label="cost and slow requests of each policy">`, f1(width), f1(high))
	for v := 0.0; v <= endY+1e-9; v += gy {
		s.add(`<path class="grid" d="M%s %sH%s"/>`, f1(left), f1(y(v)), f1(x(endX)))
		s.text(left-6, y(v)+3.5, "tick", "end", number(v)+"%")
	}
	for v := begin; v <= endX+1e-9; v += gx {
		s.add(`<path class="grid" d="M%s %sV%s"/>`, f1(x(v)), f1(top), f1(y(0)))
		s.text(x(v), y(0)+14, "tick", "middle", "×"+number(v))
	}
	s.text(left, y(0)+32, "tick", "start", "worker-hours over the oracle's →   (left and low is better; slow requests ↑)")
	var taken [][2]float64
	for i, m := range means {
		class := "dot"
		switch {
		case i == 0:
			class = "dot first"
		case m.Policy == sim.OracleName:
			class = "dot best"
		}
		px, py := x(m.OracleRatio), y(100*m.SlowShare)
		s.add(`<circle class="%s" cx="%s" cy="%s" r="6"><title>%s</title></circle>`, class, f1(px), f1(py), html.EscapeString(fmt.Sprintf("%s: %.2f %% slow at ×%.2f", m.Policy, 100*m.SlowShare, m.OracleRatio)))
		ty := py + 4
		for _, t := range taken {
			if math.Abs(t[0]-px) < 90 && math.Abs(t[1]-ty) < 12 {
				ty = t[1] - 12
			}
		}
		taken = append(taken, [2]float64{px, ty})
		s.text(px+10, ty, "label", "start", m.Policy)
	}
	s.add(`</svg>`)
	return template.HTML(s.String()) //nolint:gosec // every text in it is escaped above
}
