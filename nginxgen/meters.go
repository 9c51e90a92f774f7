package nginxgen

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// meters are the package's metrics. Managers that share a set share the counters.
type meters struct {
	set                                 *metrics.Set
	drift                               *metrics.Counter
	generation, pending, oldGenerations *metrics.Gauge
	drifted                             *metrics.Gauge
	seconds                             *metrics.PrometheusHistogram
}

func newMeters(set *metrics.Set) *meters {
	if set == nil {
		set = metrics.NewSet()
	}
	m := &meters{
		set:            set,
		drift:          set.GetOrCreateCounter("tidegate_nginx_drift_total"),
		drifted:        set.GetOrCreateGauge("tidegate_nginx_drifted_files", nil),
		generation:     set.GetOrCreateGauge("tidegate_nginx_generation", nil),
		pending:        set.GetOrCreateGauge("tidegate_nginx_pending_seconds", nil),
		oldGenerations: set.GetOrCreateGauge("tidegate_nginx_old_generations", nil),
		seconds:        set.GetOrCreatePrometheusHistogramExt("tidegate_nginx_reload_seconds", []float64{0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10}),
	}
	// All series exist from the start, so that a rate over them sees the first event.
	for r := range resultNames {
		m.results(Result(r))
	}
	for _, r := range reasons {
		m.reloads(r, "ok")
		m.reloads(r, "failed")
	}
	for _, h := range holds {
		m.holds(h)
	}
	return m
}

// results counts calls of Apply; refused and rolled_back are what an alert looks at.
func (m *meters) results(r Result) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_applies_total{result=%q}`, r.String()))
}

func (m *meters) reloads(reason Reason, result string) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_reloads_total{reason=%q,result=%q}`, string(reason), result))
}

// holds counts how often a change began to be held for a reason.
func (m *meters) holds(h Hold) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_held_total{reason=%q}`, string(h)))
}

func (m *meters) reload(reason Reason, result string, took time.Duration) {
	m.reloads(reason, result).Inc()
	m.seconds.Update(took.Seconds())
}
