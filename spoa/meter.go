package spoa

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/core/window"
)

// MeterOptions bound a Meter. The zero value of each field means its default.
type MeterOptions struct {
	// MaxBackends is the number of backends told apart, 1024 by default; further ones are counted together as Other, by
	// their samples alone. A backend takes about 4 kB, a server 250 bytes, and both what they need of Memory.
	MaxBackends int
	// MaxServers is the number of servers told apart in one backend, 128 by default and at most 65,000; further ones
	// share Other.
	MaxServers int
	// Memory is the number of bytes that all windows may take together for what grows with traffic: the seconds of the
	// last hour, latencies, timings not yet taken; 6 MB by default. When it is short, old seconds are merged to tens.
	Memory int64
	// Forget is the time after which a backend or server not heard of is forgotten, one hour by default.
	Forget time.Duration
	// OpenExpire is the time after which a request whose end nobody has told is no longer taken for open, two minutes by
	// default, where there are arrival messages. Without them, OldestOpen is told up to it. It should be what a request may take at most.
	OpenExpire time.Duration
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
	shared *shared
	folded *metrics.Counter
	// dropped counts timings that were not taken in time, forced latencies for which there was no memory.
	dropped, forced *metrics.Counter
	// untracked counts arrivals that were not entered into the set of open requests.
	untracked *metrics.Counter

	// takes is held by the one who takes; boots is his.
	takes sync.Mutex
	boots *bootSeries

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
	o.MaxServers = min(o.MaxServers, 65_000)
	if o.Memory <= 0 {
		o.Memory = 6 << 20
	}
	if o.Forget <= 0 {
		o.Forget = time.Hour
	}
	if o.OpenExpire <= 0 {
		o.OpenExpire = 2 * time.Minute
	}
	if o.Began.IsZero() {
		o.Began = time.Now()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	budget := window.NewBudget(o.Memory, func() window.Number { return new(atomic.Int64) })
	m := &Meter{
		opts: o, backends: map[string]*backend{},
		shared: &shared{
			began: o.Began, maxServers: o.MaxServers, budget: budget, openExpire: o.OpenExpire,
			backendKind: window.NewSketches(spanSeconds, backendParts, budget),
			serverKind:  window.NewSketches(spanSeconds, serverParts, budget),
		},
		folded:  o.Metrics.GetOrCreateCounter("tidegate_spoa_folded_total"),
		dropped: o.Metrics.GetOrCreateCounter(`tidegate_spoa_samples_dropped_total{what="timing"}`),
		forced:  o.Metrics.GetOrCreateCounter(`tidegate_spoa_samples_dropped_total{what="latency"}`),
		boots:   newBootSeries(o.Metrics),

		untracked: o.Metrics.GetOrCreateCounter(`tidegate_spoa_samples_dropped_total{what="arrival"}`),
	}
	o.Metrics.GetOrCreateGauge("tidegate_spoa_window_bytes", func() float64 { return float64(budget.Used()) })
	o.Metrics.RegisterMetricsWriter(m.writeMetrics)
	return m
}

// Done records one answered request.
func (m *Meter) Done(now time.Time, s *Sample) {
	at, a := m.shared.moment(m.shared.at(now)), answerOf(s)
	m.done(now, &at, &a, s.ID, &known{backendName: s.Backend, serverName: s.Server})
}

// done is Done of an answer, at a time that is known in both ways, for a connection that keeps in k where it belongs.
func (m *Meter) done(now time.Time, at *moment, a *answer, id []byte, k *known) {
	for k.backend == nil || !k.backend.done(at, a, id, k) {
		b := m.backend(now, k.backendName)
		k.server = nil
		if k.backend = nil; b.name == k.backendName {
			k.backend = b
		} else if b.done(at, a, id, k) {
			return
		}
	}
}

// Heartbeat records one backend's gauges and counters.
func (m *Meter) Heartbeat(now time.Time, g *Gauges) {
	for {
		b := m.backend(now, g.Backend)
		// Gauges and counters of several backends cannot share one record.
		if b.name == Other || b.heartbeat(m.shared.at(now), g) {
			return
		}
	}
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
	b = newBackend(name, now, m.shared)
	m.backends[name] = b
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
	// Rate60 is the same over the last 60 seconds.
	Rate60 float64
	// Completions counts requests that a server answered, since the meter began: HAProxy's own count where it sends one, as it
	// does when only a share of the requests is sampled, else the samples. Sampled counts the samples, Errors those of them
	// with a status of 500 or more: of all completions, the errors are about Errors * Completions / Sampled.
	Completions, Sampled, Errors uint64
	// Arrivals counts arrival messages since the meter began, which are optional: without them, it is 0 and Open is Absent.
	// Open is the number of requests known to be open, that is, neither answered nor ended otherwise, and never
	// more than InFlight. OldestOpen is how long ago the oldest open request came, 0 when none is known; without arrival messages, it is
	// told from the counters, to about two seconds, and up to OpenExpire. Both are lower bounds; without arrival messages, the age may be
	// two or three seconds too high where HAProxy's messages have stopped for as long.
	Arrivals   uint64
	Open       int
	OldestOpen time.Duration
	// P50, P95 and P99 are of queue + connect + response over the last 25 to 30 seconds, within 1 %.
	P50, P95, P99 time.Duration
	Servers       []ServerReport
	// Samples are timings since they were last taken, oldest first: all of them, or when they are more than 4096 (fewer when Memory is
	// short), at least half as many, chosen by chance and evenly spread. Dropped is how many more there were.
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
	var reports []BackendReport
	m.Each(now, func(r *BackendReport) {
		c := *r
		c.Servers, c.Samples = slices.Clone(r.Servers), slices.Clone(r.Samples)
		reports = append(reports, c)
	})
	return reports
}

// Each is Take without the memory: f gets one report after the other, and must keep neither it nor its slices.
func (m *Meter) Each(now time.Time, f func(r *BackendReport)) {
	m.takes.Lock()
	defer m.takes.Unlock()
	list := m.list()
	slices.SortFunc(list, func(a, b *backend) int { return cmp.Compare(a.name, b.name) })
	var r BackendReport
	var scratch window.Histogram
	for _, b := range list {
		if b.report(now, &r, &scratch, m.opts.Forget) {
			m.dropped.AddInt64(int64(r.Dropped))
			f(&r)
		} else {
			m.forget(b)
		}
	}
	m.boots.update(now, list, m.opts.Forget)
	m.forced.Set(m.shared.backendKind.Forced() + m.shared.serverKind.Forced())
}

func (m *Meter) list() []*backend {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]*backend, 0, len(m.backends))
	for _, b := range m.backends {
		list = append(list, b)
	}
	return list
}

// Sum adds up what happened in a backend in the n complete seconds before now, n up to 3600, and tells how many of them
// it can speak for: fewer when the backend has not been known for so long, or Memory was short. Without counters,
// arrivals are completions. Errors and times are those of the samples. ok is false when there is no such backend.
func (m *Meter) Sum(now time.Time, backend string, n int) (total window.Bucket, covered int, ok bool) {
	b := m.find(backend)
	if b == nil {
		return total, 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	total, covered = b.seconds.Sum(second(b.at(now)), min(n, 3600))
	return total, covered, true
}

// SumServer is Sum for one server, in whole minutes: it speaks for the minutes that lie in the n seconds before now, and
// for the running one. Arrivals are completions. A server that has not answered yet has no time covered.
func (m *Meter) SumServer(now time.Time, backend, server string, n int) (total window.Bucket, covered int, ok bool) {
	b := m.find(backend)
	if b == nil {
		return total, 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.servers[server]
	if v == nil || v.work == nil {
		return total, 0, v != nil
	}
	total, covered = v.work.minutes.Sum(second(b.at(now)), min(n, 3600))
	return total, covered, true
}

func (m *Meter) find(name string) *backend {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.backends[name]
}

// report fills r and marks the timings as taken; false when the backend has not been heard of for so long that it is to be
// forgotten, which has then begun.
func (b *backend) report(now time.Time, r *BackendReport, scratch *window.Histogram, forget time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.at(now)
	if at-b.seen > int64(forget) {
		b.release()
		return false
	}
	sec := second(at)
	*r = BackendReport{
		Name: b.name, LastHeartbeat: b.when(b.lastHeartbeat), LastSample: b.when(b.lastSample), Boot: b.boot,
		InFlight: b.inFlight, Queued: b.queued, Up: b.up,
		Counted: b.counted, Started: b.totals.started, Finished: b.totals.finished, NoResponse: b.totals.noresp,
		Rate: b.seconds.Rate(sec, rateSeconds), Rate60: b.seconds.Rate(sec, longRate),
		Completions: b.completions, Sampled: b.sampled, Errors: b.errors,
		Servers: r.Servers[:0], Samples: r.Samples[:0],
	}
	b.addOpen(at, r)
	scratch.Reset()
	if b.sketch.Merge(sec, scratch) {
		r.P50, r.P95, r.P99 = scratch.Quantile(0.5), scratch.Quantile(0.95), scratch.Quantile(0.99)
	} else {
		b.sketch.Trim(sec)
	}
	r.Dropped = b.timings.Take(func(t *timing) {
		r.Samples = append(r.Samples, Timing{b.byID[t.server].name, int(t.status), t.queue.duration(), t.connect.duration(), t.response.duration()})
	})
	for _, v := range b.servers {
		if at-v.lastHeard() > int64(forget) {
			b.dropServer(v)
			continue
		}
		s := ServerReport{Name: v.name, InFlight: int(v.inFlight)}
		if w := v.work; w != nil {
			s.LastSeen, s.Requests, s.Errors = b.when(w.seen), w.requests, w.errors
			scratch.Reset()
			if w.sketch.Merge(sec, scratch) {
				s.MeanResponse, s.P95 = scratch.Mean(), scratch.Quantile(0.95)
			} else {
				w.sketch.Trim(sec)
			}
		}
		r.Servers = append(r.Servers, s)
	}
	slices.SortFunc(r.Servers, func(a, b ServerReport) int { return cmp.Compare(a.Name, b.Name) })
	return true
}

// forget takes a backend that has ended out of the table.
func (m *Meter) forget(b *backend) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.backends[b.name] == b {
		delete(m.backends, b.name)
	}
}

// backendGauges are the series of each backend. They are written from the table itself: registered one by one, they would
// take more memory than the backends.
var backendGauges = []struct {
	name string
	read func(b *backend, at int64) float64
}{
	{"tidegate_spoa_backend_arrivals_per_second", func(b *backend, at int64) float64 { return b.seconds.Rate(second(at), rateSeconds) }},
	{"tidegate_spoa_backend_in_flight", func(b *backend, _ int64) float64 { return float64(b.inFlight) }},
	{"tidegate_spoa_backend_queued", func(b *backend, _ int64) float64 { return float64(b.queued) }},
	{"tidegate_spoa_backend_heartbeat_age_seconds", func(b *backend, at int64) float64 {
		if b.lastHeartbeat == never {
			return time.Duration(at).Seconds()
		}
		return time.Duration(at - b.lastHeartbeat).Seconds()
	}},
}

func (m *Meter) writeMetrics(w io.Writer) {
	list := m.list()
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b *backend) int { return cmp.Compare(a.name, b.name) })
	at := m.shared.at(time.Now())
	for _, metric := range backendGauges {
		metrics.WriteMetadataIfNeeded(w, metric.name, "gauge")
		for _, b := range list {
			b.mu.Lock()
			v := metric.read(b, at)
			b.mu.Unlock()
			fmt.Fprintf(w, "%s{backend=%q} %g\n", metric.name, b.name, v)
		}
	}
	writeOpen(w, list, at)
}
