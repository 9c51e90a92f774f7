package sim

import (
	"math"
	"reflect"
	"testing"

	"github.com/tidegate/tidegate/core/queueing"
)

// asked is a scaler made of a function; it sees what a scaler sees.
type asked struct {
	every int
	f     func(o *Observation) Decision
}

func (a *asked) Every() int                     { return a.every }
func (a *asked) Decide(o *Observation) Decision { return a.f(o) }

func ask(every int, f func(o *Observation) Decision) Policy {
	return Policy{Name: "test", New: func(Setup) (Scaler, error) { return &asked{every, f}, nil }}
}

func always(n int) Policy {
	return ask(1, func(*Observation) Decision { return Decision{Workers: n} })
}

func level(seconds int, rate float64) *Trace {
	t := &Trace{Name: "level", Rate: make([]float64, seconds)}
	for i := range t.Rate {
		t.Rate[i] = rate
	}
	return t
}

func mustRun(t *testing.T, p Params, tr *Trace, seed uint64, policy Policy) *Result {
	t.Helper()
	r, err := Run(p, tr, seed, policy)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// long marks a test that takes seconds, and a minute or more under the race detector.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() || raced {
		t.Skip("takes long; it runs without -short and -race")
	}
}

// fixed is a fleet of n workers from the beginning to the end.
func fixed(n int) Params {
	p := DefaultParams()
	p.MinWorkers, p.MaxWorkers, p.Initial, p.Unmeasured, p.Nodes = n, n, n, 0, 1
	return p
}

func TestMeanWaitIsThatOfErlangC(t *testing.T) {
	long(t)
	for _, row := range []struct {
		workers int
		erlangs float64
		seconds int
	}{{8, 6.4, 60000}, {24, 20.4, 25000}, {110, 100, 8000}} {
		for _, exponential := range []bool{true, false} {
			p := fixed(row.workers)
			p.QueueTimeout, p.Exponential = 3600, exponential
			waited, served := 0.0, 0
			mustRun(t, p, level(row.seconds, row.erlangs/p.Service), 1, ask(1, func(o *Observation) Decision {
				for _, s := range o.Seconds {
					waited += s.Queue
					served += s.Completions
				}
				return Decision{Workers: row.workers}
			}))
			got, want := waited/float64(served), queueing.MeanWait(row.workers, row.erlangs, p.Service, 1)
			t.Logf("%d workers, %v erlangs, exponential %v: mean wait %.3f ms, Erlang C says %.3f ms", row.workers, row.erlangs, exponential, 1000*got, 1000*want)
			if math.Abs(got/want-1) > 0.1 {
				t.Errorf("%d workers, %v erlangs, exponential %v: mean wait %v, want %v within 10 %%", row.workers, row.erlangs, exponential, got, want)
			}
		}
	}
}

func TestServiceTimesHaveTheirMeanAndVariation(t *testing.T) {
	long(t)
	for _, cv := range []float64{0, 0.5, 1, 2} {
		p := DefaultParams()
		p.CV = cv
		r := newRequests(p, level(4000, 250), 3)
		var n, sum, squares float64
		for q := r.next(); !math.IsInf(q.at, 1); q = r.next() {
			n++
			sum += q.service
			squares += q.service * q.service
		}
		mean := sum / n
		got := math.Sqrt(math.Max(0, squares/n-mean*mean)) / mean
		if math.Abs(mean/p.Service-1) > 0.01 || math.Abs(got-cv) > 0.06*cv+1e-6 {
			t.Errorf("CV %v: mean %v and CV %v of %v requests", cv, mean, got, n)
		}
		if math.Abs(n/1e6-1) > 0.01 {
			t.Errorf("%v requests came, want about a million", n)
		}
	}
}

// rough has everything at once: bursts that time out, a lost node, a slow and a capped dependency, a metrics outage.
func rough() *Trace {
	t := level(900, 200)
	t.Name = "rough"
	t.Factor, t.Cap = make([]float64, 900), make([]float64, 900)
	for s := range t.Rate {
		switch {
		case s >= 100 && s < 160:
			t.Rate[s] = 800
		case s >= 300 && s < 360:
			t.Factor[s] = 3
		case s >= 450 && s < 520:
			t.Cap[s] = 100
		}
	}
	t.Lost = []Loss{{Span{600, 660}, 2}, {Span{640, 700}, 3}}
	t.Missing = []Span{{700, 730}}
	t.Zero = []Span{{800, 830}}
	t.Disturbance = 100
	return t
}

// follow wants what is busy and waits, and half as many again.
func follow() Policy {
	return ask(2, func(o *Observation) Decision { return Decision{Workers: 4 + o.InFlight*3/2} })
}

func TestNoRequestIsLostFromTheBooks(t *testing.T) {
	p := DefaultParams()
	p.Unmeasured, p.WarmUp = 0, 10
	tr := rough()
	tr.Missing, tr.Zero = nil, nil
	in := 0
	r := mustRun(t, p, tr, 5, ask(2, func(o *Observation) Decision {
		for _, s := range o.Seconds {
			in += s.Arrivals - s.Completions - s.Errors
		}
		// A node that is lost at this very second has killed requests that the next second reports.
		lost := o.Now == 600 || o.Now == 640
		if in != o.InFlight && !lost {
			t.Fatalf("at %v s %d requests are in the system, by the books %d", o.Now, o.InFlight, in)
		}
		return Decision{Workers: 4 + o.InFlight*3/2}
	}))
	a := r.All
	if a.Arrived != a.Completed+a.TimedOut+a.Killed {
		t.Errorf("the books do not add up: %+v", a)
	}
	if a.TimedOut == 0 || a.Killed == 0 {
		t.Errorf("the trace is not rough enough: %+v", a)
	}
	if r.Requests != a.Arrived || r.Slow < a.TimedOut+a.Killed {
		t.Errorf("slow %d of %d requests, all %+v", r.Slow, r.Requests, a)
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	p := DefaultParams()
	p.Unmeasured = 0
	a, b := mustRun(t, p, rough(), 7, follow()), mustRun(t, p, rough(), 7, follow())
	if !reflect.DeepEqual(a, b) {
		t.Error("two runs with the same seed differ")
	}
	if c := mustRun(t, p, rough(), 8, follow()); c.All.Arrived == a.All.Arrived && c.P95 == a.P95 {
		t.Error("another seed makes no difference")
	}
	// Whoever decides, the same requests come.
	if d := mustRun(t, p, rough(), 7, always(100)); d.All.Arrived != a.All.Arrived {
		t.Errorf("%d requests came with another policy, %d before", d.All.Arrived, a.All.Arrived)
	}
}

func TestWorkersWarmUpAreCancelledAndPaid(t *testing.T) {
	p := DefaultParams()
	p.MinWorkers, p.MaxWorkers, p.Nodes, p.Initial, p.Unmeasured, p.WarmUp = 1, 10, 2, 2, 0, 30
	var ready, starting []int
	r := mustRun(t, p, level(120, 0), 1, ask(1, func(o *Observation) Decision {
		ready, starting = append(ready, o.Ready()), append(starting, o.Starting())
		switch {
		case o.Now < 10:
			return Decision{Workers: 2}
		case o.Now < 20:
			return Decision{Workers: 8}
		case o.Now < 60:
			return Decision{Workers: 6}
		}
		return Decision{Workers: 2}
	}))
	// The first observation is at 1 s. Orders at 10 s: six warm up until 40 s, two of which are cancelled at 20 s.
	for _, row := range []struct{ at, ready, starting int }{{10, 2, 0}, {11, 2, 6}, {20, 2, 6}, {21, 2, 4}, {39, 2, 4}, {41, 6, 0}, {60, 6, 0}, {61, 2, 0}} {
		if ready[row.at-1] != row.ready || starting[row.at-1] != row.starting {
			t.Errorf("at %d s %d are ready and %d warm up, want %d and %d", row.at, ready[row.at-1], starting[row.at-1], row.ready, row.starting)
		}
	}
	if r.Starts != 6 || r.Actions != 3 || r.Reversals != 1 || r.Flaps != 1 {
		t.Errorf("starts %d, actions %d, reversals %d, flaps %d; want 6, 3, 1, 1", r.Starts, r.Actions, r.Reversals, r.Flaps)
	}
	// 2 workers for 120 s, six more for 10 s, four of them for another 40 s.
	if want := (2*120 + 6*10 + 4*40) / 3600.0; math.Abs(r.WorkerHours-want) > 1e-9 {
		t.Errorf("%v worker-hours are paid, want %v", r.WorkerHours, want)
	}
}

func TestTheWorkersOrderedLastAreCancelledFirst(t *testing.T) {
	p := DefaultParams()
	p.MinWorkers, p.MaxWorkers, p.Nodes, p.Initial, p.Unmeasured, p.WarmUp = 1, 10, 1, 2, 0, 30
	wanted := map[int]int{10: 5, 15: 8, 20: 5}
	want := 2
	mustRun(t, p, level(60, 0), 1, ask(1, func(o *Observation) Decision {
		if n, ok := wanted[int(o.Now)]; ok {
			want = n
		}
		if o.Now == 41 && o.Ready() != 5 {
			t.Errorf("%d workers are ready; the three ordered first should be", o.Ready())
		}
		return Decision{Workers: want}
	}))
}

// The integrals over time and the sums over requests are the same, as in Little's law.
func TestIntegralsAndSumsAgree(t *testing.T) {
	p := fixed(18)
	p.QueueTimeout = 1000
	var busy, waiting, queue, service float64
	tr := level(400, 200)
	for s := 300; s < 400; s++ {
		tr.Rate[s] = 0 // so that all are answered at the end
	}
	mustRun(t, p, tr, 1, ask(1, func(o *Observation) Decision {
		for _, s := range o.Seconds {
			busy, waiting, queue, service = busy+s.Busy, waiting+s.Waiting, queue+s.Queue, service+s.Service
		}
		return Decision{Workers: 18}
	}))
	if queue < 10 || math.Abs(waiting/queue-1) > 1e-9 || math.Abs(busy/service-1) > 1e-9 {
		t.Errorf("integrals: %v waiting, %v busy; sums: %v in the queue, %v in service", waiting, busy, queue, service)
	}
}

func TestAWorkerThatLeavesFinishesItsRequest(t *testing.T) {
	p := fixed(2)
	p.MinWorkers, p.Service, p.CV, p.QueueTimeout, p.SLO = 1, 20, 0, 100, 60
	tr := level(100, 0)
	tr.Rate[0] = 8 // at least two requests come in the first second
	drained := 0
	r := mustRun(t, p, tr, 1, ask(1, func(o *Observation) Decision {
		drained = max(drained, o.Nodes[0].Draining)
		if o.Now < 5 {
			return Decision{Workers: 2}
		}
		return Decision{Workers: 1}
	}))
	if r.All.Killed != 0 || r.All.Completed != r.All.Arrived-r.All.TimedOut || r.All.Arrived < 3 {
		t.Errorf("requests were lost: %+v", r.All)
	}
	if drained != 1 {
		t.Errorf("%d workers drained, want 1", drained)
	}
	// Both are paid until the first round of requests ends at about 20 s, then one.
	if want := (100 + 20.5) / 3600.0; math.Abs(r.WorkerHours-want) > 1.0/3600 {
		t.Errorf("%v worker-hours are paid, want about %v", r.WorkerHours, want)
	}
}

func TestALostNodeTakesItsRequestsAndWorkersAlong(t *testing.T) {
	p := DefaultParams()
	p.MinWorkers, p.MaxWorkers, p.Nodes, p.Initial, p.Unmeasured, p.WarmUp = 1, 40, 4, 40, 0, 10
	tr := level(200, 300)
	tr.Lost = []Loss{{Span{50, 100}, 1}}
	state := map[int]NodeState{}
	r := mustRun(t, p, tr, 2, ask(1, func(o *Observation) Decision {
		state[int(o.Now)] = o.Nodes[1]
		return Decision{Workers: 40}
	}))
	if n := state[49]; !n.Up || n.Ready != 10 || n.Busy < 3 {
		t.Errorf("before the loss the node is %+v", n)
	}
	if n := state[60]; n.Up || n.Ready+n.Starting+n.Draining != 0 || n.Busy != 0 {
		t.Errorf("while it is lost the node is %+v", n)
	}
	if n := state[105]; !n.Up || n.Starting != 10 || n.Ready != 0 {
		t.Errorf("after its return the node is %+v", n)
	}
	if n := state[112]; n.Ready != 10 {
		t.Errorf("after the warm-up the node is %+v", n)
	}
	if k := r.All.Killed; k < 2 || k > 10 {
		t.Errorf("%d requests were killed; between 2 and 10 were on the node", k)
	}
}

func TestACappedDependencyCannotBeHelpedWithWorkers(t *testing.T) {
	for _, workers := range []int{30, 60, 160} {
		p := fixed(workers)
		tr := level(300, 300)
		tr.Cap = make([]float64, 300)
		for s := range tr.Cap {
			tr.Cap[s] = 200
		}
		done := 0
		mustRun(t, p, tr, 1, ask(1, func(o *Observation) Decision {
			for _, s := range o.Seconds {
				if s.At >= 100 {
					done += s.Completions
				}
			}
			return Decision{Workers: workers}
		}))
		if rate := float64(done) / 199; math.Abs(rate-200) > 4 {
			t.Errorf("%d workers bring %v requests per second through a dependency of 200", workers, rate)
		}
	}
}

func TestMetricsThatFail(t *testing.T) {
	p := DefaultParams()
	p.Unmeasured = 0
	tr := level(100, 200)
	tr.Missing, tr.Zero = []Span{{20, 30}}, []Span{{50, 60}}
	sees := func(policy func(f func(o *Observation) Decision) Policy) map[int]Second {
		out := map[int]Second{}
		mustRun(t, p, tr, 1, policy(func(o *Observation) Decision {
			for _, s := range o.Seconds {
				out[s.At] = s
			}
			switch missing := o.Now > 20 && o.Now <= 30; {
			case o.Missing != missing:
				t.Errorf("at %v s missing is %v", o.Now, o.Missing)
			case (missing || o.Now > 50 && o.Now <= 60) && (o.InFlight != 0 || o.Nodes[0].Busy != 0 || len(o.Responses) > 0):
				t.Errorf("at %v s something is still seen", o.Now)
			case o.Ready() == 0:
				t.Errorf("at %v s the workers are not seen", o.Now)
			}
			return Decision{Workers: 30}
		}))
		return out
	}
	got := sees(func(f func(o *Observation) Decision) Policy { return ask(1, f) })
	if _, told := got[25]; told {
		t.Error("a missing second is told")
	}
	if s, told := got[55]; !told || s != (Second{At: 55}) {
		t.Errorf("a second of zeros is %+v", s)
	}
	if got[19].Arrivals == 0 || got[30].Arrivals == 0 || got[60].Arrivals == 0 {
		t.Error("a good second is zero")
	}
}

func TestWorkersOutOfServiceGetNothing(t *testing.T) {
	p := DefaultParams()
	p.Nodes, p.Initial, p.MaxWorkers, p.Unmeasured = 2, 40, 40, 0
	r := mustRun(t, p, level(60, 100), 1, ask(1, func(o *Observation) Decision {
		if o.Now > 5 && o.Nodes[1].Busy > 0 {
			t.Errorf("at %v s %v workers out of service are busy", o.Now, o.Nodes[1].Busy)
		}
		return Decision{Workers: 40, PerNode: []int{20, 20}, Out: []bool{false, true}}
	}))
	if r.All.Completed != r.All.Arrived {
		t.Errorf("requests were lost: %+v", r.All)
	}
}

func TestWhatCannotBeRunIsRefused(t *testing.T) {
	good := level(10, 1)
	for name, f := range map[string]func(p *Params, tr *Trace){
		"no service time":    func(p *Params, _ *Trace) { p.Service = 0 },
		"NaN":                func(p *Params, _ *Trace) { p.CV = math.NaN() },
		"fewer than least":   func(p *Params, _ *Trace) { p.MaxWorkers = 1 },
		"an empty trace":     func(_ *Params, tr *Trace) { tr.Rate = nil },
		"a negative rate":    func(_ *Params, tr *Trace) { tr.Rate = []float64{1, -1} },
		"an endless rate":    func(_ *Params, tr *Trace) { tr.Rate = []float64{math.Inf(1)} },
		"a node that is not": func(_ *Params, tr *Trace) { tr.Lost = []Loss{{Span{1, 2}, 8}} },
		"too small nodes":    func(p *Params, _ *Trace) { p.PerNode = []int{1, 1, 1, 1, 1, 1, 1, 1} },
		"too many requests":  func(_ *Params, tr *Trace) { tr.Rate = []float64{1e10} },
	} {
		p, tr := DefaultParams(), *good
		f(&p, &tr)
		if _, err := Run(p, &tr, 1, always(1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
