package srv

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// meters are the package's metrics.
type meters struct{ set *metrics.Set }

func newMeters(set *metrics.Set) *meters {
	if set == nil {
		set = metrics.NewSet()
	}
	m := &meters{set}
	// The series that an alert looks at exist from the start.
	for _, answer := range []string{"ok", "truncated", "servfail", "refused"} {
		m.counter("srv", answer)
	}
	m.counter("none", "dropped")
	return m
}

func (m *meters) counter(kind, answer string) *metrics.Counter {
	return m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_nginx_dns_queries_total{type=%q,answer=%q}`, kind, answer))
}

func (m *meters) query(kind, answer string) { m.counter(kind, answer).Inc() }

func ageOf(upstream string) string {
	return fmt.Sprintf(`tidegate_nginx_dns_query_age_seconds{upstream=%q}`, upstream)
}

// watch shows how long ago an upstream was asked for, -1 for never.
func (m *meters) watch(upstream string, last func() time.Time) {
	m.set.GetOrCreateGauge(ageOf(upstream), func() float64 {
		if at := last(); !at.IsZero() {
			return time.Since(at).Seconds()
		}
		return -1
	})
}

func (m *meters) forget(upstream string) { m.set.UnregisterMetric(ageOf(upstream)) }
