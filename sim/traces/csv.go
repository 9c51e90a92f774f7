package traces

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/sim"
)

// maxSeconds bounds a file's trace: a month.
const maxSeconds = 31 * 24 * hour

// columns are the names that a header may have. Without a header the first columns are meant in this order.
var columns = []string{"time", "rate", "service", "cap", "metrics"}

// File reads a trace from a CSV file.
func File(path string) (*sim.Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a trace: %w", err)
	}
	defer f.Close()
	t, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	t.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	t.About = "from " + filepath.Base(path)
	return t, nil
}

// Read reads a trace: lines of `time,rate[,service[,cap[,metrics]]]`, or any order of these columns with a header. Time is in seconds,
// or as in 2026-01-31T12:00:00Z, or as in 2026-01-31 12:00:00, and rises; it begins with the first line. A line holds until the
// next one, the last as long as the one before. Rate is requests per second, service the factor of the service time (1), cap the
// requests per second that a dependency lets through (0 for any number), metrics ok, missing or zero. Empty lines and those that
// begin with # are left out. An error begins with ":LINE: ".
func Read(r io.Reader) (*sim.Trace, error) {
	scan := bufio.NewScanner(r)
	var rows []row
	order := columns
	for n := 1; scan.Scan(); n++ {
		text := strings.TrimSpace(strings.TrimPrefix(scan.Text(), "\ufeff"))
		if text == "" || text[0] == '#' {
			continue
		}
		fields := strings.Split(text, ",")
		for i := range fields {
			fields[i] = strings.Trim(strings.TrimSpace(fields[i]), `"`)
		}
		if len(rows) == 0 && strings.ContainsFunc(fields[0], isLetter) && !isTime(fields[0]) {
			var err error
			if order, err = header(fields); err != nil {
				return nil, fmt.Errorf(":%d: %w", n, err)
			}
			continue
		}
		line, err := parse(order, fields)
		if err != nil {
			return nil, fmt.Errorf(":%d: %w", n, err)
		}
		if k := len(rows); k > 0 && line.time <= rows[k-1].time {
			return nil, fmt.Errorf(":%d: the time %s is not after the line before; times must rise", n, fields[slices.Index(order, "time")])
		}
		if len(rows) > 0 && line.time-rows[0].time > maxSeconds {
			return nil, fmt.Errorf(":%d: the time is more than 31 days after the first line; allowed are 31 days", n)
		}
		rows = append(rows, line)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf(": a trace needs at least two lines `time,rate`, and has %d", len(rows))
	}
	return build(rows), nil
}

type row struct {
	time, rate, service, cap float64
	metrics                  string
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func header(fields []string) ([]string, error) {
	var order []string
	for _, f := range fields {
		name := strings.ToLower(f)
		if !slices.Contains(columns, name) || slices.Contains(order, name) {
			return nil, fmt.Errorf("the column %q is not allowed or comes twice: %s", f, strings.Join(columns, ", "))
		}
		order = append(order, name)
	}
	for _, need := range columns[:2] {
		if !slices.Contains(order, need) {
			return nil, fmt.Errorf("there is no column %q; time and rate are needed", need)
		}
	}
	return order, nil
}

// layouts are the times of day that are understood besides seconds.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}

func isTime(text string) bool {
	_, ok := seconds(text)
	return ok
}

func seconds(text string) (float64, bool) {
	if x, err := strconv.ParseFloat(text, 64); err == nil {
		return x, !math.IsNaN(x) && math.Abs(x) < 1e12
	}
	for _, l := range layouts {
		if t, err := time.Parse(l, text); err == nil {
			return float64(t.UnixMilli()) / 1000, true
		}
	}
	return 0, false
}

func parse(order, fields []string) (row, error) {
	r := row{service: 1, metrics: "ok"}
	if len(fields) < 2 || len(fields) > len(order) {
		return r, fmt.Errorf("the line has %d columns; allowed are 2 to %d: %s", len(fields), len(order), strings.Join(order, ", "))
	}
	for i, text := range fields {
		name := order[i]
		if text == "" && i >= 2 {
			continue
		}
		switch name {
		case "time":
			t, ok := seconds(text)
			if !ok {
				return r, fmt.Errorf("the time %q is not one; allowed are seconds, 2026-01-31T12:00:00Z and 2026-01-31 12:00:00", text)
			}
			r.time = t
		case "metrics":
			if text != "ok" && text != "missing" && text != "zero" {
				return r, fmt.Errorf("metrics are %q; allowed are ok, missing and zero", text)
			}
			r.metrics = text
		default:
			low, high := 0.0, 1e6
			if name == "service" {
				low, high = 0.001, 1000
			}
			x, err := strconv.ParseFloat(text, 64)
			if err != nil || !(x >= low && x <= high) {
				return r, fmt.Errorf("the %s is %q; allowed are numbers from %v to %v", name, text, low, high)
			}
			switch name {
			case "rate":
				r.rate = x
			case "service":
				r.service = x
			case "cap":
				r.cap = x
			}
		}
	}
	return r, nil
}

// build turns rows, each of which holds until the next, into seconds.
func build(rows []row) *sim.Trace {
	k := len(rows)
	begin, end := rows[0].time, rows[k-1].time+(rows[k-1].time-rows[k-2].time)
	n := max(1, int(math.Round(math.Min(end-begin, maxSeconds))))
	t := &sim.Trace{Rate: make([]float64, n), Factor: make([]float64, n), Cap: make([]float64, n)}
	i := 0
	for s := range n {
		for i+1 < k && rows[i+1].time-begin <= float64(s) {
			i++
		}
		r := rows[i]
		t.Rate[s], t.Factor[s], t.Cap[s] = r.rate, r.service, r.cap
		spans := &t.Missing
		switch r.metrics {
		case "ok":
			continue
		case "zero":
			spans = &t.Zero
		}
		if last := len(*spans) - 1; last >= 0 && (*spans)[last].To == float64(s) {
			(*spans)[last].To++
		} else {
			*spans = append(*spans, span(s, s+1))
		}
	}
	return t
}
