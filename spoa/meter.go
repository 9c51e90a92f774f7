package spoa

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/core/window"
)

// MeterOptions bound a Meter. The zero value of each field means its default.
type MeterOptions struct {
	// MaxBackends is the number of backends told apart, 1024 by default; further ones are counted together as Other, by
	// their samples alone. A backend takes about 55 kB, up to 300 kB when it has answered 4096 requests, and 25 kB for
	// each server.
	MaxBackends int
	// MaxServers is the number of servers told apart in one backend, 128 by default; further ones share Other.
	MaxServers int
	// Forget is the time after which a backend or server not heard of is forgotten, one hour by default.
	Forget time.Duration
	// Began is when counting begins: a HAProxy process that started later is counted from its first request, an older one
	// from its first message. The current time by default.
	Began time.Time
	// Metrics is the set to register in; nil makes a private one.
	Metrics *metrics.Set
}

// Meter is a Sink that keeps what a controller wants to know of each backend. It is safe for concurrent use; samples of
// different backends do not wait for each other.
type Meter struct {
	opts   MeterOptions
	folded *metrics.Counter

	mu       sync.RWMutex
	backends map[string]*backend
}

// NewMeter returns an empty meter.
func NewMeter(o MeterOptions) *Meter {
	if o.MaxBackends <= 0 {
		o.MaxBackends = 1024
	}
	if o.MaxServers <= 0 {
		o.MaxServers = 128
	}
	if o.Forget <= 0 {
		o.Forget = time.Hour
	}
	if o.Began.IsZero() {
		o.Began = time.Now()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	return &Meter{
		opts: o, backends: map[string]*backend{},
		folded: o.Metrics.GetOrCreateCounter("tidegate_spoa_folded_total"),
	}
}

// Done records one answered request.
func (m *Meter) Done(now time.Time, s *Sample) { m.backend(now, s.Backend).done(now, s) }

// Heartbeat records one backend's gauges and counters.
func (m *Meter) Heartbeat(now time.Time, g *Gauges) {
	b := m.backend(now, g.Backend)
	if b.name == Other {
		// Gauges and counters of several backends cannot share one record.
		return
	}
	b.heartbeat(now, g)
}

func (m *Meter) backend(now time.Time, name string) *backend {
	m.mu.RLock()
	b := m.backends[name]
	if b == nil && len(m.backends) >= m.opts.MaxBackends {
		b = m.backends[Other]
	}
	m.mu.RUnlock()
	if b != nil {
		if b.name != name {
			m.folded.Inc()
		}
		return b
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.backends[name]; b != nil {
		return b
	}
	if len(m.backends) >= m.opts.MaxBackends {
		m.folded.Inc()
		name = Other
		if b := m.backends[name]; b != nil {
			return b
		}
	}
	b = newBackend(name, now, m.opts.Began, m.opts.MaxServers)
	m.backends[name] = b
	m.register(b)
	return b
}

// BackendReport is what is known of one backend at a tick. Durations are 0 when nothing was timed.
type BackendReport struct {
	Name string
	// LastHeartbeat and LastSample are when HAProxy last spoke of the backend; zero when never. Nothing below is fresher.
	LastHeartbeat, LastSample time.Time
	// Boot names the HAProxy process of the last heartbeat. It changes with every reload and restart.
	Boot string
	// InFlight counts the requests in the backend, queued ones included, Queued those in its queue, Up its usable servers,
	// all as of the last heartbeat.
	InFlight, Queued, Up int
	// Counted tells that HAProxy's own counters have been seen. Started, Finished and NoResponse are added up from them
	// since the meter began, over reloads and restarts; they never go back. Started counts requests that reached the
	// backend, Finished those that left it in any way, NoResponse those that HAProxy answered itself because no server
	// did. Finished less Completions less NoResponse were given up by their clients (or not told, while no agent ran).
	Counted                       bool
	Started, Finished, NoResponse uint64
	// Rate is arrivals per second over the last 10 complete seconds (fewer in the beginning, 0 in the first), from the
	// counters, or from the samples as long as there are none.
	Rate float64
	// Completions counts samples, Errors those with a status of 500 or more, since the meter began.
	Completions, Errors uint64
	// P50, P95 and P99 are of queue + connect + response over the last 25 to 30 seconds, within 1 %.
	P50, P95, P99 time.Duration
	Servers       []ServerReport
	// Samples are the timings since the last Take, oldest first, the newest 4096 of them; Dropped is how many more there
	// were.
	Samples []Timing
	Dropped uint64
}

// ServerReport is what is known of one server of a backend.
type ServerReport struct {
	Name string
	// LastSeen is when it last answered a request, zero when never.
	LastSeen time.Time
	// Requests and Errors count its samples since the meter began, Errors those with a status of 500 or more.
	Requests, Errors uint64
	// InFlight is the number of requests on it as of the last heartbeat.
	InFlight int
	// MeanResponse and P95 are of the response time over the last 20 to 30 seconds.
	MeanResponse, P95 time.Duration
}

// Take returns a report of every backend, by name, and marks its timings as taken. It is meant for one caller, once per
// tick. It also forgets backends and servers not heard of for long.
func (m *Meter) Take(now time.Time) []BackendReport {
	m.forget(now)
	m.mu.RLock()
	list := make([]*backend, 0, len(m.backends))
	for _, b := range m.backends {
		list = append(list, b)
	}
	m.mu.RUnlock()
	slices.SortFunc(list, func(a, b *backend) int { return cmp.Compare(a.name, b.name) })
	reports := make([]BackendReport, len(list))
	var scratch window.Histogram
	for i, b := range list {
		reports[i] = b.report(now, &scratch, m.opts.Forget)
	}
	return reports
}

func (b *backend) report(now time.Time, scratch *window.Histogram, forget time.Duration) BackendReport {
	b.mu.Lock()
	defer b.mu.Unlock()
	sec := b.second(now)
	r := BackendReport{
		Name: b.name, LastHeartbeat: b.lastHeartbeat, LastSample: b.lastSample, Boot: b.boot,
		InFlight: b.inFlight, Queued: b.queued, Up: b.up,
		Counted: b.counted, Started: b.totals.started, Finished: b.totals.finished, NoResponse: b.totals.noresp,
		Rate:        b.seconds.Rate(sec, rateSeconds),
		Completions: b.completions, Errors: b.errors,
	}
	scratch.Reset()
	b.sketch.Merge(sec, scratch)
	r.P50, r.P95, r.P99 = scratch.Quantile(0.5), scratch.Quantile(0.95), scratch.Quantile(0.99)
	r.Samples, r.Dropped = b.timings.Since(nil, b.taken)
	b.taken = b.timings.Last()
	for name, v := range b.servers {
		if now.Sub(v.heard) > forget {
			delete(b.servers, name)
			continue
		}
		scratch.Reset()
		v.sketch.Merge(sec, scratch)
		r.Servers = append(r.Servers, ServerReport{
			Name: name, LastSeen: v.seen, Requests: v.requests, Errors: v.errors, InFlight: v.inFlight,
			MeanResponse: scratch.Mean(), P95: scratch.Quantile(0.95),
		})
	}
	slices.SortFunc(r.Servers, func(a, b ServerReport) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

func (m *Meter) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, b := range m.backends {
		b.mu.Lock()
		gone := now.Sub(b.seen) > m.opts.Forget
		b.mu.Unlock()
		if gone {
			delete(m.backends, name)
			for _, metric := range backendGauges {
				m.opts.Metrics.UnregisterMetric(seriesName(metric.name, name))
			}
		}
	}
}

// backendGauges are the series of each backend; they leave with it.
var backendGauges = []struct {
	name string
	read func(b *backend, now time.Time) float64
}{
	{"tidegate_spoa_backend_arrivals_per_second", func(b *backend, now time.Time) float64 { return b.seconds.Rate(b.second(now), rateSeconds) }},
	{"tidegate_spoa_backend_in_flight", func(b *backend, _ time.Time) float64 { return float64(b.inFlight) }},
	{"tidegate_spoa_backend_queued", func(b *backend, _ time.Time) float64 { return float64(b.queued) }},
	{"tidegate_spoa_backend_heartbeat_age_seconds", func(b *backend, now time.Time) float64 {
		if b.lastHeartbeat.IsZero() {
			return now.Sub(b.began).Seconds()
		}
		return now.Sub(b.lastHeartbeat).Seconds()
	}},
}

func (m *Meter) register(b *backend) {
	for _, metric := range backendGauges {
		m.opts.Metrics.GetOrCreateGauge(seriesName(metric.name, b.name), func() float64 {
			now := time.Now()
			b.mu.Lock()
			defer b.mu.Unlock()
			return metric.read(b, now)
		})
	}
}

func seriesName(metric, backend string) string { return fmt.Sprintf("%s{backend=%q}", metric, backend) }
