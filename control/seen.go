package control

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// Seen is what changed in the observation since the turn before, as the journal has it: all that the core decides on, nothing that is
// only reported (ages, quantiles, a node's load).
type Seen struct {
	Problem string `json:"problem,omitempty"`
	// Nodes are all of them, nil when they are as before.
	Nodes []core.NodeObs `json:"nodes,omitempty"`
	// Apps are those of which anything was told or changed.
	Apps []AppSeen `json:"apps,omitempty"`
}

// AppSeen is one app: as a whole when something changed that changes rarely, else numbers only. Zeros at the end of a list are left out.
type AppSeen struct {
	App   string       `json:"app"`
	Whole *core.AppObs `json:"whole,omitempty"`
	// Counts are the share of errors, requests in flight and queued by the traffic data, requests in the backend and in its queue.
	Counts []float64 `json:"counts,omitempty"`
	// Seconds are at (relative to the observation's second), span, arrivals, completions, errors, timed, queue, connect, service, and
	// busy where it was told.
	Seconds [][]float64 `json:"seconds,omitempty"`
	// Servers are the changed ones: place in the list, weight, requests, queued requests, workers in all, ready, starting, draining, busy,
	// target, good answers.
	Servers [][]float64 `json:"servers,omitempty"`
	// Backlog is items, in, out, oldest, service.
	Backlog []float64 `json:"backlog,omitempty"`
	// Responses are in nanoseconds.
	Responses []int64 `json:"responses_ns,omitempty"`
}

// decisive is a copy of an observation without what is only reported. Response times decide with the strategy latency alone.
func decisive(o core.Observation, p core.Policy) core.Observation {
	byTimes := map[string]bool{}
	for i := range p.Apps {
		byTimes[p.Apps[i].Name] = p.Apps[i].Strategy == core.Latency
	}
	o.Apps, o.Nodes = slices.Clone(o.Apps), slices.Clone(o.Nodes)
	for i := range o.Nodes {
		n := &o.Nodes[i]
		n.Capacity, n.CPU, n.Memory = 0, -1, -1
	}
	for i := range o.Apps {
		a := &o.Apps[i]
		t := &a.Traffic
		t.Rate, t.Age, t.P50, t.P95, t.P99 = 0, 0, 0, 0, 0
		if !byTimes[a.Name] {
			t.Responses = nil
		}
		a.Servers = slices.Clone(a.Servers)
		for k := range a.Servers {
			a.Servers[k].Pool.Age = 0
		}
	}
	return o
}

// changes is what leads from one decisive observation to the next.
func changes(from, to *core.Observation) *Seen {
	s := &Seen{Problem: to.Problem}
	if !slices.Equal(from.Nodes, to.Nodes) {
		s.Nodes = to.Nodes
	}
	for i := range to.Apps {
		a := &to.Apps[i]
		if i >= len(from.Apps) || !alike(&from.Apps[i], a) {
			s.Apps = append(s.Apps, AppSeen{App: a.Name, Whole: a})
			continue
		}
		if d := numbers(&from.Apps[i], a, to.Now.Unix()); d != nil {
			s.Apps = append(s.Apps, *d)
		}
	}
	return s
}

// alike tells that two observations of an app differ in nothing but what numbers can tell. A field that is new to this file makes them
// differ, so nothing is lost.
func alike(a, b *core.AppObs) bool {
	if len(a.Servers) != len(b.Servers) {
		return false
	}
	for i := range a.Servers {
		if x, y := a.Servers[i], b.Servers[i]; x != y {
			if setServer(&x, nil) != nil || setServer(&y, nil) != nil || x != y {
				return false
			}
		}
	}
	x, y := *a, *b
	for _, o := range []*core.AppObs{&x, &y} {
		o.Servers, o.Traffic.Seconds, o.Traffic.Responses = nil, nil, nil
		if setCounts(o, nil) != nil {
			return false
		}
		if o.Backlog != nil {
			b := *o.Backlog
			if setBacklog(&b, nil) != nil {
				return false
			}
			o.Backlog = &b
		}
		if len(o.Orders) == 0 {
			o.Orders = nil
		}
	}
	return maps.Equal(x.Web.Weights, y.Web.Weights) && reflect.DeepEqual(x, y)
}

// numbers is what leads from a to b, which are alike; nil for nothing.
func numbers(a, b *core.AppObs, now int64) *AppSeen {
	d := AppSeen{App: b.Name}
	if was, is := counts(a), counts(b); !slices.Equal(was, is) {
		// A list that is there but empty would be left out.
		d.Counts = orZero(is)
	}
	for i := range b.Traffic.Seconds {
		d.Seconds = append(d.Seconds, second(&b.Traffic.Seconds[i], now))
	}
	for i := range b.Servers {
		if a.Servers[i] != b.Servers[i] {
			d.Servers = append(d.Servers, server(i, &b.Servers[i]))
		}
	}
	if a.Backlog != nil && *a.Backlog != *b.Backlog {
		d.Backlog = orZero(backlogNumbers(b.Backlog))
	}
	for _, r := range b.Traffic.Responses {
		d.Responses = append(d.Responses, int64(r))
	}
	if d.Counts == nil && d.Seconds == nil && d.Servers == nil && d.Backlog == nil && d.Responses == nil {
		return nil
	}
	return &d
}

// trim leaves the zeros at the end out.
func trim(v []float64) []float64 {
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return v
}

func orZero(v []float64) []float64 {
	if len(v) == 0 {
		return []float64{0}
	}
	return v
}

func counts(a *core.AppObs) []float64 {
	t := &a.Traffic
	return trim([]float64{t.Errors, float64(t.InFlight), float64(t.Queued), float64(a.Proxy.Current), float64(a.Proxy.Queued)})
}

func second(s *sizing.Second, now int64) []float64 {
	v := []float64{float64(s.At - now), float64(s.Span), s.Arrivals, s.Completions, s.Errors, s.Timed, s.Queue, s.Connect, s.Service}
	if s.Busy != nil {
		return append(v, *s.Busy)
	}
	return trim(v)
}

func server(i int, s *core.ServerObs) []float64 {
	x, p := &s.Proxy, &s.Pool
	return append([]float64{float64(i)}, trim([]float64{
		float64(x.Weight), float64(x.Current), float64(x.Queued), float64(p.Total), float64(p.Ready), float64(p.Starting), float64(p.Draining), p.Busy, float64(p.Target), float64(s.Answers),
		oneIf(p.Ordered), float64(p.Min), float64(p.Max), float64(p.Step), oneIf(p.Drained), oneIf(p.OldFirst),
	})...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func backlogNumbers(b *sizing.Backlog) []float64 {
	return trim([]float64{b.Items, b.In, b.Out, b.Oldest, b.Service})
}

// padded is v with zeros up to n numbers, and an error when there are more.
func padded(what string, v []float64, n int) ([]float64, error) {
	if len(v) > n {
		return nil, fmt.Errorf("%s has %d numbers, at most %d are allowed", what, len(v), n)
	}
	return append(slices.Clone(v), make([]float64, n-len(v))...), nil
}

func setCounts(a *core.AppObs, v []float64) error {
	v, err := padded("counts", v, 5)
	if err != nil {
		return err
	}
	a.Traffic.Errors, a.Traffic.InFlight, a.Traffic.Queued, a.Proxy.Current, a.Proxy.Queued = v[0], int(v[1]), int(v[2]), int(v[3]), int(v[4])
	return nil
}

func setServer(s *core.ServerObs, v []float64) error {
	v, err := padded("a server", v, 16)
	if err != nil {
		return err
	}
	x, p := &s.Proxy, &s.Pool
	x.Weight, x.Current, x.Queued = int(v[0]), int(v[1]), int(v[2])
	p.Total, p.Ready, p.Starting, p.Draining, p.Busy, p.Target = int(v[3]), int(v[4]), int(v[5]), int(v[6]), v[7], int(v[8])
	s.Answers = int(v[9])
	p.Ordered, p.Min, p.Max, p.Step, p.Drained = v[10] != 0, int(v[11]), int(v[12]), int(v[13]), v[14] != 0
	p.OldFirst = v[15] != 0
	return nil
}

func setBacklog(b *sizing.Backlog, v []float64) error {
	v, err := padded("a backlog", v, 5)
	if err != nil {
		return err
	}
	b.Items, b.In, b.Out, b.Oldest, b.Service = v[0], v[1], v[2], v[3], v[4]
	return nil
}
