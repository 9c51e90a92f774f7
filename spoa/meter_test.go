package spoa

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

func beat(name, id string, started, cur uint32) *Gauges {
	return &Gauges{Boot: id, Backend: name, InFlight: int(cur), Queued: 1, Up: 2, Counters: Counters{Started: started, Current: cur, Known: true}, Servers: []ServerGauge{{"s1", int(cur)}}}
}

func done(name, server string, status int, response time.Duration) *Sample {
	return &Sample{Backend: name, Server: server, Status: status, Queue: time.Millisecond, Connect: time.Millisecond, Response: response,
		ServerConns: 1, BackendConns: 3, Queued: 2}
}

func TestMeterReports(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	at := func(d time.Duration) time.Time { return began.Add(d) }
	id := boot(-time.Hour)
	// 20 arrivals a second, as the counters say; half of them answered with samples.
	for i := range 40 {
		now := at(time.Duration(i) * 500 * time.Millisecond)
		m.Heartbeat(now, beat("app", id, uint32(1000+10*i), 4))
		for j := range 5 {
			status := 200
			if j == 0 {
				status = 502
			}
			m.Done(now, done("app", "s1", status, time.Duration(10*(j+1))*time.Millisecond))
		}
	}
	now := at(20 * time.Second)
	reports := m.Take(now)
	if len(reports) != 1 {
		t.Fatalf("%d reports, want one", len(reports))
	}
	r := reports[0]
	if r.Name != "app" || r.InFlight != 4 || r.Queued != 1 || r.Up != 2 || r.Boot != id || !r.LastHeartbeat.Equal(at(19500*time.Millisecond)) {
		t.Errorf("gauges are wrong: %+v", r)
	}
	if r.Started != 390 || r.Finished != 390 || r.NoResponse != 0 || !r.Counted || math.Abs(r.Rate-20) > 0.5 {
		t.Errorf("started %d, finished %d, noresp %d, rate %v; want 390, 390, 0, 20", r.Started, r.Finished, r.NoResponse, r.Rate)
	}
	if r.Completions != 200 || r.Errors != 40 || len(r.Samples) != 200 || r.Dropped != 0 {
		t.Errorf("%d completions, %d errors, %d samples, %d dropped; want 200, 40, 200, 0", r.Completions, r.Errors, len(r.Samples), r.Dropped)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if (got - want).Abs() > want/100 {
			t.Errorf("%s is %v, want %v within 1 %%", what, got, want)
		}
	}
	near("p50", r.P50, 32*time.Millisecond)
	near("p95", r.P95, 52*time.Millisecond)
	near("p99", r.P99, 52*time.Millisecond)
	if len(r.Servers) != 1 || r.Servers[0].Name != "s1" || r.Servers[0].Requests != 200 || r.Servers[0].Errors != 40 || r.Servers[0].InFlight != 4 {
		t.Fatalf("servers: %+v", r.Servers)
	}
	near("the server's mean", r.Servers[0].MeanResponse, 30*time.Millisecond)
	near("the server's p95", r.Servers[0].P95, 50*time.Millisecond)
	for i, s := range r.Samples {
		if s.Response != time.Duration(10*(i%5+1))*time.Millisecond {
			t.Fatalf("sample %d is %+v", i, s)
		}
	}

	// A minute later, without a word: the rate is 0, the percentiles are gone, the totals stay, the ages tell.
	r = m.Take(at(80 * time.Second))[0]
	if r.Rate != 0 || r.P95 != 0 || r.Started != 390 || r.Completions != 200 || len(r.Samples) != 0 || !r.LastSample.Equal(at(19500*time.Millisecond)) {
		t.Errorf("after a silent minute: %+v", r)
	}
}

func TestMeterDetails(t *testing.T) {
	at := func(d time.Duration) time.Time { return began.Add(d) }
	const s = time.Second
	tests := map[string]struct {
		options MeterOptions
		do      func(m *Meter)
		now     time.Duration
		check   func(r BackendReport) bool
	}{
		"without counters the samples give rate and gauges": {MeterOptions{}, func(m *Meter) {
			for i := range 30 {
				m.Done(at(time.Duration(i)*s), done("app", "s1", 200, s))
				m.Done(at(time.Duration(i)*s), done("app", "s1", 200, s))
			}
		}, 30 * s, func(r BackendReport) bool {
			return r.Rate == 2 && !r.Counted && r.InFlight == 3 && r.Queued == 2 && r.Servers[0].InFlight == 1
		}},
		"a sample alone, and the counters tell all": {MeterOptions{}, func(m *Meter) {
			g := beat("app", boot(0), 100, 0)
			g.Counters.Answered, g.Counters.AnswersKnown = 90, true
			m.Heartbeat(at(s), g)
			d := done("app", "s1", 500, s)
			d.Boot, d.Counters = boot(0), Counters{Started: 110, Current: 1, Known: true, Answered: 99, AnswersKnown: true}
			m.Done(at(2*s), d)
			d.Counters.Answered = 97 // overtaken
			m.Done(at(2*s), d)
		}, 3 * s, func(r BackendReport) bool {
			return r.Completions == 99 && r.Sampled == 2 && r.Errors == 2 && r.Started == 110 && r.Servers[0].Requests == 2
		}},
		"answers that are told later are counted from there": {MeterOptions{}, func(m *Meter) {
			m.Heartbeat(at(s), beat("app", boot(0), 100, 0))
			g := beat("app", boot(0), 100, 0)
			g.Counters.Answered, g.Counters.AnswersKnown = 90, true
			m.Heartbeat(at(2*s), g)
			g.Counters.Answered = 93
			m.Heartbeat(at(3*s), g)
		}, 3 * s, func(r BackendReport) bool { return r.Completions == 3 }},
		"answers of an older process are counted from where they are seen": {MeterOptions{}, func(m *Meter) {
			g := beat("app", boot(-time.Hour), 100, 0)
			g.Counters.Answered, g.Counters.AnswersKnown = 90, true
			m.Heartbeat(at(2*s), g)
			g.Counters.Answered = 93
			m.Heartbeat(at(3*s), g)
		}, 3 * s, func(r BackendReport) bool { return r.Completions == 3 && r.Sampled == 0 }},
		"a fresh heartbeat's gauges are better than a sample's": {MeterOptions{}, func(m *Meter) {
			m.Heartbeat(at(s), beat("app", boot(0), 1, 9))
			m.Done(at(2*s), done("app", "s1", 200, s))
		}, 3 * s, func(r BackendReport) bool { return r.InFlight == 9 && r.Servers[0].InFlight == 9 }},
		"what came during a gap is spread over it": {MeterOptions{}, func(m *Meter) {
			m.Heartbeat(at(10*s), beat("app", boot(-s), 0, 0))
			m.Heartbeat(at(49*s), beat("app", boot(-s), 4000, 0))
		}, 50 * s, func(r BackendReport) bool { return r.Rate == 100 && r.Started == 4000 }},
		"a reload neither collapses nor jumps": {MeterOptions{}, func(m *Meter) {
			for i := range 40 {
				id, n := boot(0), uint32(10*i)
				if i >= 20 {
					id, n = boot(20*s), uint32(10*(i-20))
				}
				m.Heartbeat(at(time.Duration(i)*s), beat("app", id, n, 0))
			}
		}, 29 * s, func(r BackendReport) bool { return r.Started == 380 && r.Rate > 5 && r.Rate < 15 }},
		"a response of a cache is counted and not timed": {MeterOptions{}, func(m *Meter) {
			m.Done(at(s), done("app", "", 200, s))
		}, 2 * s, func(r BackendReport) bool {
			return r.Completions == 1 && r.P50 == 0 && len(r.Samples) == 0 && len(r.Servers) == 0
		}},
		"an unknown response time is counted and not timed": {MeterOptions{}, func(m *Meter) {
			m.Done(at(s), done("app", "s1", 200, Absent))
		}, 2 * s, func(r BackendReport) bool {
			return r.Completions == 1 && r.P50 == 0 && len(r.Samples) == 0 && r.Servers[0].Requests == 1
		}},
		"timings are thinned out evenly": {MeterOptions{}, func(m *Meter) {
			for i := range 10 * keptTimings {
				m.Done(at(s), done("app", "s1", 200, time.Duration(i)*time.Millisecond))
			}
		}, 2 * s, func(r BackendReport) bool {
			n, last := len(r.Samples), 10*keptTimings*time.Millisecond
			return n >= keptTimings/2 && n <= keptTimings && int(r.Dropped) == 10*keptTimings-n &&
				r.Samples[0].Response < last/100 && (r.Samples[n/2].Response-last/2).Abs() < last/100 && r.Samples[n-1].Response > last-last/100
		}},
		"servers beyond the bound share one place": {MeterOptions{MaxServers: 2}, func(m *Meter) {
			for i := range 10 {
				m.Done(at(s), done("app", fmt.Sprint("s", i), 200, s))
			}
		}, 2 * s, func(r BackendReport) bool {
			return len(r.Servers) == 3 && r.Servers[0].Name == Other && r.Servers[0].Requests == 8
		}},
		"a server not heard of for long is forgotten": {MeterOptions{Forget: time.Minute}, func(m *Meter) {
			m.Done(at(s), done("app", "gone", 200, s))
			m.Done(at(70*s), done("app", "here", 200, s))
		}, 80 * s, func(r BackendReport) bool { return len(r.Servers) == 1 && r.Servers[0].Name == "here" }},
		"a time before the beginning does no harm": {MeterOptions{}, func(m *Meter) {
			m.Done(at(-time.Hour), done("app", "s1", 200, s))
			m.Heartbeat(at(-time.Hour), beat("app", boot(0), 1, 1))
			m.Done(at(s), done("app", "s1", 200, s))
		}, 2 * s, func(r BackendReport) bool { return r.Completions == 2 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.options.Began = began
			m := NewMeter(tt.options)
			tt.do(m)
			if r := m.Take(at(tt.now)); len(r) != 1 || !tt.check(r[0]) {
				for i := range r {
					r[i].Samples = r[i].Samples[:min(3, len(r[i].Samples))]
				}
				t.Errorf("the report is %+v", r)
			}
		})
	}
}

func TestBackendsAreBoundedAndForgotten(t *testing.T) {
	set := metrics.NewSet()
	m := NewMeter(MeterOptions{Began: began, MaxBackends: 3, Forget: time.Minute, Metrics: set})
	for i := range 10 {
		name := fmt.Sprint("b", i)
		m.Heartbeat(began.Add(time.Second), beat(name, boot(0), 5, 5))
		m.Done(began.Add(time.Second), done(name, "s1", 200, time.Second))
	}
	reports := m.Take(began.Add(2 * time.Second))
	if len(reports) != 4 || reports[0].Name != Other || reports[0].Completions != 7 || reports[0].Counted || reports[0].InFlight != 0 {
		t.Fatalf("want three backends and the rest as %s, without counters and gauges: %+v", Other, reports)
	}
	series := func() string {
		var b bytes.Buffer
		set.WritePrometheus(&b)
		return b.String()
	}
	for _, name := range []string{"arrivals_per_second", "in_flight", "queued", "heartbeat_age_seconds"} {
		if !strings.Contains(series(), fmt.Sprintf("tidegate_spoa_backend_%s{backend=\"b0\"}", name)) {
			t.Errorf("no series %s for b0 in:\n%s", name, series())
		}
	}
	m.Heartbeat(began.Add(50*time.Second), beat("b1", boot(0), 6, 5))
	if reports = m.Take(began.Add(70 * time.Second)); len(reports) != 1 || reports[0].Name != "b1" {
		t.Errorf("after a minute: %+v, want only b1", reports)
	}
	if s := series(); strings.Contains(s, `"b0"`) || !strings.Contains(s, `"b1"`) {
		t.Errorf("series of a forgotten backend are left, or those of a known one are not:\n%s", s)
	}
}

// Many connections and a reader at once; meant for the race detector.
func TestMeterIsSafeForManyConnections(t *testing.T) {
	m := NewMeter(MeterOptions{})
	var all sync.WaitGroup
	const each = 2000
	for i := range 8 {
		all.Go(func() {
			name := fmt.Sprint("b", i%3)
			for j := range each {
				m.Done(time.Now(), done(name, fmt.Sprint("s", j%5), 200, time.Millisecond))
				if j%10 == 0 {
					m.Heartbeat(time.Now(), beat(name, boot(0), uint32(j), 1))
				}
			}
		})
	}
	seen := make(chan uint64)
	stop := make(chan struct{})
	go func() {
		var n uint64
		for {
			last := false
			select {
			case <-stop:
				last = true
			default:
			}
			for _, r := range m.Take(time.Now()) {
				n += uint64(len(r.Samples)) + r.Dropped
			}
			if last {
				seen <- n
				return
			}
		}
	}()
	all.Wait()
	close(stop)
	if n := <-seen; n != 8*each {
		t.Errorf("%d timings taken or dropped, want %d", n, 8*each)
	}
}

// A server is forgotten that has neither been named nor answered for long: answers alone keep it.
func TestAnswersKeepAServer(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0), Forget: time.Minute})
	s := newSession(m, newTally(), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	answer := func(server string) {
		b := notifyFrame(1, message(messageDone, with(leanArgs(), arg{"srv", server})...))
		s.feed(now, append(make([]byte, 0, len(b)+stencilRoom), b...))
	}
	answer("s2")
	const answers = 10
	for range answers {
		answer("s1")
		now = now.Add(30 * time.Second)
		m.Take(now)
	}
	reports := m.Take(now)
	if len(reports) != 1 || len(reports[0].Servers) != 1 || reports[0].Servers[0].Name != "s1" || reports[0].Servers[0].Requests != answers {
		t.Errorf("%+v, want s1 alone with its %d requests", reports, answers)
	}
}
