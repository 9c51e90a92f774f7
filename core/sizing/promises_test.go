package sizing

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// decisions is how many decisions the promises are checked over; `make promises` sets a million.
func decisions() int {
	if n, err := strconv.Atoi(os.Getenv("TIDEGATE_DECISIONS")); err == nil && n > 0 {
		return n
	}
	return 40_000
}

// odd are the numbers that a broken source may report.
var odd = []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, -1e300, 1e300, 1e12, math.MaxFloat64, math.SmallestNonzeroFloat64, 0}

// chaos makes observations of an app that has good and bad days.
type chaos struct {
	r    *rand.Rand
	now  time.Time
	rate float64
	// sick is what is wrong with the observations now, for so many turns.
	sick, left int
}

func (c *chaos) policy() Policy {
	p := Default()
	p.MinWorkers = 1 + c.r.IntN(8)
	p.MaxWorkers = p.MinWorkers + c.r.IntN(200)
	p.Down = DownPolicy{Window: time.Duration(10+c.r.IntN(300)) * time.Second, Every: time.Duration(1+c.r.IntN(60)) * time.Second, Share: 0.05 + 0.9*c.r.Float64(), Tolerance: 0.2 * c.r.Float64()}
	p.Erlang.LoseNode = c.r.IntN(2) == 0
	p.Profile.On = c.r.IntN(4) == 0
	all := []Strategy{Erlang, BusyRatio, RPSRatio, Queue, Schedule}
	p.Strategies = nil
	for _, s := range all {
		if c.r.IntN(3) == 0 {
			p.Strategies = append(p.Strategies, s)
		}
	}
	if len(p.Strategies) == 0 {
		p.Strategies = []Strategy{Erlang}
	}
	p.Schedule = []ScheduleSlot{{From: time.Duration(c.r.IntN(86400)) * time.Second, To: time.Duration(c.r.IntN(86400)) * time.Second, Workers: c.r.IntN(300)}}
	return p
}

// observe is the next turn's observation, and whether everything in it is good.
func (c *chaos) observe(workers int) (o Observation, good bool) {
	r := c.r
	step := 1 + r.IntN(5)
	if r.IntN(500) == 0 {
		step = r.IntN(4000)
	}
	c.now = c.now.Add(time.Duration(step) * time.Second)
	switch r.IntN(60) {
	case 0:
		c.rate *= 0.1 + 4*r.Float64()
	case 1:
		c.rate = 1000 * r.Float64()
	}
	c.rate = math.Min(5000, math.Max(0, c.rate))
	if c.left--; c.left <= 0 {
		c.sick, c.left = 0, 20+r.IntN(200)
		if r.IntN(2) == 0 {
			c.sick, c.left = 1+r.IntN(7), 1+r.IntN(120)
		}
	}
	service := 0.02 + 0.2*r.Float64()
	o = Observation{Now: c.now, Traffic: true, Queued: float64(r.IntN(3) * r.IntN(100))}
	for k := min(step, 10); k >= 1; k-- {
		x := math.Min(c.rate, float64(workers)/service)
		o.Seconds = append(o.Seconds, Second{At: c.now.Unix() - int64(k), Arrivals: math.Round(c.rate), Completions: math.Round(x), Timed: math.Round(x), Queue: x * 0.01, Service: x * service})
	}
	for i := range 4 {
		ready := workers / 4
		o.Nodes = append(o.Nodes, Node{Name: fmt.Sprint("n", i), Up: true, Known: true, Max: 60, Total: ready, Ready: ready, BusyKnown: true, Busy: math.Min(float64(ready), c.rate*service/4)})
	}
	o.Backlog = &Backlog{Items: 100 * r.Float64(), In: 10, Out: 9, Service: service}
	o.InFlight = math.Min(c.rate*service, float64(workers)) + o.Queued
	return o, c.spoil(&o)
}

// spoil makes the observation as bad as it is now.
func (c *chaos) spoil(o *Observation) (good bool) {
	r := c.r
	bad := odd[r.IntN(len(odd)-1)]
	switch c.sick {
	case 0:
		return true
	case 1:
		o.Traffic, o.Seconds, o.Backlog = false, nil, nil
		for i := range o.Nodes {
			o.Nodes[i].BusyKnown = false
		}
	case 2:
		o.Bad = "hold_errors"
	case 3:
		// A second that is dropped because nobody can believe it; 5e-324 can be believed.
		if len(o.Seconds) == 0 || bad == math.SmallestNonzeroFloat64 {
			return true
		}
		s := &o.Seconds[r.IntN(len(o.Seconds))]
		fields := []*float64{&s.Arrivals, &s.Completions, &s.Errors, &s.Timed, &s.Queue, &s.Service, &s.Connect}
		*fields[r.IntN(len(fields))] = bad
	case 4:
		o.Nodes[r.IntN(4)].Ready = -1 - r.IntN(1000)
	case 5:
		o.Nodes[r.IntN(4)].Known = false
	case 6:
		if bad == math.SmallestNonzeroFloat64 {
			return true
		}
		o.Nodes[r.IntN(4)].Busy = bad
	case 7:
		for i := range o.Seconds {
			o.Seconds[i].At += 1 << 40
		}
		if len(o.Seconds) == 0 {
			return true
		}
	}
	return false
}

func (c *chaos) orders(o *Observation) (free bool) {
	r := c.r
	if r.IntN(3) > 0 {
		return true
	}
	kinds := []OrderKind{OrderHold, OrderPin, OrderReserve, "odd"}
	for i := range r.IntN(3) {
		o.Orders = append(o.Orders, Order{
			ID: fmt.Sprint("o", i), Kind: kinds[r.IntN(4)], Workers: r.IntN(500) - 100, Rate: odd[r.IntN(len(odd))],
			From: c.now.Add(time.Duration(r.IntN(600)-300) * time.Second), Until: c.now.Add(time.Duration(r.IntN(600)-300) * time.Second),
		})
	}
	return false
}

// Whatever is reported, the number stays within its bounds, bad data never shrink it, and no step down is larger than its share.
func TestPromises(t *testing.T) {
	for shard := range uint64(4) {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(shard, 20261122))
			for left := decisions() / 4; left > 0; {
				left -= promises(t, r, min(left, 2000))
				if t.Failed() {
					return
				}
			}
		})
	}
}

func promises(t *testing.T, r *rand.Rand, n int) int {
	c := &chaos{r: r, now: start.Add(time.Duration(r.IntN(1e6)) * time.Second), rate: 500 * r.Float64()}
	p := c.policy()
	var m Memory
	workers := p.MinWorkers
	for range n {
		o, good := c.observe(workers)
		free := c.orders(&o)
		var result Result
		before := m.Workers
		result, m = Size(p, m, o)
		check(t, p, m, o, result, before, good, free)
		if t.Failed() {
			return n
		}
		workers = result.Workers
	}
	return n
}

func check(t *testing.T, p Policy, m Memory, o Observation, r Result, before int, good, free bool) {
	t.Helper()
	fail := func(what string) {
		t.Errorf("%s: %d -> %d (bounds %d..%d, frozen %q, good %v)\npolicy %+v\nresult %+v", what, before, r.Workers, p.MinWorkers, p.MaxWorkers, r.Frozen, good, p, r)
	}
	if r.Workers < p.MinWorkers || r.Workers > p.MaxWorkers {
		fail("out of bounds")
	}
	if before > 0 && r.Before != before {
		fail("the number before is another")
	}
	if before == 0 || !free {
		return
	}
	// What is only on its way may be called off, in any number.
	coming := 0
	for i := range o.Nodes {
		if n := &o.Nodes[i]; n.Up && n.Known && !n.OldFirst && !n.absurd() {
			coming += n.Starting
		}
	}
	drop := before - r.Workers
	if called := slices.ContainsFunc(r.Trace.Steps, func(s Step) bool { return s.Rule == StepCallOff }); called {
		if drop > coming {
			fail(fmt.Sprintf("%d of %d on their way are called off", drop, coming))
		}
		return
	}
	// What cannot be believed only counts for strategies that use it; a pin or a cap may shrink all the same.
	if !good && r.Frozen != "" && r.Workers < before {
		fail("shrank on bad data")
	}
	step := max(1, int(float64(before)*p.Down.Share), before-int(math.Ceil(float64(before)*(1-2*p.Down.Share))))
	if drop > step && m.Futile.Cap == 0 {
		fail(fmt.Sprintf("a step down of %d", drop))
	}
	for _, s := range r.Trace.Steps {
		if math.IsNaN(s.Workers) || math.IsInf(s.Workers, 0) {
			fail("a step that is no number")
		}
	}
	if _, err := json.Marshal(r); err != nil {
		fail(err.Error())
	}
}

// Every kind of bad data freezes every strategy that needs them.
func TestEveryStrategyFreezesWithoutItsData(t *testing.T) {
	for _, s := range []Strategy{Erlang, RPSRatio, BusyRatio, Queue} {
		for sick := 1; sick <= 7; sick++ {
			if s != Erlang && s != RPSRatio && (sick == 7) {
				continue // seconds from the future are no matter to those that use none; they are reported all the same
			}
			c := &chaos{r: rand.New(rand.NewPCG(1, uint64(sick))), now: start, rate: 200}
			p := Default()
			p.Strategies = []Strategy{s}
			var m Memory
			for i := range 400 {
				c.sick, c.left = 0, 1000
				if i >= 300 {
					c.sick = sick
				}
				o, good := c.observe(60)
				var r Result
				before := m.Workers
				r, m = Size(p, m, o)
				called := o.Bad == CodeErrorStorm && slices.ContainsFunc(r.Trace.Steps, func(s Step) bool { return s.Rule == StepCallOff })
				if i > 300 && !good && (r.Frozen == "" || r.Workers < before && !called) {
					t.Fatalf("%s, illness %d: %d -> %d, frozen %q", s, sick, before, r.Workers, r.Frozen)
				}
			}
		}
	}
}

// For the same history, more load never means fewer workers.
func TestMoreLoadNeverMeansFewerWorkers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		c := &chaos{r: r, now: start, rate: 50 + 500*r.Float64()}
		p := Default()
		var m Memory
		workers := 60
		for range 200 {
			c.sick, c.left = 0, 1000
			o, _ := c.observe(workers)
			var res Result
			res, m = Size(p, m, o)
			workers = res.Workers
		}
		o, _ := c.observe(workers)
		last := 0
		for _, factor := range []float64{0, 0.5, 0.8, 1, 1.1, 1.3, 1.7, 2.5, 4, 8} {
			more := o
			more.Seconds = nil
			for _, s := range o.Seconds {
				s.Arrivals = math.Round(factor * s.Arrivals)
				more.Seconds = append(more.Seconds, s)
			}
			res, _ := Size(p, m, more)
			if res.Workers < last {
				t.Fatalf("%g times the arrivals: %d workers, %d with less\n%+v", factor, res.Workers, last, res.Trace)
			}
			last = res.Workers
		}
	}
}

func TestSizeIsPureAndItsMemorySurvivesJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	c := &chaos{r: r, now: start, rate: 200}
	p := c.policy()
	p.Profile.On = true
	var m Memory
	for i := range 2000 {
		o, _ := c.observe(30)
		c.orders(&o)
		was, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r1, m1 := Size(p, m, o)
		is, _ := json.Marshal(m)
		if string(was) != string(is) {
			t.Fatalf("turn %d: Size changed its argument", i)
		}
		var back Memory
		if err := json.Unmarshal(was, &back); err != nil {
			t.Fatal(err)
		}
		r2, m2 := Size(p, back, o)
		j1, _ := json.Marshal([]any{r1, m1})
		j2, _ := json.Marshal([]any{r2, m2})
		if string(j1) != string(j2) {
			t.Fatalf("turn %d: a memory that was saved and read decides otherwise:\n%s\n%s", i, j1, j2)
		}
		m = m1
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := &chaos{r: rand.New(rand.NewPCG(5, 5)), now: start, rate: 200}
	p := Default()
	var m Memory
	for range 20_000 {
		c.sick, c.left = 0, 10
		o, _ := c.observe(30)
		_, m = Size(p, m, o)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 48_000 {
		t.Fatalf("the memory of one app takes %d bytes as JSON", len(text))
	}
}

// FuzzSize feeds any observation that JSON can carry to any memory that it can.
func FuzzSize(f *testing.F) {
	c := &chaos{r: rand.New(rand.NewPCG(9, 9)), now: start, rate: 200}
	p := Default()
	var m Memory
	for i := range 200 {
		o, _ := c.observe(30)
		if i%50 == 49 && c.sick != 3 && c.sick != 6 {
			text, err := json.Marshal(o)
			memory, err2 := json.Marshal(m)
			if err != nil || err2 != nil {
				continue
			}
			f.Add(text, memory)
		}
		_, m = Size(p, m, o)
	}
	f.Fuzz(func(t *testing.T, observation, memory []byte) {
		var o Observation
		var m Memory
		if json.Unmarshal(observation, &o) != nil || json.Unmarshal(memory, &m) != nil {
			return
		}
		p := Default()
		p.MaxWorkers = 100
		p.Strategies = []Strategy{Erlang, BusyRatio, RPSRatio, Queue}
		for range 3 {
			r, next := Size(p, m, o)
			if r.Workers < p.MinWorkers || r.Workers > p.MaxWorkers {
				t.Fatalf("%d workers", r.Workers)
			}
			r2, _ := Size(p, m, o)
			if !reflect.DeepEqual(r, r2) {
				t.Fatalf("the same input gave\n%+v\n%+v", r, r2)
			}
			m = next
			o.Now = o.Now.Add(5 * time.Second)
		}
	})
}
