package control

import (
	"fmt"
	"maps"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/api"
)

// meters are the loop's metrics. Series of an app or a server go when the subject goes.
type meters struct {
	set                               *metrics.Set
	turns, storeErrors, journalErrors *metrics.Counter

	mu      sync.Mutex
	actions map[string]uint64
	failed  uint64
	gauges  map[string]map[string]*metrics.Gauge
	counts  map[string]map[string]bool
}

func newMeters(set *metrics.Set) *meters {
	return &meters{
		set: set, turns: set.NewCounter("tidegate_turns_total"), storeErrors: set.NewCounter("tidegate_state_errors_total"),
		journalErrors: set.NewCounter("tidegate_journal_errors_total"),
		actions:       map[string]uint64{}, gauges: map[string]map[string]*metrics.Gauge{}, counts: map[string]map[string]bool{},
	}
}

func (m *meters) reload(ok bool) {
	m.set.GetOrCreateCounter(fmt.Sprintf(`tidegate_config_reloads_total{result=%q}`, result(ok))).Inc()
	v := 0.0
	if ok {
		v = 1
	}
	m.set.GetOrCreateGauge("tidegate_config_last_reload_successful", nil).Set(v)
}

func result(ok bool) string {
	if ok {
		return "success"
	}
	return "failure"
}

func (m *meters) sourceError(name string) {
	m.set.GetOrCreateCounter(fmt.Sprintf("tidegate_source_errors_total{source=%q}", name)).Inc()
}

func (m *meters) decision(app, code string) {
	name := fmt.Sprintf("tidegate_decisions_total{app=%q,code=%q}", app, code)
	m.mu.Lock()
	m.owned(app, name)
	m.mu.Unlock()
	m.set.GetOrCreateCounter(name).Inc()
}

// owned notes that a series goes with its app. The lock is held.
func (m *meters) owned(app, name string) {
	if m.counts[app] == nil {
		m.counts[app] = map[string]bool{}
	}
	m.counts[app][name] = true
}

// total sets a counter of an app that is added up elsewhere. The lock is held.
func (m *meters) total(app, metric string, value float64) {
	name := fmt.Sprintf("%s{app=%q}", metric, app)
	m.owned(app, name)
	m.set.GetOrCreateFloatCounter(name).Set(value)
}

func (m *meters) action(kind string, err error) {
	m.mu.Lock()
	m.actions[kind]++
	if err != nil {
		m.failed++
	}
	m.mu.Unlock()
	m.set.GetOrCreateCounter(fmt.Sprintf("tidegate_actions_total{kind=%q,result=%q}", kind, result(err == nil))).Inc()
}

func (m *meters) totals(reloads uint64) api.Totals {
	m.mu.Lock()
	defer m.mu.Unlock()
	return api.Totals{Actions: maps.Clone(m.actions), Failed: m.failed, NginxReloads: reloads}
}

// app sets the gauges of one app and its servers.
func (m *meters) app(a api.App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.gauges[a.Name]
	now := make(map[string]*metrics.Gauge, len(old))
	set := func(value float64, format string, args ...any) {
		name := fmt.Sprintf(format, args...)
		g := old[name]
		if g == nil {
			g = m.set.GetOrCreateGauge(name, nil)
		}
		g.Set(value)
		now[name] = g
	}
	for kind, v := range map[string]float64{"busy": a.Busy, "ready": float64(a.Ready), "total": float64(a.Total), "wanted": float64(a.Wanted)} {
		set(v, "tidegate_app_workers{app=%q,kind=%q}", a.Name, kind)
	}
	set(a.Rate, "tidegate_app_arrivals_per_second{app=%q}", a.Name)
	set(a.P50MS/1000, "tidegate_app_response_seconds{app=%q,quantile=\"0.5\"}", a.Name)
	set(a.P95MS/1000, "tidegate_app_response_seconds{app=%q,quantile=\"0.95\"}", a.Name)
	set(float64(a.InFlight), "tidegate_app_in_flight{app=%q}", a.Name)
	set(float64(a.Queued), "tidegate_app_queued{app=%q}", a.Name)
	set(b2f(a.Hold != ""), "tidegate_app_hold{app=%q}", a.Name)
	for _, p := range a.Proxies {
		set(b2f(p.Known), "tidegate_app_haproxy_known{app=%q,haproxy=%q}", a.Name, p.Name)
	}
	set(a.P99MS/1000, "tidegate_app_response_seconds{app=%q,quantile=\"0.99\"}", a.Name)
	if z := a.Sizing; z != nil {
		set(z.Need, "tidegate_app_workers{app=%q,kind=\"need\"}", a.Name)
		set(z.LeadMS/1000, "tidegate_app_lead_seconds{app=%q}", a.Name)
		set(z.ArrivalsPerSecond, "tidegate_app_arrivals_60s_per_second{app=%q}", a.Name)
		if z.ServiceMS >= 0 {
			set(z.ServiceMS/1000, "tidegate_app_service_seconds{app=%q}", a.Name)
		}
	}
	for _, code := range a.Alarms {
		set(1, "tidegate_app_alarm{app=%q,code=%q}", a.Name, code)
	}
	for _, o := range a.Orders {
		set(1, "tidegate_app_order{app=%q,id=%q,kind=%q,state=%q}", a.Name, o.ID, o.Kind, o.State)
	}
	m.total(a.Name, "tidegate_app_worker_seconds_total", a.WorkerSeconds)
	m.total(a.Name, "tidegate_app_always_on_worker_seconds_total", a.AlwaysOnSeconds)
	for _, s := range a.Servers {
		set(b2f(s.Serve), "tidegate_server_wanted{app=%q,server=%q}", a.Name, s.Name)
		set(b2f(s.Phase == "ramping" || s.Phase == "serving"), "tidegate_server_in_service{app=%q,server=%q}", a.Name, s.Name)
		set(b2f(s.Phase == "foreign"), "tidegate_server_held_by_human{app=%q,server=%q}", a.Name, s.Name)
		set(float64(s.Weight), "tidegate_server_weight{app=%q,server=%q}", a.Name, s.Name)
		for _, kind := range []string{api.ForeignState, api.ForeignWeight} {
			if len(s.Proxies) == 0 {
				set(b2f(s.Foreign == kind), "tidegate_server_foreign{app=%q,server=%q,kind=%q}", a.Name, s.Name, kind)
			}
			for _, p := range s.Proxies {
				set(b2f(p.Foreign == kind), "tidegate_server_foreign{app=%q,server=%q,kind=%q,haproxy=%q}", a.Name, s.Name, kind, p.Name)
			}
		}
		if s.Web >= 0 {
			set(float64(s.Web), "tidegate_server_nginx_weight{app=%q,server=%q}", a.Name, s.Name)
		}
		if s.PoolKnown {
			set(float64(s.Ready), "tidegate_server_workers{app=%q,server=%q,kind=\"ready\"}", a.Name, s.Name)
			set(s.Busy, "tidegate_server_workers{app=%q,server=%q,kind=\"busy\"}", a.Name, s.Name)
		}
	}
	for name := range old {
		if now[name] == nil {
			m.set.UnregisterMetric(name)
		}
	}
	m.gauges[a.Name] = now
}

// forget drops the series of an app that is gone.
func (m *meters) forget(app string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.gauges[app] {
		m.set.UnregisterMetric(name)
	}
	for name := range m.counts[app] {
		m.set.UnregisterMetric(name)
	}
	delete(m.gauges, app)
	delete(m.counts, app)
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
