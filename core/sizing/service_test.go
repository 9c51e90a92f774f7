package sizing

import (
	"math"
	"testing"
	"time"
)

// A count of busy workers stands for a whole turn. One that is high by chance is no slow service: in turns of five seconds the newest five
// hold one count, and with 20 of them it is a third off now and then.
func TestOneHighCountOfBusyWorkersIsNoSlowService(t *testing.T) {
	for _, row := range []struct {
		every  int
		counts []float64 // of the last turns; 20 before
		slow   bool
	}{
		{5, []float64{26}, false},
		{5, []float64{40}, true},
		{2, []float64{24, 23}, false},
		{1, []float64{26, 26, 26, 26, 26}, true},
	} {
		p, m := Default(), Memory{}
		turns := 120/row.every + len(row.counts)
		at := time.Unix(1_000_000, 0)
		for i := range turns {
			busy := 20.0
			if k := i - (turns - len(row.counts)); k >= 0 {
				busy = row.counts[k]
			}
			at = at.Add(time.Duration(row.every) * time.Second)
			o := Observation{Now: at, Traffic: true, InFlight: busy, Nodes: []Node{{Name: "n", Known: true, Up: true, Ready: 30, Busy: busy, BusyKnown: true}}}
			for k := range row.every {
				o.Seconds = append(o.Seconds, Second{At: at.Unix() - int64(row.every-k), Arrivals: 250, Completions: 250, Timed: 250, Service: 20})
			}
			_, m = Size(p, m, o)
		}
		s := see(&p, &m, &Observation{Now: at})
		s.every = float64(row.every)
		got := m.Service.estimate(&m.History, 30, p.Erlang.CV, s.every)
		if slow := got > 0.09; slow != row.slow || math.IsNaN(got) {
			t.Errorf("turns of %d s, then %v busy workers instead of 20: S is %.4f s", row.every, row.counts, got)
		}
	}
}

// Where the busy integral of each second is told, nothing is left out, however long the turn.
func TestAToldBusyIntegralIsNoSample(t *testing.T) {
	busy := 20.0
	for _, row := range []struct {
		told *float64
		want float64
	}{{nil, 5}, {&busy, 1}} {
		p, m := Default(), Memory{}
		for i := range 3 {
			o := Observation{Now: time.Unix(1_000_000+5*int64(i), 0), Traffic: true, Nodes: []Node{{Name: "n", Known: true, Up: true, Ready: 30, Busy: 20, BusyKnown: true}}}
			for k := range 5 {
				o.Seconds = append(o.Seconds, Second{At: o.Now.Unix() - int64(5-k), Arrivals: 250, Completions: 250, Busy: row.told})
			}
			s := see(&p, &m, &o)
			s.told()
			m.Seen = s.Now
			if i > 0 && s.every != row.want {
				t.Errorf("integral told: %v; one count stands for %v s, want %v", row.told != nil, s.every, row.want)
			}
		}
	}
}

// While the agent of one of two servers is silent, the busy workers of the other are not those of all requests: no service time is
// taken from them, or the app would look up to twice as quick as it is for a minute.
func TestASilentAgentIsNoFastService(t *testing.T) {
	for _, row := range []struct {
		what   string
		second Node
	}{
		{"silent", Node{Name: "b", Up: true}},
		{"without busy counts", Node{Name: "b", Up: true, Known: true, Ready: 10}},
	} {
		p, m := Default(), Memory{}
		at := time.Unix(1_000_000, 0)
		for i := range 90 {
			at = at.Add(2 * time.Second)
			o := Observation{Now: at, Traffic: true, InFlight: 20}
			for k := range 2 {
				o.Seconds = append(o.Seconds, Second{At: at.Unix() - int64(2-k), Arrivals: 200, Completions: 200, Timed: 200, Service: 20})
			}
			node := Node{Up: true, Known: true, Ready: 10, Busy: 10, BusyKnown: true}
			a, b := node, node
			a.Name, b.Name = "a", "b"
			if i >= 60 && i < 75 {
				b = row.second
				o.Bad = CodeNoData
			}
			o.Nodes = []Node{a, b}
			_, m = Size(p, m, o)
			if s := m.Service.estimate(&m.History, 20, p.Erlang.CV, 2); i > 10 && math.Abs(s-0.1) > 0.002 {
				t.Fatalf("%s, turn %d: S is %.4f s, want 0.1", row.what, i, s)
			}
		}
	}
}
