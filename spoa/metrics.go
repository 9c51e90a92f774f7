package spoa

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/core/window"
)

// reason is why something from the wire was not taken as it came.
type reason uint8

const (
	reasonTooBig    reason = iota // a length above the negotiated frame size
	reasonTooSmall                // a length below that of an empty frame
	reasonFrame                   // a frame type no HAProxy sends, or unreadable ids
	reasonFragment                // a part of a frame, which was not negotiated
	reasonOrder                   // a frame at the wrong time, as NOTIFY before HELLO
	reasonHello                   // a HELLO that lacks something
	reasonVersion                 // a HELLO without a version of ours
	reasonTruncated               // the connection ended within a frame
	reasonMessage                 // a NOTIFY that ends within a message
	reasonUnknown                 // a message of another name
	reasonType                    // an argument of the wrong type
	reasonName                    // a backend or server name that is none
	reasonStatus                  // a status outside 100 to 599
	reasonTimer                   // a time above a day
	reasonGauge                   // a number of requests that cannot be one
	reasonCounter                 // a cumulative count that cannot be one
	reasonPanic                   // the connection's code failed
	reasonCount
)

var reasonNames = [reasonCount]string{
	"frame_too_big", "frame_too_small", "frame", "fragment", "order", "hello", "version", "truncated",
	"message", "unknown_message", "type", "name", "status", "timer", "gauge", "counter", "panic",
}

func (r reason) String() string { return reasonNames[r] }

// counter is what the decoder counts refusals on.
type counter interface {
	malformed(reason)
}

// meters holds the server's metrics and what Stats needs beside them.
type meters struct {
	connections      atomic.Int64
	connectionsGauge *metrics.Gauge
	connectionsTotal *metrics.Counter
	acceptErrors     *metrics.Counter
	frames           *metrics.Counter
	dones            *metrics.Counter
	heartbeats       *metrics.Counter
	arrivals         *metrics.Counter
	bad              [reasonCount]*metrics.Counter
	ackSeconds       ackHistogram
	engines          *engines

	mu  sync.Mutex
	ack window.Histogram
}

func newMeters(set *metrics.Set) *meters {
	m := &meters{
		connectionsGauge: set.GetOrCreateGauge("tidegate_spoa_connections", nil),
		connectionsTotal: set.GetOrCreateCounter("tidegate_spoa_connections_total"),
		acceptErrors:     set.GetOrCreateCounter("tidegate_spoa_accept_errors_total"),
		frames:           set.GetOrCreateCounter("tidegate_spoa_frames_total"),
		dones:            set.GetOrCreateCounter(`tidegate_spoa_samples_total{kind="done"}`),
		heartbeats:       set.GetOrCreateCounter(`tidegate_spoa_samples_total{kind="heartbeat"}`),
		arrivals:         set.GetOrCreateCounter(`tidegate_spoa_samples_total{kind="arrive"}`),
		engines:          newEngines(set),
	}
	set.RegisterMetricsWriter(m.ackSeconds.write)
	for r := range m.bad {
		m.bad[r] = set.GetOrCreateCounter(fmt.Sprintf("tidegate_spoa_malformed_total{reason=%q}", reason(r)))
	}
	return m
}

func (m *meters) malformed(r reason) { m.bad[r].Inc() }

// took counts messages that were taken.
func (m *meters) took(dones, heartbeats int) {
	if dones > 0 {
		m.dones.Add(dones)
	}
	if heartbeats > 0 {
		m.heartbeats.Add(heartbeats)
	}
}

func (m *meters) opened() {
	m.connections.Add(1)
	m.connectionsTotal.Inc()
	m.connectionsGauge.Inc()
}

func (m *meters) closed() {
	m.connections.Add(-1)
	m.connectionsGauge.Dec()
}

// acked records that n frames waited d for their ACK.
func (m *meters) acked(n int, d time.Duration) {
	m.frames.Add(n)
	m.mu.Lock()
	m.ack.AddN(d, uint32(n))
	m.mu.Unlock()
	m.ackSeconds.add(n, d)
}

// Stats is what a server has done since it began.
type Stats struct {
	// Connections is the number open now, ConnectionsTotal that of all accepted.
	Connections      int
	ConnectionsTotal uint64
	// Frames counts NOTIFY frames acknowledged, Done, Heartbeats and Arrivals the messages in them that were taken.
	Frames, Done, Heartbeats, Arrivals uint64
	// Malformed counts what was not taken, by reason; reasons that never occurred are left out.
	Malformed map[string]uint64
	// AckP50 and AckP99 are the time from the return of the read that completed a frame to after the write of its ACK,
	// over AckCount frames.
	AckP50, AckP99 time.Duration
	AckCount       uint64
}

func (m *meters) stats() Stats {
	s := Stats{
		Connections:      int(m.connections.Load()),
		ConnectionsTotal: m.connectionsTotal.Get(),
		Frames:           m.frames.Get(),
		Done:             m.dones.Get(),
		Heartbeats:       m.heartbeats.Get(),
		Arrivals:         m.arrivals.Get(),
		Malformed:        map[string]uint64{},
	}
	for r, c := range m.bad {
		if n := c.Get(); n > 0 {
			s.Malformed[reason(r).String()] = n
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.AckP50, s.AckP99, s.AckCount = m.ack.Quantile(0.5), m.ack.Quantile(0.99), m.ack.Count()
	return s
}
