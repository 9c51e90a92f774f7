package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/sim"
)

type two struct{ n int }

func (t two) Every() int { return 10 }

func (t two) Decide(o *sim.Observation) sim.Decision {
	d := sim.Decision{Workers: t.n, Why: `<b>load & "more"</b>`, Alarms: []string{"at_max"}}
	if int(o.Now)%200 > 100 {
		d.Workers++
	}
	return d
}

func outcome(t *testing.T) *sim.Outcome {
	t.Helper()
	p := sim.DefaultParams()
	p.Unmeasured = 60
	s := sim.Suite{Params: p, Oracle: &sim.Fine, Seeds: []uint64{4}, Policies: []sim.Policy{{Name: "ours", New: func(sim.Setup) (sim.Scaler, error) { return two{20}, nil }}}}
	s.Traces = []sim.Source{source("free", 0), source("capped<1>", 20)}
	o, err := s.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func source(name string, limit float64) sim.Source {
	return sim.Source{Name: name, Make: func(uint64) (*sim.Trace, error) {
		tr := &sim.Trace{Name: name, About: "about <it>", Disturbance: 100, Rate: make([]float64, 900), Cap: make([]float64, 900)}
		for i := range tr.Rate {
			tr.Rate[i], tr.Cap[i] = 100, limit
		}
		return tr, nil
	}}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, outcome(t)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"service 80ms CV 1, SLO 500ms, warm-up 45s, 4 to 160 workers on 8 nodes, seeds [4]",
		"the means are without capped<1>, where even the oracle has more than 10 % slow requests",
		"free, ours: at_max at 10s",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if !regexp.MustCompile(`(?m)^ +free +0\.\d\d / \d\.\d\d +\d\.\d\d / 1\.00 *$`).MatchString(b.String()) {
		t.Errorf("the trace's line is missing in\n%s", b.String())
	}
}

func TestJSONAndCSV(t *testing.T) {
	o := outcome(t)
	var b bytes.Buffer
	if err := JSON(&b, o); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Runs []struct {
			Trace, Policy string
			Seed          uint64
			WorkerHours   float64 `json:"worker_hours"`
			Changes       []struct{ Why string }
		}
		Means   []struct{ Policy string }
		LeftOut []string `json:"left_out"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Runs) != 4 || got.Runs[0].Trace != "free" || got.Runs[0].WorkerHours == 0 || len(got.Runs[0].Changes) == 0 || len(got.Means) != 2 || len(got.LeftOut) != 1 {
		t.Errorf("JSON has %+v", got)
	}
	b.Reset()
	if err := CSV(&b, o); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 5 || rows[1][1] != "ours" || rows[1][len(rows[1])-1] != "at_max@10" {
		t.Errorf("CSV has %v, %v", rows, err)
	}
}

// The page must be whole by itself and escape what others wrote.
func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, outcome(t)); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, never := range []string{"<script", "http:", "https:", "url(", "@import", "src=", "<b>load", "capped<1>", "about <it>", "ZgotmplZ", "NaN", "Inf"} {
		if strings.Contains(text, never) {
			t.Errorf("%q is in the page", never)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", "&lt;b&gt;load &amp; &#34;more&#34;&lt;/b&gt;", "about &lt;it&gt;", "21 → 20", `class="oracle"`, "--part:"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	charts := 0
	for rest := text; ; charts++ {
		from := strings.Index(rest, "<svg")
		if from < 0 {
			break
		}
		to := from + strings.Index(rest[from:], "</svg>") + 6
		wellFormed(t, rest[from:to])
		rest = rest[to:]
	}
	if charts != 5 {
		t.Errorf("%d charts, want one for the means and one for each of four runs", charts)
	}
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("a chart is not well formed: %v", err)
		}
	}
}

func TestNiceSteps(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 4: 1, 20: 5, 160: 50, 7: 2, 0.9: 0.25, 1000: 250} {
		if got := nice(most, 4); got != want {
			t.Errorf("steps of %v to %v, want %v", got, most, want)
		}
	}
}
