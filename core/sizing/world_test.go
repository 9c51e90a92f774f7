package sizing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// world is a fluid model of an app: what arrives is served by the ready workers or waits, workers are ready one lead time after
// their order. It is for tests of rules; package sim has the model that speed and cost are judged by.
type world struct {
	t       *testing.T
	p       Policy
	m       Memory
	now     time.Time
	tick    int
	rate    func(sec int) float64
	service func(sec int) float64
	// most bounds throughput per second, 0 for no bound.
	most    float64
	lead    int
	random  *rand.Rand
	ready   int
	coming  []coming
	queue   float64
	sec     int
	nodes   int
	seconds []Second
	// change can spoil an observation.
	change func(o *Observation)
	orders []Order
	events []Event
	last   Result
	series []int
}

type coming struct{ at, n int }

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, rate float64) *world {
	w := &world{
		t: t, p: Default(), now: start, tick: 5, lead: 45, random: rand.New(rand.NewPCG(1, 2)), nodes: 5,
		rate: func(int) float64 { return rate }, service: func(int) float64 { return 0.08 }, ready: int(rate*0.08*1.3) + 2,
	}
	w.p.MinWorkers, w.p.MaxWorkers = 4, 160
	return w
}

// noisy is Poisson noise by its normal approximation.
func (w *world) noisy(mean float64) float64 {
	return math.Max(0, math.Round(mean+math.Sqrt(mean)*w.random.NormFloat64()))
}

// second lets one second pass.
func (w *world) second() {
	for len(w.coming) > 0 && w.coming[0].at <= w.sec {
		w.ready += w.coming[0].n
		w.coming = w.coming[1:]
	}
	a, s := w.noisy(w.rate(w.sec)), w.service(w.sec)
	capacity := float64(w.ready) / s
	if w.most > 0 {
		capacity = math.Min(capacity, w.most)
	}
	x := math.Min(a+w.queue, capacity)
	wait := w.queue / math.Max(capacity, 1e-9)
	w.queue = math.Min(a+w.queue-x, 5*w.rate(w.sec))
	busy := x * s
	if w.queue > 0 {
		busy = float64(w.ready)
	}
	service := s
	if x > 0 {
		service = busy / x
	}
	w.seconds = append(w.seconds, Second{At: w.now.Unix(), Arrivals: a, Completions: x, Timed: x, Queue: wait * x, Service: service * x, Busy: &busy})
	w.sec++
	w.now = w.now.Add(time.Second)
}

func (w *world) observe() Observation {
	o := Observation{Now: w.now, Traffic: true, Seconds: w.seconds, Queued: math.Round(w.queue), Orders: w.orders}
	last := w.seconds[len(w.seconds)-1]
	o.InFlight = *last.Busy + o.Queued
	left, starting := w.ready, 0
	for _, c := range w.coming {
		starting += c.n
	}
	for i := range w.nodes {
		n := left / (w.nodes - i)
		left -= n
		o.Nodes = append(o.Nodes, Node{Name: string(rune('a' + i)), Up: true, Known: true, Max: 32, Total: n, Ready: n, Busy: *last.Busy * float64(n) / math.Max(1, float64(w.ready)), BusyKnown: true})
	}
	o.Nodes[0].Starting = starting
	w.seconds = nil
	return o
}

// run lets so many seconds pass, with a decision every tick.
func (w *world) run(seconds int) {
	w.t.Helper()
	for range seconds {
		w.second()
		if w.sec%w.tick == 0 {
			w.decide()
		}
	}
}

func (w *world) decide() {
	w.t.Helper()
	o := w.observe()
	if w.change != nil {
		w.change(&o)
	}
	w.last, w.m = Size(w.p, w.m, o)
	w.events = append(w.events, w.last.Events...)
	w.series = append(w.series, w.last.Workers)
	have := w.ready
	for _, c := range w.coming {
		have += c.n
	}
	if more := w.last.Workers - have; more > 0 {
		w.coming = append(w.coming, coming{w.sec + w.lead, more})
	}
	for w.last.Workers < have && len(w.coming) > 0 {
		k := len(w.coming) - 1
		n := min(have-w.last.Workers, w.coming[k].n)
		have -= n
		if w.coming[k].n -= n; w.coming[k].n == 0 {
			w.coming = w.coming[:k]
		}
	}
	if w.last.Workers < w.ready {
		w.ready = w.last.Workers
	}
}

func (w *world) has(code Code) bool { return w.count(code) > 0 }

func (w *world) count(code Code) (n int) {
	for _, e := range w.events {
		if e.Code == code {
			n++
		}
	}
	return n
}

func (w *world) alarms(code Code) bool {
	for _, c := range w.last.Alarms {
		if c == code {
			return true
		}
	}
	return false
}
