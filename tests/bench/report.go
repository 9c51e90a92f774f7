package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// series holds one figure per round for each contestant.
type series map[string][]float64

func (s series) add(who string, v float64) { s[who] = append(s[who], v) }

// median of the values; NaN of none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// perRound combines two contestants' figures of the same round.
func (s series) perRound(a, b string, f func(a, b float64) float64) []float64 {
	out := make([]float64, 0, len(s[a]))
	for i := range min(len(s[a]), len(s[b])) {
		out = append(out, f(s[a][i], s[b][i]))
	}
	return out
}

func (s series) ratios(a, b string) []float64 {
	return s.perRound(a, b, func(a, b float64) float64 { return a / b })
}

func (s series) differences(a, b string) []float64 {
	return s.perRound(a, b, func(a, b float64) float64 { return a - b })
}

// spread is the median with its range, for people.
func spread(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s-%s)", short(median(v)), short(slices.Min(v)), short(slices.Max(v)))
}

// short writes three significant digits, and no fractions of large numbers.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.1 || a == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// figure is a number in JSON with four significant digits; one that is none is null.
type figure float64

func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', 4, 64), 64)
	if err != nil {
		return nil, err
	}
	return []byte(strconv.FormatFloat(v, 'f', -1, 64)), nil
}

// result is the line of JSON that ends a comparison. The ratios are medians of the rounds' ratios.
type result struct {
	Bench    string `json:"bench"`
	None     figure `json:"none,omitzero"`
	Ours     figure `json:"ours"`
	Peer     figure `json:"peer,omitzero"`
	Limit    figure `json:"limit,omitzero"`
	Normal   figure `json:"normal,omitzero"`
	VsNone   figure `json:"vs_none,omitzero"`
	VsPeer   figure `json:"vs_peer,omitzero"`
	VsLimit  figure `json:"vs_limit,omitzero"`
	VsNormal figure `json:"vs_normal,omitzero"`
	// OverLimit is the median of the rounds' differences, where differences say more than ratios.
	OverLimit figure `json:"over_limit,omitzero"`
	Unit      string `json:"unit"`
	Rounds    int    `json:"rounds"`
}

// conclude makes a comparison's line out of the rounds.
func (s series) conclude(bench, unit string) result {
	r := result{Bench: bench, Ours: figure(median(s[ours])), Unit: unit, Rounds: len(s[ours])}
	for _, c := range []struct {
		who       string
		value, vs *figure
	}{{none, &r.None, &r.VsNone}, {peer, &r.Peer, &r.VsPeer}, {limit, &r.Limit, &r.VsLimit}, {normal, &r.Normal, &r.VsNormal}} {
		if len(s[c.who]) > 0 {
			*c.value, *c.vs = figure(median(s[c.who])), figure(median(s.ratios(ours, c.who)))
		}
	}
	return r
}

// goal is one of the figures to reach.
type goal struct {
	text string
	got  string
	met  bool
}

// report prints as it goes and keeps the goals for the end.
type report struct {
	out   io.Writer
	goals []goal
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(r.out, format, args...) }

func (r *report) line(v result) {
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(err.Error())
	}
	r.printf("%s\n", text)
}

// goal records a figure to reach: at least, or at most when atMost is set.
func (r *report) goal(text string, v []float64, bound float64, atMost bool) {
	m := median(v)
	r.goals = append(r.goals, goal{text, spread(v), m >= bound && !atMost || m <= bound && atMost})
}

func (r *report) end() {
	r.printf("\n== Goals\n")
	for _, g := range r.goals {
		mark := "NOT MET"
		if g.met {
			mark = "met"
		}
		r.printf("  %-8s %-74s %s\n", mark, g.text, g.got)
	}
}

// table prints one row for each contestant: the median with its range in each column.
func (r *report) table(rows, heads []string, columns []series) {
	lines := make([]string, len(rows)+1)
	add := func(i int, text string, width int) { lines[i] += fmt.Sprintf("  %-*s", width, text) }
	for c := -1; c < len(columns); c++ {
		cells := append([]string{""}, rows...)
		if c >= 0 {
			cells[0] = heads[c]
			for i, who := range rows {
				cells[i+1] = spread(columns[c][who])
			}
		}
		width := 0
		for _, text := range cells {
			width = max(width, len(text))
		}
		for i, text := range cells {
			add(i, text, width)
		}
	}
	for _, line := range lines {
		r.printf("%s\n", strings.TrimRight(line, " "))
	}
}

// machine says on what all this was measured.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%d processors (%s), %s, load %s", runtime.NumCPU(), model, runtime.Version(), loadAverage())
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// ticks is the machine's processor time so far, from /proc/stat: all of it, of which nobody had any use, and what the host gave to others.
func ticks() (t processorTime) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > 8 {
			continue
		}
		t.all += n
		switch i {
		case 4, 5: // waiting for a disk is idle, too
			t.idle += n
		case 8:
			t.stolen += n
		}
	}
	return t
}

type processorTime struct{ all, idle, stolen float64 }

func (t processorTime) idleSince(before processorTime) float64 {
	return (t.idle - before.idle) / max(t.all-before.all, 1)
}
