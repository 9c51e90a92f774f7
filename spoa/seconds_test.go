package spoa

import (
	"math/rand/v2"
	"testing"
	"time"
)

// However often and irregularly a reader comes, it gets every complete second once and in order, and all that happened.
func TestSecondsComeOnceAndWhole(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	r := rand.New(rand.NewPCG(1, 2))
	id := boot(-time.Hour)
	cursor, next := int64(FromStart), int64(0)
	var arrivals, completions, timed, response uint64
	read := func(now time.Time) {
		list, c := m.Seconds(now, "app", cursor)
		cursor = c
		for _, s := range list {
			if next != 0 && s.At != next || s.Span != 1 || s.Untold {
				t.Fatalf("second %+v came, want %d", s, next)
			}
			if over := s.At + 1 - began.Unix(); now.Sub(began) < time.Duration(over)*time.Second {
				t.Fatalf("second %d came %v after the beginning, before it was over", s.At, now.Sub(began))
			}
			next = s.At + 1
			arrivals, completions, timed, response = arrivals+s.Arrivals, completions+s.Completions, timed+s.Timed, response+s.Response
		}
	}
	m.Heartbeat(began, beat("app", id, 1000, 0))
	n := uint32(1000)
	done1 := 0
	for i := 1; i <= 3000; i++ {
		now := began.Add(time.Duration(i) * 100 * time.Millisecond)
		if i > 10 && i < 2900 {
			n += 3
			s := done("app", "s1", 200, 20*time.Millisecond)
			if i%2 == 0 {
				s.Response = Absent
			}
			m.Done(now, s)
			done1++
		}
		if i%5 == 0 {
			m.Heartbeat(now, beat("app", id, n, 0))
		}
		if r.IntN(20) == 0 {
			read(now)
		}
	}
	read(began.Add(301 * time.Second))
	if arrivals != uint64(n-1000) || completions != uint64(done1) || timed != uint64(done1+1)/2 || response != timed*20000 {
		t.Errorf("%d arrivals, %d completions, %d timed, %d us; want %d, %d, %d, 20 ms each", arrivals, completions, timed, response, n-1000, done1, (done1+1)/2)
	}
	if want := began.Unix() + 300; next != want {
		t.Errorf("the last second is %d, want %d", next-1, want-1)
	}
}

func TestSecondsWaitForTheirArrivals(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	at := func(d time.Duration) time.Time { return began.Add(d) }
	id := boot(-time.Hour)
	m.Heartbeat(at(0), beat("app", id, 0, 0))
	m.Heartbeat(at(1900*time.Millisecond), beat("app", id, 100, 0))
	if list, _ := m.Seconds(at(2800*time.Millisecond), "app", FromStart); len(list) != 0 {
		t.Errorf("a second came whose arrivals were not all told: %+v", list)
	}
	m.Heartbeat(at(2900*time.Millisecond), beat("app", id, 200, 0))
	list, cursor := m.Seconds(at(2950*time.Millisecond), "app", FromStart)
	if len(list) != 1 || list[0].At != began.Unix()+1 || list[0].Arrivals != 100 {
		t.Errorf("%+v, want second 1 with 50 of the first and 50 of the second hundred", list)
	}
	if list, _ := m.Seconds(at(2950*time.Millisecond), "app", cursor); len(list) != 0 {
		t.Errorf("came again: %+v", list)
	}
	if list, c := m.Seconds(at(time.Minute), "nobody", cursor); list != nil || c != cursor {
		t.Errorf("an unknown backend: %+v, %d", list, c)
	}
}

func TestSecondsWithoutCounters(t *testing.T) {
	m := NewMeter(MeterOptions{Began: began})
	for i := range 20 {
		m.Done(began.Add(time.Duration(i)*500*time.Millisecond), done("app", "s1", 500, time.Second))
	}
	list, _ := m.Seconds(began.Add(20*time.Second), "app", FromStart)
	if len(list) != 18 || list[0].At != began.Unix()+1 || list[0].Arrivals != 2 || list[0].Errors != 2 || list[17].Completions != 0 {
		t.Errorf("%+v", list)
	}
	// After a pause at most a minute is told.
	list, _ = m.Seconds(began.Add(1000*time.Second), "app", 5)
	if len(list) != 60 || list[59].At != began.Unix()+998 {
		t.Errorf("%d seconds after a pause", len(list))
	}
}

func TestSecondsOfASilence(t *testing.T) {
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	old := boot(-time.Hour)
	start := func() (*Meter, int64) {
		m := NewMeter(MeterOptions{Began: began})
		for i := range 21 {
			m.Heartbeat(at(float64(i)/2), beat("app", old, uint32(10*i), 0))
		}
		_, c := m.Seconds(at(10.2), "app", FromStart)
		if list, _ := m.Seconds(at(40), "app", c); len(list) != 0 {
			t.Fatalf("told of seconds that nobody has told of: %+v", list)
		}
		return m, c
	}

	// The agent was away, HAProxy was not: the arrivals are known, the answers are not.
	m, c := start()
	m.Heartbeat(at(40), beat("app", old, 800, 0))
	m.Heartbeat(at(41.5), beat("app", old, 830, 0))
	list, _ := m.Seconds(at(41.6), "app", c)
	sum := uint64(0)
	for i, s := range list {
		sum += s.Arrivals
		if want := i > 0 && i < 30; s.Untold != want || s.At != began.Unix()+10+int64(i) {
			t.Errorf("%d: %+v", i, s)
		}
	}
	if len(list) != 31 || sum < 590 || sum > 625 {
		t.Errorf("%d seconds with %d arrivals, want 31 with about 615", len(list), sum)
	}

	// HAProxy was away: the seconds without it are left out, the arrivals of the new one are its own.
	m, c = start()
	fresh := boot(38500 * time.Millisecond)
	m.Heartbeat(at(40), beat("app", fresh, 60, 0))
	m.Heartbeat(at(41.5), beat("app", fresh, 90, 0))
	list, _ = m.Seconds(at(41.6), "app", c)
	var seconds []int64
	for _, s := range list {
		seconds = append(seconds, s.At-began.Unix())
		if k := s.At - began.Unix(); s.Untold != (k == 38 || k == 39) || k >= 38 && (s.Arrivals < 15 || s.Arrivals > 45) {
			t.Errorf("%+v", s)
		}
	}
	if len(seconds) != 4 || seconds[0] != 10 || seconds[1] != 38 || seconds[3] != 40 {
		t.Errorf("seconds %v, want 10 and 38 to 40", seconds)
	}
}

func TestWallKeepsItsOffset(t *testing.T) {
	const s = int64(time.Second)
	var w wall
	if got := w.offset(1000*s+s/3, 5*s); got != 995 {
		t.Fatalf("offset %d, want 995", got)
	}
	// The date drifts by less than half a second beyond its second, and back: nothing changes.
	for _, drift := range []int64{s / 3, s, -s / 2, 0} {
		if got := w.offset(1000*s+s/3+drift, 5*s); got != 995 {
			t.Errorf("drift %v: offset %d", time.Duration(drift), got)
		}
	}
	if got := w.offset(4600*s, 5*s); got != 4595 {
		t.Errorf("the date was set forward by an hour: offset %d", got)
	}
	if got := w.offset(1000*s, 5*s); got != 995 {
		t.Errorf("the date was set back by an hour: offset %d", got)
	}
}
