package spoa

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Without arrival messages, the counters tell for how long the oldest open request has been open.
func TestTheCountersTellTheAgeOfTheOldest(t *testing.T) {
	old, fresh := boot(-time.Hour), boot(10*time.Second)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	type step struct {
		at               float64
		boot             string
		started, current uint32
	}
	// quiet is a heartbeat of the same every second.
	quiet := func(from, to float64, id string, started, current uint32) (list []step) {
		for s := from; s <= to; s++ {
			list = append(list, step{s, id, started, current})
		}
		return list
	}
	join := func(lists ...[]step) (all []step) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for name, tt := range map[string]struct {
		steps []step
		at    float64
		want  time.Duration
	}{
		"nothing is open": {quiet(0, 20, old, 100, 0), 20, 0},
		// They came between 4 and 5, and are entered in both seconds. The first one's ends at 5, and it may be entered a second too early.
		"five came and hang":      {join(quiet(0, 4, old, 100, 0), quiet(5, 30, old, 105, 5)), 30.5, 24500 * time.Millisecond},
		"of ten that came three":  {join(quiet(0, 4, old, 100, 0), quiet(5, 9, old, 107, 0), quiet(10, 30, old, 110, 3)), 30, 19 * time.Second},
		"younger ones come, too":  {join(quiet(0, 4, old, 100, 0), quiet(5, 9, old, 107, 3), quiet(10, 30, old, 108, 3)), 30, 23 * time.Second},
		"at least two minutes":    {join(quiet(0, 4, old, 100, 0), quiet(5, 400, old, 105, 5)), 400, 118 * time.Second},
		"they were there before":  {quiet(3, 30, old, 100, 5), 30, 25 * time.Second},
		"heartbeats have ended":   {join(quiet(0, 4, old, 100, 0), quiet(5, 20, old, 105, 5)), 30, 0},
		"in a silence":            {join(quiet(0, 4, old, 100, 0), quiet(15, 30, old, 105, 5)), 30, 14 * time.Second},
		"a new process":           {join(quiet(0, 9, old, 100, 0), quiet(11, 30, fresh, 4, 4)), 30, 19 * time.Second},
		"another was there first": {join(quiet(0, 4, old, 100, 0), quiet(5, 11, old, 105, 5), quiet(12, 12, boot(-2*time.Hour), 70, 2), quiet(13, 30, boot(-2*time.Hour), 70, 2)), 30, 16 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMeter(MeterOptions{Began: began})
			for _, s := range tt.steps {
				m.Heartbeat(at(s.at), beat("app", s.boot, s.started, s.current))
			}
			r := m.Take(at(tt.at))
			if len(r) != 1 || r[0].Open != Absent || r[0].OldestOpen != tt.want {
				t.Errorf("%d open, the oldest for %v; want -1 and %v", r[0].Open, r[0].OldestOpen, tt.want)
			}
		})
	}
}

// However requests come and go, the oldest is never told to be older than it is.
func TestTheAgeIsNeverTooHigh(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := NewMeter(MeterOptions{Began: began})
		id := boot(-time.Hour)
		var open []time.Duration // when they came
		var oldest time.Duration // as of the last heartbeat
		started, told, late := uint32(r.IntN(1000)), 0, false
		busy, hang := r.Float64(), r.Float64()
		for now := time.Duration(0); now < 200*time.Second; now += 100 * time.Millisecond {
			if r.IntN(300) == 0 {
				busy, hang = r.Float64()*r.Float64(), r.Float64()
			}
			for range 20 {
				if r.Float64() > busy {
					break
				}
				open, started = append(open, now), started+1
			}
			for len(open) > 0 && r.Float64() > hang {
				i := r.IntN(len(open))
				open[i] = open[len(open)-1]
				open = open[:len(open)-1]
			}
			// Now and then one heartbeat is missing.
			if now%(500*time.Millisecond) == 0 && !late && r.IntN(10) == 0 {
				late = true
			} else if now%(500*time.Millisecond) == 0 {
				late = false
				m.Heartbeat(began.Add(now), beat("app", id, started, uint32(len(open))))
				oldest = now
				for _, came := range open {
					oldest = min(oldest, came)
				}
			}
			if now%(300*time.Millisecond) != 0 {
				continue
			}
			report := m.Take(began.Add(now))
			if len(report) == 0 || report[0].OldestOpen == 0 {
				continue
			}
			if told++; report[0].OldestOpen > now-oldest {
				t.Fatalf("seed %d, after %v: the oldest came %v ago, told are %v", seed, now, now-oldest, report[0].OldestOpen)
			}
		}
		if seed == 0 && told == 0 {
			t.Error("no age was ever told")
		}
	}
}
