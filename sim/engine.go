package sim

import (
	"fmt"
	"math"
)

// engine is one run.
type engine struct {
	p        Params
	tr       *Trace
	requests *requests
	next     request
	queue    fifo
	running  runningHeap
	fleet    *fleet
	now      float64
	// free is when the dependency lets the next request through.
	free   float64
	factor float64
	cap    float64
	second Second
	// busySum and waitSum are integrals up to sumAt.
	busy    int
	sumAt   float64
	pending []Second
	// responses and services are the rings of the last ones.
	responses, services []float64
	scaler              Scaler
	local               bool
	rec                 *recorder
}

// lastResponses is how many response times an observation has at most.
const lastResponses = 64

// Run plays a trace with a policy.
func Run(p Params, tr *Trace, seed uint64, policy Policy) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if err := tr.Check(); err != nil {
		return nil, err
	}
	perNode := p.nodes(tr.Nodes)
	p.Nodes, p.PerNode = len(perNode), perNode
	for _, l := range tr.Lost {
		if l.Node < 0 || l.Node >= p.Nodes {
			return nil, fmt.Errorf("trace %s loses node %d; there are nodes 0 to %d", tr.Name, l.Node, p.Nodes-1)
		}
	}
	scaler, err := policy.New(Setup{Params: p, Trace: tr})
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", policy.Name, err)
	}
	e := newEngine(p, tr, seed, scaler)
	e.rec.result.Policy = policy.Name
	e.run()
	return e.rec.finish(e), nil
}

func newEngine(p Params, tr *Trace, seed uint64, scaler Scaler) *engine {
	e := &engine{p: p, tr: tr, requests: newRequests(p, tr, seed), fleet: newFleet(p.PerNode), scaler: scaler}
	if l, ok := scaler.(Local); ok {
		e.local = l.Local()
	}
	e.rec = newRecorder(p, tr, seed)
	initial := p.Initial
	if initial == 0 {
		a := tr.Demand(0, p.Service)
		initial = int(math.Ceil(a + 2*math.Sqrt(a)))
	}
	e.fleet.spread(max(p.MinWorkers, min(initial, p.MaxWorkers)))
	for i := range e.fleet.nodes {
		e.fleet.nodes[i].ready = e.fleet.nodes[i].target
	}
	e.rec.wanted = e.wanted()
	return e
}

func (e *engine) wanted() int {
	n := 0
	for i := range e.fleet.nodes {
		n += e.fleet.nodes[i].target
	}
	return n
}

func (e *engine) run() {
	e.next = e.requests.next()
	every := max(1, e.scaler.Every())
	for s := range e.tr.Seconds() {
		e.factor, e.cap = e.tr.factor(s), e.tr.limit(s)
		e.nodes(float64(s))
		if s > 0 && s%every == 0 {
			e.decide(s)
		}
		e.until(float64(s + 1))
		e.endSecond(s)
	}
	// What is left in the system comes to its end without arrivals and decisions.
	e.until(math.Inf(1))
}

// until handles all events before a time.
func (e *engine) until(end float64) {
	for {
		at, event := e.next.at, e.arrive
		if len(e.running) > 0 && e.running[0].end < at {
			at, event = e.running[0].end, e.complete
		}
		if f := e.fleet; len(f.starting) > 0 && f.starting[0].ready < at {
			at, event = f.starting[0].ready, e.startReady
		}
		if e.queue.count > 0 {
			if out := e.queue.first().at + e.p.QueueTimeout; out < at {
				at, event = out, e.timeOut
			}
		}
		if at >= end {
			if !math.IsInf(end, 1) {
				e.now = end
			}
			return
		}
		e.now = at
		event()
	}
}

func (e *engine) arrive() {
	r := e.next
	e.next = e.requests.next()
	e.second.Arrivals++
	e.rec.arrival(r.at)
	if e.queue.count == 0 {
		if i := e.fleet.freest(); i >= 0 {
			e.serve(r, i)
			return
		}
	}
	e.integrate()
	e.queue.push(r)
}

// integrate brings the integrals of the second up to now.
func (e *engine) integrate() {
	d := e.now - e.sumAt
	e.second.Busy += float64(e.busy) * d
	e.second.Waiting += float64(e.queue.count) * d
	e.sumAt = e.now
}

// serve gives a request to an idle worker of a node. The dependency's slot is taken first, and the worker waits for it.
func (e *engine) serve(r request, i int) {
	e.integrate()
	begin := e.now
	if e.cap > 0 {
		begin = math.Max(begin, e.free)
		e.free = begin + 1/e.cap
	}
	e.busy++
	e.fleet.nodes[i].setBusy(e.now, 1)
	e.running.push(running{end: begin + r.service*e.factor, at: r.at, begun: e.now, node: int32(i)})
}

func (e *engine) complete() {
	e.integrate()
	r := e.running.pop()
	n := &e.fleet.nodes[r.node]
	n.answered++
	wait, service := r.begun-r.at, e.now-r.begun
	e.second.Completions++
	e.second.Queue += wait
	e.second.Service += service
	if len(e.responses) >= 2*lastResponses {
		e.responses = append(e.responses[:0], e.responses[lastResponses:]...)
		e.services = append(e.services[:0], e.services[lastResponses:]...)
	}
	e.responses = append(e.responses, wait+service)
	e.services = append(e.services, service)
	e.rec.response(r.at, wait+service)
	e.busy--
	if n.draining > 0 {
		e.fleet.pay(e.now)
		n.draining--
	}
	n.setBusy(e.now, -1)
	e.feed()
}

// feed hands waiting requests to idle workers.
func (e *engine) feed() {
	for e.queue.count > 0 {
		i := e.fleet.freest()
		if i < 0 {
			return
		}
		e.integrate()
		e.serve(e.queue.pop(), i)
	}
}

func (e *engine) startReady() {
	f := e.fleet
	f.pay(e.now)
	n := &f.nodes[f.starting[0].node]
	f.starting = f.starting[1:]
	n.starting--
	n.ready++
	e.feed()
}

func (e *engine) timeOut() {
	e.integrate()
	r := e.queue.pop()
	e.second.Errors++
	e.rec.lost(r.at, true)
}

// nodes applies losses and returns of nodes.
func (e *engine) nodes(now float64) {
	for i := range e.fleet.nodes {
		down := false
		for _, l := range e.tr.Lost {
			down = down || l.Node == i && l.holds(now)
		}
		n := &e.fleet.nodes[i]
		switch {
		case down && n.up:
			e.integrate()
			e.fleet.pay(now)
			e.running.take(int32(i), func(r running) {
				e.busy--
				e.second.Errors++
				e.rec.lost(r.at, false)
			})
			e.fleet.lose(now, i)
		case !down && !n.up:
			n.up = true
		}
	}
}

// decide asks the scaler and carries out what it wants.
func (e *engine) decide(s int) {
	e.fleet.pay(e.now)
	o := e.observe(s)
	d := e.scaler.Decide(o)
	e.pending = e.pending[:0]
	e.responses, e.services = e.responses[:0], e.services[:0]
	want := d.Workers
	if d.PerNode == nil {
		want = max(e.p.MinWorkers, min(want, e.p.MaxWorkers))
		e.fleet.spread(want)
	}
	for i := range e.fleet.nodes {
		n := &e.fleet.nodes[i]
		if i < len(d.PerNode) && d.PerNode[i] >= 0 && n.up {
			n.target = min(d.PerNode[i], n.max)
		}
		n.out = i < len(d.Out) && d.Out[i]
	}
	for i := range e.fleet.nodes {
		e.fleet.carryOut(e.now, e.p.WarmUp, i)
	}
	e.feed()
	e.rec.decision(e.now, want, d)
}

// missing and zero tell what became of the metrics of a second.
func (e *engine) missing(t float64) bool { return !e.local && anyHolds(e.tr.Missing, t) }

func (e *engine) zero(t float64) bool { return !e.local && anyHolds(e.tr.Zero, t) }

func (e *engine) endSecond(s int) {
	e.integrate()
	e.second.At = s
	for i := range e.fleet.nodes {
		e.fleet.nodes[i].endSecond(e.now)
	}
	ready, starting, draining, _ := e.fleet.sum()
	e.fleet.pay(e.now)
	e.rec.second(s, e, ready, starting, draining)
	t := float64(s)
	switch {
	case e.missing(t):
	case e.zero(t):
		e.pending = append(e.pending, Second{At: s})
	default:
		e.pending = append(e.pending, e.second)
	}
	e.second = Second{}
}
