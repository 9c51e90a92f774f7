package spoa

import (
	"testing"
	"time"
)

// Two load balancers have the same backend: what is in them adds up, and what one of them had goes when it falls silent.
func TestGaugesOfTwoHAProxysAddUp(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	at := func(d time.Duration) time.Time { return began.Add(d) }
	one, two := boot(-time.Hour), boot(-time.Minute)
	report := func(now time.Time) (BackendReport, int) {
		t.Helper()
		r := m.Take(now)
		if len(r) != 1 {
			t.Fatalf("%d reports", len(r))
		}
		for _, s := range r[0].Servers {
			if s.Name == "s1" {
				return r[0], s.InFlight
			}
		}
		t.Fatal("no server s1")
		return r[0], 0
	}
	for i := range 8 {
		m.Heartbeat(at(time.Duration(i)*500*time.Millisecond), beat("app", one, uint32(1000+10*i), 4))
		m.Heartbeat(at(time.Duration(i)*500*time.Millisecond+100*time.Millisecond), beat("app", two, uint32(70+5*i), 3))
	}
	r, conns := report(at(4 * time.Second))
	if r.InFlight != 7 || r.Queued != 2 || r.Up != 2 || conns != 7 {
		t.Errorf("in flight %d, queued %d, up %d, on s1 %d; want 7, 2, 2, 7", r.InFlight, r.Queued, r.Up, conns)
	}
	if r.Started != 105 {
		t.Errorf("%d started, want 105", r.Started)
	}
	for i := range 6 {
		m.Heartbeat(at(4*time.Second+time.Duration(i)*500*time.Millisecond), beat("app", two, uint32(200+5*i), 5))
	}
	if r, conns = report(at(7 * time.Second)); r.InFlight != 5 || r.Queued != 1 || conns != 5 {
		t.Errorf("with one left: in flight %d, queued %d, on s1 %d; want 5, 1, 5", r.InFlight, r.Queued, conns)
	}
}

func TestOpenRequestsOfTwoHAProxysAddUp(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	at := func(d time.Duration) time.Time { return began.Add(d) }
	one, two := boot(-time.Hour), boot(-time.Minute)
	for i, id := range []string{"a", "b", "c"} {
		from := one
		if i > 0 {
			from = two
		}
		m.Arrive(at(time.Duration(i)*time.Second), &Arrival{Backend: "app", Boot: from, ID: []byte(id), BackendConns: Absent, Queued: Absent})
	}
	m.Heartbeat(at(4*time.Second), beat("app", one, 10, 1))
	m.Heartbeat(at(4100*time.Millisecond), beat("app", two, 10, 2))
	r := m.Take(at(5 * time.Second))
	if len(r) != 1 || r[0].Open != 3 || r[0].OldestOpen != 5*time.Second {
		t.Errorf("%d open, the oldest for %v; want 3, 5s", r[0].Open, r[0].OldestOpen)
	}
}
