package traces

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/sim"
)

func TestBuiltinTraces(t *testing.T) {
	if len(Names()) != 14 {
		t.Fatalf("%d traces, want 14", len(Names()))
	}
	for _, name := range Names() {
		for seed := range uint64(20) {
			a, err := Builtin(name, seed)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Check(); err != nil {
				t.Error(err)
			}
			b, _ := Builtin(name, seed)
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s differs with the same seed", name)
			}
			if c, _ := Builtin(name, seed+100); reflect.DeepEqual(a.Rate, c.Rate) {
				t.Errorf("%s is the same with another seed", name)
			}
			highest := 0.0
			for _, r := range a.Rate {
				highest = math.Max(highest, r)
			}
			if a.Seconds() < 7200 || highest < 200 || highest > 1900 || a.Name != name || About(name) == "" {
				t.Errorf("%s seed %d: %d s, highest rate %v", name, seed, a.Seconds(), highest)
			}
			if d := a.Disturbance; d != 0 && (d < 600 || d > float64(a.Seconds())-600) {
				t.Errorf("%s seed %d happens at %v s", name, seed, d)
			}
		}
	}
	if _, err := Builtin("spikes", 1); err == nil || !strings.Contains(err.Error(), "spike,") {
		t.Errorf("an unknown trace: %v", err)
	}
}

func TestRandomTraces(t *testing.T) {
	shapes := map[string]bool{}
	for seed := range uint64(10) {
		for n := 1; n <= 20; n++ {
			a := Random(n, seed)
			if err := a.Check(); err != nil {
				t.Error(err)
			}
			if !reflect.DeepEqual(a, Random(n, seed)) {
				t.Errorf("%s differs with the same seed", a.Name)
			}
			for _, word := range strings.Split(a.About, ", ") {
				shapes[word] = true
			}
		}
	}
	if len(shapes) != 6+6+6 {
		t.Errorf("%d shapes came: %v", len(shapes), shapes)
	}
}

func TestCSV(t *testing.T) {
	for name, text := range map[string]string{
		"plain":       "0,100\n10,200\n20,50\n",
		"spaces":      "# mine\n\n 0 , 100 \n10, 200\r\n20,50\n",
		"header":      "rate,time\n100,0\n200,10\n50,20\n",
		"quoted":      "\ufeff\"time\",\"rate\"\n\"0\",\"100\"\n10,200\n20,50\n",
		"clock":       "2026-01-31T12:00:00Z,100\n2026-01-31T12:00:10Z,200\n2026-01-31T12:00:20Z,50\n",
		"local clock": "time,rate\n2026-01-31 12:00:00,100\n2026-01-31 12:00:10,200\n2026-01-31 12:00:20,50\n",
		"not from 0":  "1000,100\n1010,200\n1020,50\n",
	} {
		tr, err := Read(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if tr.Seconds() != 30 || tr.Rate[0] != 100 || tr.Rate[9] != 100 || tr.Rate[10] != 200 || tr.Rate[29] != 50 {
			t.Errorf("%s: %v", name, tr.Rate)
		}
	}
	tr, err := Read(strings.NewReader("time,rate,service,cap,metrics\n0,100,,,\n10,100,2,80,missing\n20,100,1,0,zero\n30,100\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(tr.Missing, []sim.Span{{From: 10, To: 20}}) || !reflect.DeepEqual(tr.Zero, []sim.Span{{From: 20, To: 30}}) {
		t.Errorf("missing %v, zero %v", tr.Missing, tr.Zero)
	}
	if tr.Factor[5] != 1 || tr.Factor[15] != 2 || tr.Cap[15] != 80 || tr.Cap[25] != 0 {
		t.Errorf("factor %v, cap %v", tr.Factor, tr.Cap)
	}
}

func TestCSVMistakes(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"", ": a trace needs at least two lines"},
		{"0,100\n", "has 1"},
		{"0,100\n1,abc\n", `:2: the rate is "abc"; allowed are numbers from 0 to 1e+06`},
		{"0,100\n1,-1\n", `:2: the rate is "-1"`},
		{"0,100\n1,NaN\n", `:2: the rate is "NaN"`},
		{"0,100\n\nsoon,100\n", `:3: the time "soon" is not one`},
		{"0,100\n0,100\n", ":2: the time 0 is not after the line before"},
		{"5,100\n4,100\n", ":2: the time 4 is not after"},
		{"0,100\n1\n", ":2: the line has 1 columns"},
		{"0,1,1,1,ok,6\n", ":1: the line has 6 columns"},
		{"time,load\n0,1\n", `:1: the column "load" is not allowed`},
		{"time,service\n0,1\n", `:1: there is no column "rate"`},
		{"time,rate,rate\n", `:1: the column "rate" is not allowed or comes twice`},
		{"0,1,0\n1,1\n", `:1: the service is "0"; allowed are numbers from 0.001 to 1000`},
		{"0,1,1,0,off\n", `:1: metrics are "off"; allowed are ok, missing and zero`},
		{"0,1\n9999999,1\n", ":2: the time is more than 31 days after"},
	} {
		_, err := Read(strings.NewReader(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: %v, want %q in it", row.text, err, row.want)
		}
	}
	if _, err := File(t.TempDir() + "/none.csv"); err == nil {
		t.Error("a file that is not there is read")
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("time,rate,service,cap,metrics\n0,100,,,\n10,100,2,80,missing\n")
	f.Add("0,100\n10,200\n")
	f.Fuzz(func(t *testing.T, text string) {
		tr, err := Read(strings.NewReader(text))
		if err == nil && (tr.Seconds() < 1 || tr.Seconds() > maxSeconds) {
			t.Errorf("%d seconds", tr.Seconds())
		}
	})
}
