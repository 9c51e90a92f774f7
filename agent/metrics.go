package agent

import (
	"fmt"
	"math"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/agent/adapter"
)

// registry puts series into a set and takes exactly those out again.
type registry struct {
	set   *metrics.Set
	names []string
}

func newRegistry(set *metrics.Set) *registry { return &registry{set: set} }

func (r *registry) counter(name string) *metrics.Counter {
	r.names = append(r.names, name)
	return r.set.GetOrCreateCounter(name)
}

func (r *registry) gauge(name string, f func() float64) {
	r.names = append(r.names, name)
	r.set.UnregisterMetric(name)
	r.set.GetOrCreateGauge(name, f)
}

func (r *registry) close() {
	for _, name := range r.names {
		r.set.UnregisterMetric(name)
	}
	r.names = nil
}

// appMetrics are the counters of one application.
type appMetrics struct {
	up, down, failed, changes, removed *metrics.Counter
	scans                              *metrics.PrometheusHistogram
	// mine are the counters that an adapter keeps itself.
	mine []ownCounter
}

type ownCounter struct {
	of  adapter.Counter
	met *metrics.Counter
}

// own takes over what the adapters have counted.
func (m *appMetrics) own() {
	for _, c := range m.mine {
		c.met.Set(c.of.Value())
	}
}

// app registers the series of one application. Names were checked by New, so they need no quoting.
func (r *registry) app(a *app) *appMetrics {
	label := func(name, more string) string {
		return fmt.Sprintf(`tidegate_agent_%s{app=%q%s}`, name, a.cfg.Name, more)
	}
	gauge := func(name, more string, f func(AppReport) float64) {
		r.gauge(label(name, more), func() float64 { return f(a.report(time.Now())) })
	}
	gauge("known", "", func(r AppReport) float64 {
		if r.Known {
			return 1
		}
		return 0
	})
	gauge("workers", `,state="ready"`, func(r AppReport) float64 { return float64(r.Ready) })
	gauge("workers", `,state="starting"`, func(r AppReport) float64 { return float64(r.Starting) })
	gauge("workers", `,state="draining"`, func(r AppReport) float64 { return float64(r.Draining) })
	gauge("target_workers", "", func(r AppReport) float64 { return float64(r.Target) })
	gauge("busy_requests", "", func(r AppReport) float64 { return float64(r.Busy) })
	gauge("busy_mean_requests", "", func(r AppReport) float64 { return r.BusyMean })
	gauge("sample_age_seconds", "", func(r AppReport) float64 { return r.SampleAge().Seconds() })
	gauge("cpu_cores", "", func(r AppReport) float64 {
		if r.CPU == nil {
			return math.NaN()
		}
		return *r.CPU
	})
	for _, kind := range []string{MemPSS, MemRSS} {
		gauge("memory_bytes", fmt.Sprintf(`,kind=%q`, kind), func(r AppReport) float64 {
			if r.MemoryKind != kind {
				return math.NaN()
			}
			return float64(*r.Memory)
		})
	}
	r.gauge(label("foreign_names", ""), func() float64 { return float64(a.foreign.Load()) })
	scans := label("scan_duration_seconds", "")
	r.names = append(r.names, scans)
	var mine []ownCounter
	for _, d := range []any{a.src, a.act} {
		if c, ok := d.(adapter.Counted); ok {
			for _, of := range c.Counters() {
				mine = append(mine, ownCounter{of: of, met: r.counter(label(of.Name, ""))})
			}
		}
	}
	return &appMetrics{
		mine:    mine,
		up:      r.counter(label("steps_total", `,step="up"`)),
		down:    r.counter(label("steps_total", `,step="down"`)),
		failed:  r.counter(label("step_failures_total", "")),
		changes: r.counter(label("master_changes_total", "")),
		removed: r.counter(label("stale_marks_removed_total", "")),
		scans:   r.set.GetOrCreatePrometheusHistogramExt(scans, []float64{.0001, .0003, .001, .003, .01, .03, .1, .3}),
	}
}

// host registers the series of the machine.
func (r *registry) host(h *hostSampler) {
	gauge := func(name string, f func(Host) float64) {
		r.gauge("tidegate_agent_host_"+name, func() float64 { return f(h.get()) })
	}
	gauge("cpus", func(h Host) float64 { return float64(h.CPUs) })
	gauge("load1", func(h Host) float64 { return h.Load1 })
	gauge("cpu_busy_ratio", func(h Host) float64 { return h.CPUBusy })
	gauge("cpu_steal_ratio", func(h Host) float64 { return h.CPUSteal })
	for name, f := range map[string]func(Host) *float64{
		"psi_cpu_some_avg10":    func(h Host) *float64 { return h.PSICPUSome10 },
		"psi_memory_some_avg10": func(h Host) *float64 { return h.PSIMemorySome10 },
		"psi_io_some_avg10":     func(h Host) *float64 { return h.PSIIOSome10 },
	} {
		gauge(name, func(h Host) float64 {
			if p := f(h); p != nil {
				return *p
			}
			return math.NaN()
		})
	}
	gauge("memory_total_bytes", func(h Host) float64 { return float64(h.MemTotal) })
	gauge("memory_available_bytes", func(h Host) float64 { return float64(h.MemAvailable) })
}
