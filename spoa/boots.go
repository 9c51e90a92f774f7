package spoa

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// bootSeries is one gauge for each HAProxy process: when it last said something with counters, as seconds since 1970. The
// newest maxBootSeries are kept; the others, and those silent for long, are unregistered.
type bootSeries struct {
	set  *metrics.Set
	last map[string]*metrics.Gauge
}

const maxBootSeries = 16

func newBootSeries(set *metrics.Set) *bootSeries {
	return &bootSeries{set: set, last: map[string]*metrics.Gauge{}}
}

func bootSeriesName(boot string) string {
	return fmt.Sprintf("tidegate_spoa_haproxy_last_message_timestamp_seconds{boot=%q}", boot)
}

// update looks at what the backends know of their processes; called by one goroutine, once a tick.
func (s *bootSeries) update(now time.Time, list []*backend, forget time.Duration) {
	seen := map[string]time.Time{}
	for _, b := range list {
		b.mu.Lock()
		for i := range b.totals.boots {
			p := &b.totals.boots[i]
			if at := b.when(p.seen); p.used && now.Sub(at) <= forget && at.After(seen[p.id]) {
				seen[p.id] = at
			}
		}
		b.mu.Unlock()
	}
	for len(seen) > maxBootSeries {
		oldest := ""
		for id, at := range seen {
			if oldest == "" || at.Before(seen[oldest]) {
				oldest = id
			}
		}
		delete(seen, oldest)
	}
	for id := range s.last {
		if _, ok := seen[id]; !ok {
			s.set.UnregisterMetric(bootSeriesName(id))
			delete(s.last, id)
		}
	}
	for id, at := range seen {
		g := s.last[id]
		if g == nil {
			g = s.set.GetOrCreateGauge(bootSeriesName(id), nil)
			s.last[id] = g
		}
		g.Set(float64(at.UnixMilli()) / 1000)
	}
}
