package sim

import (
	"fmt"
	"math"
)

// Params is the app and its fleet.
type Params struct {
	// Service is the mean service time in seconds, CV its coefficient of variation (lognormal; 0 for constant).
	Service float64 `json:"service"`
	CV      float64 `json:"cv"`
	// Exponential makes service times exponential instead, whatever CV says: what the formulas of M/M/c are about.
	Exponential bool `json:"exponential,omitempty"`
	// SLO is the response time in seconds above which a request is slow.
	SLO float64 `json:"slo"`
	// QueueTimeout is how long a request waits before it gets a 503.
	QueueTimeout float64 `json:"queue_timeout"`
	// WarmUp is the time from the order of a worker to its first request. It is paid for.
	WarmUp float64 `json:"warm_up"`
	// Nodes hold MaxWorkers in equal parts; at least MinWorkers are always kept.
	Nodes      int `json:"nodes"`
	MinWorkers int `json:"min_workers"`
	MaxWorkers int `json:"max_workers"`
	// PerNode is how many workers each node can hold, where that is not the same for all; its length is Nodes then.
	PerNode []int `json:"per_node,omitempty"`
	// Unmeasured is the time at the beginning that no figure counts.
	Unmeasured float64 `json:"unmeasured"`
	// Initial is the number of workers that are ready at the beginning; 0 is what the first rate needs.
	Initial int `json:"initial,omitempty"`
}

// DefaultParams is the app of the evaluation protocol: 80 ms, 500 ms, 45 s, eight nodes of 20 workers.
func DefaultParams() Params {
	return Params{
		Service: 0.08, CV: 1, SLO: 0.5, QueueTimeout: 5, WarmUp: 45,
		Nodes: 8, MinWorkers: 4, MaxWorkers: 160, Unmeasured: 600,
	}
}

// Check says what is wrong with the parameters, in one sentence.
func (p Params) Check() error {
	for _, f := range []struct {
		name     string
		value    float64
		from, to float64
	}{
		{"the service time in seconds", p.Service, 1e-4, 3600},
		{"the coefficient of variation", p.CV, 0, 20},
		{"the SLO in seconds", p.SLO, 1e-3, 3600},
		{"the queue time-out in seconds", p.QueueTimeout, 1e-3, 3600},
		{"the warm-up in seconds", p.WarmUp, 0, 3600},
		{"the number of nodes", float64(p.Nodes), 1, 1000},
		{"the least number of workers", float64(p.MinWorkers), 1, 100000},
		{"the largest number of workers", float64(p.MaxWorkers), float64(p.MinWorkers), 100000},
		{"the initial number of workers", float64(p.Initial), 0, float64(p.MaxWorkers)},
		{"the unmeasured time in seconds", p.Unmeasured, 0, 1e6},
	} {
		if !(f.value >= f.from && f.value <= f.to) || math.IsNaN(f.value) {
			return fmt.Errorf("%s is %v; allowed is %v to %v", f.name, f.value, f.from, f.to)
		}
	}
	sum := 0
	for _, n := range p.PerNode {
		if n < 1 {
			return fmt.Errorf("a node holds %d workers; allowed is 1 and more", n)
		}
		sum += n
	}
	if p.PerNode != nil && (len(p.PerNode) != p.Nodes || sum < p.MaxWorkers) {
		return fmt.Errorf("%d nodes that hold %v workers cannot hold %d", p.Nodes, p.PerNode, p.MaxWorkers)
	}
	return nil
}

// nodes are the nodes' maxima: a trace may replace the number of nodes, which are equal then.
func (p Params) nodes(replaced int) []int {
	if replaced == 0 && len(p.PerNode) == p.Nodes {
		return p.PerNode
	}
	n := p.Nodes
	if replaced > 0 {
		n = replaced
	}
	out := make([]int, n)
	for i := range out {
		out[i] = (p.MaxWorkers + n - 1) / n
	}
	return out
}
