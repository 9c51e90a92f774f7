package haproxy

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// meter holds the series of one client; all carry its name and leave with it.
type meter struct {
	set     *metrics.Set
	name    string
	seconds *metrics.PrometheusHistogram
	batches *metrics.Counter
	success atomic.Int64 // unix nanoseconds
	own     []string
}

var (
	commandKinds   = []Kind{KindWeight, KindState, KindHealth, KindMaxConn}
	commandResults = []string{"ok", "refused", "not_taken", "denied", "missing", "invalid", "stopping", "unknown", "unsent"}
	errorReasons   = []string{"unknown", "unreachable", "stopping", "invalid"}
)

func newMeter(set *metrics.Set, name string) *meter {
	if set == nil {
		set = metrics.NewSet()
	}
	m := &meter{set: set, name: name}
	m.success.Store(time.Now().UnixNano())
	label := fmt.Sprintf("{haproxy=%q}", name)
	m.own = []string{"tidegate_haproxy_batches_total" + label, "tidegate_haproxy_batch_seconds" + label, "tidegate_haproxy_last_success_age_seconds" + label}
	m.batches = set.GetOrCreateCounter(m.own[0])
	m.seconds = set.GetOrCreatePrometheusHistogram(m.own[1])
	set.GetOrCreateGauge(m.own[2], func() float64 { return time.Since(time.Unix(0, m.success.Load())).Seconds() })
	for _, kind := range commandKinds {
		for _, result := range commandResults {
			m.own = append(m.own, m.commandSeries(kind, result))
		}
	}
	for _, reason := range errorReasons {
		m.own = append(m.own, m.errorSeries(reason))
		set.GetOrCreateCounter(m.errorSeries(reason))
	}
	return m
}

func (m *meter) commandSeries(kind Kind, result string) string {
	return fmt.Sprintf("tidegate_haproxy_commands_total{haproxy=%q,kind=%q,result=%q}", m.name, kind, result)
}

func (m *meter) errorSeries(reason string) string {
	return fmt.Sprintf("tidegate_haproxy_errors_total{haproxy=%q,reason=%q}", m.name, reason)
}

func (m *meter) batch(took time.Duration) {
	m.batches.Inc()
	m.seconds.Update(took.Seconds())
}

// done counts the end of a call: its error, or its success.
func (m *meter) done(err error) {
	if err == nil {
		m.success.Store(time.Now().UnixNano())
		return
	}
	reason := resultWord(err)
	if reason == "unsent" {
		reason = "unreachable"
	}
	m.set.GetOrCreateCounter(m.errorSeries(reason)).Inc()
}

func (m *meter) results(all []Result) {
	for _, r := range all {
		kind := r.Command.Kind
		if !slices.Contains(commandKinds, kind) {
			continue // never sent, and a foreign word must not become a label
		}
		m.set.GetOrCreateCounter(m.commandSeries(kind, resultWord(r.Err))).Inc()
	}
}

func resultWord(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrUnreachable):
		return "unsent"
	case errors.Is(err, ErrStopping):
		return "stopping"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	case errors.Is(err, ErrInvalid):
		return "invalid"
	case errors.Is(err, ErrDenied):
		return "denied"
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrNotTaken):
		return "not_taken"
	}
	return "refused"
}

func (m *meter) close() {
	for _, s := range m.own {
		m.set.UnregisterMetric(s)
	}
}
