package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
)

// webAdapter shows a nginxgen.Manager to the controller.
type webAdapter struct{ manager *nginxgen.Manager }

func (w webAdapter) Apply(ctx context.Context, now time.Time, upstreams []control.WebUpstream) (control.WebOutcome, error) {
	want := webModel(upstreams)
	want.Rates = webRates(upstreams)
	out, err := w.manager.Apply(ctx, now, want)
	return webOutcome(out), err
}

func webModel(upstreams []control.WebUpstream) nginxgen.Model {
	m := nginxgen.Model{Why: "weights follow the ready workers of the servers in service"}
	for _, u := range upstreams {
		ready, full := make([]float64, len(u.Servers)), 0.0
		for i, s := range u.Servers {
			ready[i] = float64(s.Weight)
			full = max(full, ready[i])
		}
		weights := nginxgen.Weights(ready)
		if strings.Contains(u.Method, "hash") {
			weights = nginxgen.HashWeights(ready, full)
		}
		nu := nginxgen.Upstream{Name: u.Name, Method: u.Method, Zone: u.Zone, Keepalive: u.Keepalive}
		for i, s := range u.Servers {
			nu.Servers = append(nu.Servers, nginxgen.Server{Name: s.Name, Address: s.Address, Weight: weights[i], Down: weights[i] == 0})
		}
		m.Upstreams = append(m.Upstreams, nu)
	}
	return m
}

func (w webAdapter) Live() (map[string]map[string]int, bool) {
	m, ok := w.manager.Live()
	if !ok {
		return nil, false
	}
	out := map[string]map[string]int{}
	for _, u := range m.Upstreams {
		out[u.Name] = map[string]int{}
		for _, s := range u.Servers {
			weight := max(1, s.Weight)
			if s.Down {
				weight = 0
			}
			out[u.Name][s.Address] = weight
		}
	}
	return out, true
}

func nginxOptions(n *conf.Nginx, log *slog.Logger, set *metrics.Set) nginxgen.Options {
	o := nginxgen.Options{
		File: n.Include, StreamFile: n.StreamInclude, Main: n.Config, Binary: n.Binary, Prefix: n.Prefix, PIDFile: n.PIDFile,
		TestCommand: n.TestCommand, ReloadCommand: n.ReloadCommand, Log: log, Metrics: set, ReportOnly: n.ReportOnly,
		MinMembership: none(n.MinMembership), MinWeights: none(n.MinWeights), Quiet: none(n.Quiet), MaxWait: none(n.MaxWait),
		PerMinute: none(n.MaxPerMinute), OldGenerations: none(n.OldGenerations),
	}
	if n.PerApp {
		o.File, o.Folder = "", n.Include
	}
	return o
}

// none is how nginxgen's options write a 0 that is meant.
func none[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// Watch implements control.Watcher.
func (w webAdapter) Watch(ctx context.Context, changed func()) { w.manager.Watch(ctx, changed) }

// webRates are the requests per second of the upstreams, as far as they are known.
func webRates(upstreams []control.WebUpstream) map[string]float64 {
	out := map[string]float64{}
	for _, u := range upstreams {
		if u.Rate > 0 {
			out[u.Name] = u.Rate
		}
	}
	return out
}

func webOutcome(out nginxgen.Outcome) control.WebOutcome {
	return control.WebOutcome{
		Changed: out.Result == nginxgen.Applied, Deferred: out.Result == nginxgen.Deferred, Reloaded: out.Reloaded, Why: out.Why,
		Reason: string(out.Reason), Held: string(out.Held), Took: out.ReloadTook, Drift: out.Drift, OldGenerations: out.OldGenerations,
	}
}
