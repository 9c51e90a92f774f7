package spoa

import (
	"math"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core/window"
)

const (
	// rateSeconds is the time the arrival rate is averaged over, spanSeconds that of the percentiles.
	rateSeconds = 10
	longRate    = 60
	spanSeconds = 30
	// A backend's percentiles are renewed every 5 s, a server's every 10 s.
	backendParts = 6
	serverParts  = 3
	keptTimings  = 4096
	// heartbeatFresh is how long a heartbeat's gauges are better than those of a sample.
	heartbeatFresh = 2 * time.Second
	never          = math.MinInt64
)

// Timing is one answered request. Times that were not told are 0.
type Timing struct {
	Server                   string
	Status                   int
	Queue, Connect, Response time.Duration
}

// timing is a Timing in 16 bytes without pointers. Its server is a number in backend.byID.
type timing struct {
	queue, connect, response shortTime
	server                   uint16
	status                   int16
}

const timingBytes = 16

// shortTime is microseconds up to 35 minutes, and beyond, with the highest bit set, milliseconds.
type shortTime uint32

func shorten(us uint64) shortTime {
	if us < 1<<31 {
		return shortTime(us)
	}
	return 1<<31 | shortTime(min(us/1000, 1<<31-1))
}

func (s shortTime) duration() time.Duration {
	if s < 1<<31 {
		return time.Duration(s) * time.Microsecond
	}
	return time.Duration(s&^(1<<31)) * time.Millisecond
}

// shared is what all backends of a meter have in common.
type shared struct {
	began                   time.Time
	maxServers              int
	openExpire              time.Duration
	budget                  *window.Budget
	backendKind, serverKind *window.Sketches
	wall                    wall
}

// backend is what a meter knows of one backend. mu guards all; it is held for about 50 ns by each sample of a read, and for some ten
// microseconds by a report. Times are nanoseconds since the meter began, on the monotonic clock.
type backend struct {
	name string
	*shared

	mu            sync.Mutex
	totals        totals
	seconds       *window.Seconds
	gone          bool  // forgotten by the meter, and empty
	counted       bool  // the counters give the arrivals
	countedSecond int64 // when they were last seen
	silences      []silence
	sketch        window.Sketch
	timings       *window.Recent[timing]
	servers       map[string]*server
	// byID holds the servers by the number that timings know them by; ids that are free are nil and listed in freeIDs.
	byID    []*server
	freeIDs []uint16

	seen, lastHeartbeat, lastSample int64
	boot                            string
	inFlight, queued, up            int
	beats                           []processBeat
	completions, sampled, errors    uint64
	// open is nil until an arrival is told.
	open *openSet
}

// server is small, for there may be many thousands.
type server struct {
	name string
	// heard is when it was last named, but for its answers.
	heard    int64
	inFlight int32
	id       uint16
	gone     bool // dropped by its backend
	// work is nil until it answers.
	work *work
}

// work is what a server has done; seen is when it last answered. What each answer changes stands together.
type work struct {
	minutes          window.Minutes
	seen             int64
	requests, errors uint64
	sketch           window.Sketch
}

// lastHeard is when the server was last named or answered.
func (v *server) lastHeard() int64 {
	if v.work == nil {
		return v.heard
	}
	return max(v.heard, v.work.seen)
}

func newBackend(name string, now time.Time, s *shared) *backend {
	b := &backend{
		name: name, shared: s,
		totals:  totals{began: s.began.UnixMicro()},
		seconds: window.NewHour(s.budget), sketch: s.backendKind.New(),
		timings: window.NewRecent[timing](keptTimings, timingBytes, s.budget), servers: map[string]*server{},
		seen: s.at(now), lastHeartbeat: never, lastSample: never,
	}
	b.seconds.Begin(second(b.seen))
	return b
}

// at is now on the meter's own axis, which a change of the date does not move.
func (s *shared) at(now time.Time) int64 { return int64(now.Sub(s.began)) }

// when is the reverse; the zero time for never.
func (s *shared) when(at int64) time.Time {
	if at == never {
		return time.Time{}
	}
	return s.began.Add(time.Duration(at))
}

func second(at int64) int64 { return at / int64(time.Second) }

// beating tells whether heartbeats give the gauges.
func (b *backend) beating(at int64) bool {
	return b.lastHeartbeat != never && at-b.lastHeartbeat <= int64(heartbeatFresh)
}

// heartbeat records gauges and counters; false when the backend has just been forgotten.
func (b *backend) heartbeat(at int64, g *Gauges) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return false
	}
	b.seen = max(b.seen, at)
	if at < b.lastHeartbeat {
		return true
	}
	b.lastHeartbeat, b.boot = at, g.Boot
	b.gauges(at, g)
	sec := second(at)
	if n, _ := b.count(at, sec, g.Boot, g.Counters, true); n > 0 {
		b.seconds.Add(sec, window.Bucket{Arrivals: n})
	}
	b.open.reconcile(at, g.Boot, g.InFlight)
	return true
}

// count brings the totals up to date and spreads the new arrivals over the seconds since the last look. Those of a second
// that has been looked at before are returned instead, to be added with what else is. told is true when the counters give
// the completions, too.
func (b *backend) count(at, sec int64, boot string, c Counters, heartbeat bool) (arrivals uint64, told bool) {
	if !c.Known || boot == "" {
		return 0, false
	}
	since, answered := b.hear(sec, boot), b.totals.answered
	arrivals = b.totals.observe(at, boot, c, heartbeat)
	if !b.counted || sec > b.countedSecond {
		if !b.counted {
			b.counted, since = true, sec
		}
		b.seconds.Spread(since, sec, arrivals)
		b.seconds.Begin(sec)
		b.countedSecond, arrivals = sec, 0
	}
	if answered = b.totals.answered - answered; answered > 0 {
		b.completions += answered
		b.seconds.Add(sec, window.Bucket{Completions: answered})
	}
	return arrivals, c.AnswersKnown
}

// server returns the record of a server; those beyond the bound share one.
func (b *backend) server(at int64, name string) *server {
	v := b.servers[name]
	if v == nil && len(b.servers) >= b.maxServers {
		name = Other
		v = b.servers[name]
	}
	if v == nil {
		v = &server{name: name, heard: at}
		if k := len(b.freeIDs); k > 0 {
			v.id, b.freeIDs = b.freeIDs[k-1], b.freeIDs[:k-1]
			b.byID[v.id] = v
		} else {
			v.id = uint16(len(b.byID))
			b.byID = append(b.byID, v)
		}
		b.servers[name] = v
	}
	v.heard = max(v.heard, at)
	return v
}

// dropServer forgets a server whose timings have been taken.
func (b *backend) dropServer(v *server) {
	v.gone = true
	delete(b.servers, v.name)
	b.byID[v.id] = nil
	b.freeIDs = append(b.freeIDs, v.id)
	v.release(b.budget)
}

func (v *server) release(b *window.Budget) {
	if v.work != nil {
		v.work.sketch.Release()
		v.work.minutes.Release(b)
	}
}

// release ends a backend that is to be forgotten and gives its memory back to the budget. mu is held.
func (b *backend) release() {
	b.gone = true
	b.seconds.Release()
	b.sketch.Release()
	b.timings.Release()
	if b.open != nil {
		b.open.clear()
	}
	for _, v := range b.servers {
		v.release(b.budget)
	}
}

func set(to *int, n int) {
	if n != Absent {
		*to = n
	}
}
