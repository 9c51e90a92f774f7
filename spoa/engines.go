package spoa

import (
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

const (
	maxEngines = 64
	// Connections beyond maxEngines, and those that name no engine, as before their HELLO.
	otherEngine = "other"
	noEngine    = "none"
)

// engines counts open connections by HAProxy's engine-id: one for each thread and filter on HAProxy <= 3.0, one for each
// filter after that. The ids come from the wire and are long and random, so the label is a hash of eight digits; a series
// goes with its last connection.
type engines struct {
	set  *metrics.Set
	mu   sync.Mutex
	open map[string]*engine
}

type engine struct {
	label string
	conns int
	gauge *metrics.Gauge
}

func newEngines(set *metrics.Set) *engines { return &engines{set: set, open: map[string]*engine{}} }

func engineSeries(label string) string {
	return fmt.Sprintf("tidegate_spoa_engine_connections{engine=%q}", label)
}

// enter counts a connection; what it returns is for leave.
func (e *engines) enter(id []byte) *engine {
	label := noEngine
	if len(id) > 0 {
		h := fnv.New32a()
		_, _ = h.Write(id)
		label = fmt.Sprintf("%08x", h.Sum32())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[label] == nil && len(e.open) >= maxEngines {
		label = otherEngine
	}
	n := e.open[label]
	if n == nil {
		n = &engine{label: label, gauge: e.set.GetOrCreateGauge(engineSeries(label), nil)}
		e.open[label] = n
	}
	n.conns++
	n.gauge.Set(float64(n.conns))
	return n
}

func (e *engines) leave(n *engine) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n.conns--
	n.gauge.Set(float64(n.conns))
	if n.conns == 0 {
		delete(e.open, n.label)
		e.set.UnregisterMetric(engineSeries(n.label))
	}
}
