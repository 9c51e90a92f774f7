package spoa

import (
	"sync"
	"time"

	"github.com/tidegate/tidegate/core/window"
)

const (
	// rateSeconds is the time the arrival rate is averaged over, spanSeconds that of the percentiles.
	rateSeconds = 10
	spanSeconds = 30
	ringSeconds = 60
	// A backend's percentiles are renewed every 5 s, a server's every 10 s.
	backendParts = 6
	serverParts  = 3
	keptTimings  = 4096
	// heartbeatFresh is how long a heartbeat's gauges are better than those of a sample.
	heartbeatFresh = 2 * time.Second
)

// Timing is one answered request. Times that were not told are 0.
type Timing struct {
	// Seq numbers the backend's timings from 1, in the order in which they came.
	Seq                      uint64
	Server                   string
	Status                   int
	Queue, Connect, Response time.Duration
}

// backend is what a meter knows of one backend. mu guards all; it is held for about 100 ns by a sample, and for some ten
// microseconds by a report.
type backend struct {
	name  string
	began time.Time

	mu            sync.Mutex
	totals        totals
	seconds       *window.Seconds
	counted       bool  // the counters give the arrivals
	countedSecond int64 // when they were last seen
	sketch        *window.Sketch
	timings       *window.Ring[Timing]
	taken         uint64
	servers       map[string]*server
	maxServers    int

	seen, lastHeartbeat, lastSample time.Time
	boot                            string
	inFlight, queued, up            int
	completions, errors             uint64
}

type server struct {
	// seen is when it last answered, heard when it was last named at all.
	seen, heard      time.Time
	requests, errors uint64
	inFlight         int
	sketch           *window.Sketch
}

func newBackend(name string, now, began time.Time, maxServers int) *backend {
	b := &backend{
		name: name, began: began, maxServers: maxServers,
		totals:  totals{began: began},
		seconds: window.NewSeconds(ringSeconds), sketch: window.NewSketch(spanSeconds, backendParts),
		timings: window.NewRing[Timing](keptTimings), servers: map[string]*server{},
		seen: now,
	}
	b.seconds.Begin(b.second(now))
	return b
}

// second is now on the meter's own axis, which a change of the date does not move.
func (b *backend) second(now time.Time) int64 { return int64(now.Sub(b.began) / time.Second) }

func (b *backend) done(now time.Time, s *Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sec := b.second(now)
	b.saw(now)
	if now.After(b.lastSample) {
		b.lastSample = now
	}
	if b.name != Other {
		b.count(now, sec, s.Boot, s.Counters, false)
		if now.Sub(b.lastHeartbeat) > heartbeatFresh {
			set(&b.inFlight, s.BackendConns)
			set(&b.queued, s.Queued)
		}
	}
	failed := s.Status >= 500
	add := window.Bucket{Completions: 1}
	if !b.counted {
		add.Arrivals = 1
	}
	b.completions++
	if failed {
		b.errors++
		add.Errors = 1
	}
	if s.Server != "" && s.Response >= 0 {
		queue, connect := max(s.Queue, 0), max(s.Connect, 0)
		add.Timed = 1
		add.Queue, add.Connect, add.Response = micros(queue), micros(connect), micros(s.Response)
		b.sketch.Add(sec, queue+connect+s.Response)
		b.timings.Add(Timing{b.timings.Last() + 1, s.Server, s.Status, queue, connect, s.Response})
	}
	b.seconds.Add(sec, add)
	b.served(now, sec, s, failed)
}

func (b *backend) served(now time.Time, sec int64, s *Sample, failed bool) {
	if s.Server == "" {
		return
	}
	v := b.server(now, s.Server)
	if now.After(v.seen) {
		v.seen = now
	}
	v.requests++
	if failed {
		v.errors++
	}
	if s.Response >= 0 {
		v.sketch.Add(sec, s.Response)
	}
	if now.Sub(b.lastHeartbeat) > heartbeatFresh {
		set(&v.inFlight, s.ServerConns)
	}
}

func (b *backend) heartbeat(now time.Time, g *Gauges) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saw(now)
	if now.Before(b.lastHeartbeat) {
		return
	}
	b.lastHeartbeat, b.boot = now, g.Boot
	set(&b.inFlight, g.InFlight)
	set(&b.queued, g.Queued)
	set(&b.up, g.Up)
	b.count(now, b.second(now), g.Boot, g.Counters, true)
	for _, sg := range g.Servers {
		b.server(now, sg.Name).inFlight = sg.Conns
	}
}

// count brings the totals up to date and spreads the new arrivals over the seconds since the last look.
func (b *backend) count(now time.Time, sec int64, boot string, c Counters, heartbeat bool) {
	if !c.Known || boot == "" {
		return
	}
	n := b.totals.observe(now, boot, c, heartbeat)
	if !b.counted {
		b.counted, b.countedSecond = true, sec
	}
	b.seconds.Begin(sec)
	b.seconds.Spread(min(b.countedSecond, sec), sec, n)
	b.countedSecond = max(b.countedSecond, sec)
}

func (b *backend) saw(now time.Time) {
	if now.After(b.seen) {
		b.seen = now
	}
}

// server returns the record of a server; those beyond the bound share one.
func (b *backend) server(now time.Time, name string) *server {
	v := b.servers[name]
	if v == nil && len(b.servers) >= b.maxServers {
		name = Other
		v = b.servers[name]
	}
	if v == nil {
		v = &server{sketch: window.NewSketch(spanSeconds, serverParts)}
		b.servers[name] = v
	}
	if now.After(v.heard) {
		v.heard = now
	}
	return v
}

func set(to *int, n int) {
	if n != Absent {
		*to = n
	}
}

func micros(d time.Duration) uint64 { return uint64(d / time.Microsecond) }
