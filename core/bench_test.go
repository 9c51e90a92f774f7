package core

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// bigFleet is 1,000 apps with 50 servers each, sized by erlang, two seconds told each turn.
func bigFleet(apps, servers int) (Policy, func(now time.Time) Observation) {
	var p Policy
	for a := range apps {
		ap := AppPolicy{
			Name: fmt.Sprintf("app%04d", a), Strategy: Erlang, Proxied: true, MinServers: 1, MinWorkers: 1, Weight: 100, Ramp: []int{100},
			DrainDeadline: time.Minute, StartDeadline: time.Minute, RetryAfter: time.Minute, MaxOut: 0.5, ErrorStorm: 0.5, Sizing: sizing.Default(), Fill: 0.75,
		}
		for s := range servers {
			ap.Servers = append(ap.Servers, ServerPolicy{Name: fmt.Sprintf("node%02d", s), Node: fmt.Sprintf("node%02d", s), Managed: true, MinWorkers: 1, MaxWorkers: 8, ParkedWorkers: 1})
		}
		ap.MaxWorkers = 8 * servers
		p.Apps = append(p.Apps, ap)
	}
	observe := func(now time.Time) Observation {
		o := Observation{Now: now}
		for a := range p.Apps {
			ap := &p.Apps[a]
			obs := AppObs{Name: ap.Name, Proxy: ProxyObs{Known: true, Process: "1:1", Current: 20}}
			obs.Traffic = TrafficObs{Known: true, Rate: 250}
			for k := int64(2); k >= 1; k-- {
				wave := float64((now.Unix() + int64(a)) % 97)
				obs.Traffic.Seconds = append(obs.Traffic.Seconds, sizing.Second{At: now.Unix() - k, Arrivals: 250 + wave, Completions: 250, Service: 20, Timed: 250})
			}
			for s := range ap.Servers {
				so := ServerObs{Name: ap.Servers[s].Name}
				so.Proxy = ProxyServerObs{Known: true, Admin: AdminMaint}
				so.Pool = PoolObs{Known: true, BusyKnown: true, Total: 1, Ready: 1, Target: 1}
				if s < 8 {
					so.Proxy = ProxyServerObs{Known: true, Admin: AdminReady, Up: true, Weight: 100, Current: 3}
					so.Pool = PoolObs{Known: true, BusyKnown: true, Total: 5, Ready: 5, Busy: 2.5, Target: 5}
				}
				obs.Servers = append(obs.Servers, so)
			}
			o.Apps = append(o.Apps, obs)
		}
		return o
	}
	return p, observe
}

// BenchmarkDecide is one decision for 1,000 apps on 50 nodes, after the windows have filled for four minutes.
func BenchmarkDecide(b *testing.B) {
	p, observe := bigFleet(1000, 50)
	now := time.Unix(1_700_000_000, 0)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var m Memory
	for range 120 {
		_, m = Decide(p, m, observe(now))
		now = now.Add(2 * time.Second)
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	o := observe(now)
	b.ReportAllocs()
	began := cpuTime()
	for b.Loop() {
		_, _ = Decide(p, m, o)
	}
	// What the machine's other work takes from the wall clock is not in this one; the garbage collector's threads are.
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/1000/float64(b.N), "cpu-ms/decision")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/decision")
	runtime.KeepAlive(m)
}

// cpuTime is the processor time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
