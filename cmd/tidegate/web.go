package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
)

// webAdapter shows a nginxgen.Manager to the controller.
type webAdapter struct {
	manager *nginxgen.Manager

	mu sync.Mutex
	// live is what was verified last, for what a wish leaves open. It outlives a moment in which nothing is verified.
	live nginxgen.Model
}

func (w *webAdapter) Apply(ctx context.Context, now time.Time, upstreams []control.WebUpstream) (control.WebOutcome, error) {
	want := webModel(upstreams, w.lastLive())
	want.Rates = webRates(upstreams)
	out, err := w.manager.Apply(ctx, now, want)
	return webOutcome(out), err
}

func (w *webAdapter) lastLive() nginxgen.Model {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m, ok := w.manager.Live(); ok {
		w.live = m
	}
	return w.live
}

// Live tells the weights by the servers' names, which stand in the file beside their addresses: an address may change.
func (w *webAdapter) Live() (map[string]map[string]int, bool) {
	m, ok := w.manager.Live()
	if !ok {
		return nil, false
	}
	out := map[string]map[string]int{}
	for _, u := range m.Upstreams {
		if fromDNS(u) {
			return nil, false // what nginx was told last is not in the file
		}
		out[u.Name] = fileWeights(u)
	}
	return out, true
}

// fileWeights are the weights of an upstream in the file, by name, 0 for down.
func fileWeights(u nginxgen.Upstream) map[string]int {
	out := map[string]int{}
	for _, s := range u.Servers {
		out[s.Name] = max(1, s.Weight)
		if s.Down {
			out[s.Name] = 0
		}
	}
	return out
}

// webModel turns wanted upstreams into the model of the include file. live is what nginx has.
func webModel(upstreams []control.WebUpstream, live nginxgen.Model) nginxgen.Model {
	m := nginxgen.Model{Why: "weights follow the ready workers of the servers in service"}
	for _, u := range upstreams {
		m.Upstreams = append(m.Upstreams, webUpstream(u, liveServers(live, u), false))
	}
	return m
}

// liveServers are the live file's servers of an upstream by name.
func liveServers(live nginxgen.Model, u control.WebUpstream) map[string]nginxgen.Server {
	out := map[string]nginxgen.Server{}
	for _, l := range live.Upstreams {
		if l.Name == u.Name && l.Stream == u.Stream {
			for _, s := range l.Servers {
				out[s.Name] = s
			}
		}
	}
	return out
}

// webUpstream has a line for each server whose address is known. told: nginx is told them one by one, not by a reload.
func webUpstream(u control.WebUpstream, live map[string]nginxgen.Server, told bool) nginxgen.Upstream {
	out := nginxgen.Upstream{Name: u.Name, Stream: u.Stream, Method: u.Method, Zone: u.Zone, Keepalive: u.Keepalive}
	weights := webWeights(u, live, told)
	taken := map[string]bool{}
	for _, s := range u.Servers {
		taken[s.Address] = true
	}
	for i, s := range u.Servers {
		if s.Address == "" {
			// Nobody knows yet what its name stands for; what nginx has is what tidegate knew in its last run.
			s.Address = live[s.Name].Address
			if s.Address == "" || taken[s.Address] {
				continue
			}
			taken[s.Address] = true
		}
		line := nginxgen.Server{
			Name: s.Name, Address: s.Address, Weight: weights[i], Backup: s.Backup, Down: s.Down || s.Weight <= 0 && !s.Backup,
			MaxConns: max(s.MaxConns, 0), MaxFails: u.MaxFails, FailTimeout: u.FailTimeout,
		}
		switch {
		case line.MaxConns > 0:
		case u.MaxConns > 0:
			line.MaxConns = u.MaxConns
		case !line.Down && !line.Backup:
			line.MaxConns = u.MaxConnsPerWorker * s.Weight
		}
		out.Servers = append(out.Servers, line)
	}
	return out
}

// webWeights are the weights of an upstream's servers, at least 1: ready workers times their node's speed. Spares stand apart.
func webWeights(u control.WebUpstream, live map[string]nginxgen.Server, told bool) []int {
	capacity, full, speed := make([]float64, len(u.Servers)), make([]float64, len(u.Servers)), make([]float64, len(u.Servers))
	most := 0.0
	for i, s := range u.Servers {
		if speed[i] = s.Speed; s.Speed <= 0 {
			speed[i] = 1
		}
		full[i] = float64(max(s.Workers, 1)) * speed[i]
		most = max(most, full[i])
		if !s.Backup && !s.Down {
			capacity[i] = float64(s.Weight) * speed[i]
		}
	}
	hash := strings.HasPrefix(u.Method, "hash ") || u.Method == "ip_hash"
	weights := nginxgen.Weights(capacity)
	if told {
		weights = nginxgen.SteadyWeights(capacity, speed)
	}
	if hash {
		weights = nginxgen.HashWeights(capacity, most)
		full := nginxgen.HashWeights(full, most)
		for i, s := range u.Servers {
			// A server that is down keeps its part of the keys' range, so that only its own keys move.
			if weights[i] == 0 {
				weights[i] = full[i]
				if before, there := live[s.Name]; there {
					weights[i] = min(max(before.Weight, 1), 10)
				}
			}
		}
	}
	for i := range weights {
		weights[i] = max(weights[i], 1)
	}
	return weights
}

// controlUpstream is an upstream as the configuration has it.
func controlUpstream(u *conf.Upstream) control.WebUpstream {
	out := control.WebUpstream{
		Name: u.Name, Stream: u.Stream, Method: u.Method, Zone: u.Zone, Keepalive: u.Keepalive,
		MaxConns: u.MaxConns, MaxConnsPerWorker: u.MaxConnsPerWorker, MaxFails: u.MaxFails, FailTimeout: u.FailTimeout,
	}
	for _, l := range u.Lines {
		out.Servers = append(out.Servers, control.WebServer{
			Name: l.Name, Address: l.Address, Workers: l.Workers, Speed: l.Speed, Backup: l.Backup, Down: l.Down, MaxConns: l.MaxConns,
		})
	}
	return out
}

// addressesOf are the addresses of an app's servers, spares too, as the configuration has them.
func addressesOf(a conf.App) []string {
	var out []string
	for _, s := range a.Servers {
		out = append(out, s.Address)
	}
	if a.Upstream != nil {
		for _, l := range a.Upstream.Lines {
			out = append(out, l.Address)
		}
	}
	return out
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
func (w *webAdapter) Watch(ctx context.Context, changed func()) { w.manager.Watch(ctx, changed) }

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
