package nginxgen

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// meters are the package's metrics. Managers that share a set share the counters.
type meters struct {
	set                 *metrics.Set
	drift               *metrics.Counter
	generation, pending *metrics.Gauge
	seconds             *metrics.PrometheusHistogram
}

func newMeters(set *metrics.Set) *meters {
	if set == nil {
		set = metrics.NewSet()
	}
	m := &meters{
		set:        set,
		drift:      set.GetOrCreateCounter("tidegate_nginx_drift_total"),
		generation: set.GetOrCreateGauge("tidegate_nginx_generation", nil),
		pending:    set.GetOrCreateGauge("tidegate_nginx_pending_seconds", nil),
		seconds:    set.GetOrCreatePrometheusHistogramExt("tidegate_nginx_reload_seconds", []float64{0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10}),
	}
	// All series exist from the start, so that a rate over them sees the first event.
	for r := range resultNames {
		m.results(Result(r))
	}
	m.reloads("ok")
	m.reloads("failed")
	return m
}

// results counts calls of Apply; refused and rolled_back are what an alert looks at.
func (m *meters) results(r Result) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_applies_total{result=%q}`, r.String()))
}

func (m *meters) reloads(result string) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_reloads_total{result=%q}`, result))
}

func (m *meters) applied(r Result) { m.results(r).Inc() }

func (m *meters) reload(result string, took time.Duration) {
	m.reloads(result).Inc()
	m.seconds.Update(took.Seconds())
}
