package spoa

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// messageArrive is the optional message at a request's arrival; see haproxyconf.Params.Arrivals.
const messageArrive = "tidegate-arrive"

// Arrival is one request that has come to a backend, before it queues.
type Arrival struct {
	// ID is the request's own id, at most 64 bytes; the request's Sample has the same.
	ID            []byte
	Boot, Backend string
	// BackendConns and Queued are what stood in the backend (queued ones included) and in its queue at that moment, this
	// request included; Absent when unknown.
	BackendConns, Queued int
}

// ArrivalSink is a Sink that also takes arrivals, where HAProxy is configured to send them. A sink that is none gets
// everything else. What holds for Sink's methods holds for Arrive; it must not keep Arrival.ID.
type ArrivalSink interface {
	Sink
	Arrive(now time.Time, a *Arrival)
}

// arrive reads one message about a request that has come.
func (d *decoder) arrive(b []byte, n int) (rest []byte, ok bool) {
	a := &d.arrival
	*a = Arrival{BackendConns: Absent, Queued: Absent}
	good := true
	for range n {
		var key []byte
		var v value
		if key, v, b, ok = readArgument(b); !ok {
			return nil, false
		}
		if v.kind == typeddata.TypeNull {
			continue
		}
		switch string(key) {
		case "id":
			if d.isString(v) {
				a.ID = v.str[:min(len(v.str), maxID)]
			}
		case "boot":
			good = d.name(v, &a.Boot) && good
		case "be":
			good = d.name(v, &a.Backend) && good
		case "conn":
			d.gauge(v, &a.BackendConns)
		case "q":
			d.gauge(v, &a.Queued)
		}
	}
	switch {
	case !good:
		return b, true
	case a.Backend == "" || len(a.ID) == 0:
		d.count.malformed(reasonName)
		return b, true
	}
	d.arrivals++
	if sink, ok := d.sink.(ArrivalSink); ok {
		sink.Arrive(d.now, a)
	}
	return b, true
}

// Arrive records one request that has come.
func (m *Meter) Arrive(now time.Time, a *Arrival) {
	for {
		b := m.backend(now, a.Backend)
		switch b.arrive(now, a) {
		case arrivalTaken:
			return
		case arrivalDropped:
			m.untracked.Inc()
			return
		}
	}
}

type arrivalResult int

const (
	arrivalTaken   arrivalResult = iota
	arrivalDropped               // counted, but there is no room to follow it
	arrivalGone                  // the backend has just been forgotten
)

func (b *backend) arrive(now time.Time, a *Arrival) arrivalResult {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return arrivalGone
	}
	at := b.at(now)
	b.seen = max(b.seen, at)
	if b.open == nil {
		b.open = newOpenSet(b.budget, b.openExpire)
	}
	b.open.arrivals, b.open.boot = b.open.arrivals+1, a.Boot
	// Requests of several backends cannot share one record's gauges.
	if b.name == Other {
		return arrivalTaken
	}
	if !b.beating(at) {
		set(&b.inFlight, a.BackendConns)
		set(&b.queued, a.Queued)
	}
	if !b.open.open(at, a.Boot, a.ID) {
		return arrivalDropped
	}
	return arrivalTaken
}

// addOpen adds what is known of open requests to a report. mu is held.
func (b *backend) addOpen(at int64, r *BackendReport) {
	if b.open != nil {
		r.Arrivals = b.open.arrivals
	}
	r.Open, r.OldestOpen = b.openAge(at)
}

// openAge tells how many requests are known to be open one by one, Absent where arrivals are not told, and for how long the oldest has
// been: from the counters then.
func (b *backend) openAge(at int64) (n int, oldest time.Duration) {
	if n, oldest = b.openReport(at); n == Absent {
		oldest = b.oldestCounted(at)
	}
	return n, oldest
}

// writeOpen writes the series of open requests: their number for those backends whose arrivals are told, the age of the oldest also where
// it is known from the counters.
func writeOpen(w io.Writer, list []*backend, at int64) {
	type told struct {
		name   string
		n      int
		oldest time.Duration
	}
	var all []told
	for _, b := range list {
		b.mu.Lock()
		n, oldest := b.openAge(at)
		known := n != Absent || b.counted && b.lastHeartbeat != never
		b.mu.Unlock()
		if known {
			all = append(all, told{b.name, n, oldest})
		}
	}
	if len(all) == 0 {
		return
	}
	const count, age = "tidegate_spoa_backend_open_requests", "tidegate_spoa_backend_oldest_open_seconds"
	if slices.ContainsFunc(all, func(k told) bool { return k.n != Absent }) {
		metrics.WriteMetadataIfNeeded(w, count, "gauge")
	}
	for _, k := range all {
		if k.n != Absent {
			fmt.Fprintf(w, "%s{backend=%q} %d\n", count, k.name, k.n)
		}
	}
	metrics.WriteMetadataIfNeeded(w, age, "gauge")
	for _, k := range all {
		fmt.Fprintf(w, "%s{backend=%q} %g\n", age, k.name, k.oldest.Seconds())
	}
}
