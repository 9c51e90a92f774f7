package window_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/core/window"
)

func TestSeconds(t *testing.T) {
	one := window.Bucket{Arrivals: 1}
	tests := map[string]struct {
		do      func(s *window.Seconds)
		now     int64
		n       int
		want    uint64
		covered int
		late    uint64
	}{
		"nothing known":                          {func(*window.Seconds) {}, 10, 5, 0, 0, 0},
		"the running second is not complete":     {func(s *window.Seconds) { s.Begin(0); s.Add(10, one) }, 10, 5, 0, 5, 0},
		"the first second is not complete":       {func(s *window.Seconds) { s.Add(7, one); s.Add(8, one) }, 10, 5, 1, 2, 0},
		"skipped seconds are zero":               {func(s *window.Seconds) { s.Begin(0); s.Add(3, one); s.Add(9, one) }, 10, 8, 2, 8, 0},
		"a ring round leaves nothing behind":     {func(s *window.Seconds) { s.Begin(0); s.Add(3, one); s.Add(13, one) }, 14, 5, 1, 5, 0},
		"a jump over the whole ring clears it":   {func(s *window.Seconds) { s.Begin(0); s.Add(3, one); s.Add(5000, one) }, 5001, 5, 1, 5, 0},
		"asking later than the last second":      {func(s *window.Seconds) { s.Begin(0); s.Add(3, one) }, 100, 5, 0, 5, 0},
		"too old is dropped and counted":         {func(s *window.Seconds) { s.Begin(0); s.Add(50, one); s.Add(40, one) }, 51, 10, 1, 10, 1},
		"old but within the ring is taken":       {func(s *window.Seconds) { s.Begin(0); s.Add(50, one); s.Add(41, one) }, 51, 10, 2, 10, 0},
		"more seconds than the ring has":         {func(s *window.Seconds) { s.Begin(0); s.Add(50, one) }, 51, 1000, 1, 10, 0},
		"spread over five seconds":               {func(s *window.Seconds) { s.Begin(0); s.Spread(5, 9, 12) }, 10, 2, 6, 2, 0},
		"spread from before the ring":            {func(s *window.Seconds) { s.Begin(0); s.Spread(1, 100, 1000) }, 101, 5, 50, 5, 0},
		"spread of fewer than seconds":           {func(s *window.Seconds) { s.Begin(0); s.Spread(1, 9, 3) }, 10, 3, 3, 3, 0},
		"spread with its ends exchanged is one":  {func(s *window.Seconds) { s.Begin(0); s.Spread(9, 8, 3) }, 10, 9, 3, 9, 0},
		"spread that is too late altogether":     {func(s *window.Seconds) { s.Begin(0); s.Add(50, one); s.Spread(1, 9, 3) }, 51, 10, 1, 10, 0},
		"spread before the first second ever":    {func(s *window.Seconds) { s.Begin(6); s.Spread(1, 9, 9) }, 10, 20, 3, 3, 0},
		"a far future second and then the past":  {func(s *window.Seconds) { s.Begin(0); s.Add(1<<62, one); s.Add(5, one) }, 6, 5, 0, 0, 1},
		"negative seconds have places of theirs": {func(s *window.Seconds) { s.Begin(-9); s.Add(-5, one); s.Add(-4, one) }, -3, 9, 2, 5, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := window.NewSeconds(10)
			tt.do(s)
			got, covered := s.Sum(tt.now, tt.n)
			if got.Arrivals != tt.want || covered != tt.covered || s.Late() != tt.late {
				t.Errorf("got %d arrivals in %d seconds, %d late; want %d in %d, %d late", got.Arrivals, covered, s.Late(), tt.want, tt.covered, tt.late)
			}
			rate := 0.0
			if tt.covered > 0 {
				rate = float64(tt.want) / float64(tt.covered)
			}
			if r := s.Rate(tt.now, tt.n); r != rate {
				t.Errorf("rate %v, want %v", r, rate)
			}
		})
	}
}

// The ring must agree with a map that forgets nothing, as long as it is asked about seconds it still holds.
func TestSecondsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 20
		s, model := window.NewSeconds(size), map[int64]window.Bucket{}
		now := rapid.Int64Range(0, 1000).Draw(t, "start")
		s.Begin(now - 1)
		began := now - 1
		var late uint64
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, 1, 1, 2, 7, 19, 20, 21, 500}).Draw(t, "step")
			s.Begin(now)
			sec := now - rapid.Int64Range(0, 30).Draw(t, "lag")
			b := window.Bucket{Arrivals: 1, Completions: 2, Errors: 3, Timed: 4, Queue: 5, Connect: 6, Response: 7}
			s.Add(sec, b)
			if sec <= now-size {
				late++
			} else {
				began = min(began, sec)
				m := model[sec]
				m.Arrivals, m.Completions, m.Errors, m.Timed = m.Arrivals+1, m.Completions+2, m.Errors+3, m.Timed+4
				m.Queue, m.Connect, m.Response = m.Queue+5, m.Connect+6, m.Response+7
				model[sec] = m
			}
			n := rapid.IntRange(1, 25).Draw(t, "n")
			var want window.Bucket
			covered := 0
			for i := max(now-int64(n), now-size+1, began+1); i < now; i++ {
				covered++
				m := model[i]
				want.Arrivals += m.Arrivals
				want.Completions += m.Completions
				want.Errors += m.Errors
				want.Timed += m.Timed
				want.Queue += m.Queue
				want.Connect += m.Connect
				want.Response += m.Response
			}
			got, c := s.Sum(now, n)
			if d := cmp.Diff(want, got); d != "" || c != covered {
				t.Fatalf("at %d, last %d seconds (covered %d, want %d):\n%s", now, n, c, covered, d)
			}
		}
		if s.Late() != late {
			t.Fatalf("%d late, want %d", s.Late(), late)
		}
	})
}

func TestHistogramIsWithinOnePercent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h, other window.Histogram
		var values []time.Duration
		for i := range rapid.IntRange(1, 300).Draw(t, "n") {
			us := rapid.Int64Range(0, int64(1)<<rapid.IntRange(0, 37).Draw(t, "size")-1).Draw(t, "us")
			d := time.Duration(us) * time.Microsecond
			values = append(values, d)
			if i%2 == 0 {
				h.Add(d)
			} else {
				other.Add(d)
			}
		}
		h.Merge(&other)
		slices.Sort(values)
		var sum time.Duration
		for _, v := range values {
			sum += v
		}
		if m := sum / time.Duration(len(values)); h.Mean() != m.Truncate(time.Microsecond) {
			t.Fatalf("mean %v, want %v", h.Mean(), m)
		}
		for _, q := range []float64{-1, 0, 0.01, 0.5, 0.9, 0.95, 0.99, 1, 2} {
			rank := 0
			for rank+1 < len(values) && float64(rank+1) < q*float64(len(values)) {
				rank++
			}
			want, got := values[rank], h.Quantile(q)
			if diff := (got - want).Abs(); float64(diff) > 0.01*float64(want) {
				t.Fatalf("q%v of %d values: %v, want %v within 1 %%", q, len(values), got, want)
			}
		}
	})
}

func TestHistogramLimits(t *testing.T) {
	var h window.Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Count() != 0 {
		t.Error("an empty histogram must answer zeros")
	}
	h.Add(-time.Hour)
	h.Add(1 << 62)
	h.AddN(time.Second, 0)
	if got := h.Quantile(0); got != 0 {
		t.Errorf("a negative latency counts as %v, want 0", got)
	}
	if got := h.Quantile(1); got < 38*time.Hour || got > 39*time.Hour || h.Count() != 2 {
		t.Errorf("the largest latency is %v of %d, want about 38 hours of 2", got, h.Count())
	}
	h.Reset()
	for range 3 {
		h.AddN(time.Millisecond, 1<<32-1)
	}
	if got := h.Quantile(0.99); got < 990*time.Microsecond || got > 1010*time.Microsecond {
		t.Errorf("a full counter answers %v, want about 1 ms", got)
	}
}

func TestSketchForgets(t *testing.T) {
	kind := window.NewSketches(30, 6, nil)
	s := kind.New()
	count := func(now int64) uint64 {
		var h window.Histogram
		s.Merge(now, &h)
		return h.Count()
	}
	for sec := range int64(60) {
		s.Add(sec, time.Millisecond)
		// The part being filled and the five before it.
		if got, want := count(sec), min(uint64(sec)+1, uint64(25+sec%5+1)); got != want {
			t.Fatalf("in second %d: %d values, want %d", sec, got, want)
		}
	}
	s.Add(29, time.Millisecond)
	s.Add(-1, time.Millisecond)
	if kind.Late() != 2 {
		t.Errorf("%d late, want 2", kind.Late())
	}
	if got := count(84); got != 5 {
		t.Errorf("with 25 empty seconds: %d values, want 5", got)
	}
	if got := count(85); got != 0 {
		t.Errorf("after the span: %d values, want 0", got)
	}
}

func TestNothingAllocates(t *testing.T) {
	s, k, r := window.NewHour(nil), window.NewSketches(30, 6, nil).New(), window.NewRecent[[7]int64](128, 56, nil)
	for range 128 {
		r.Add([7]int64{})
	}
	for sec := range int64(4000) {
		s.Add(sec, window.Bucket{Completions: 1})
		k.Add(sec, time.Duration(sec)*time.Millisecond)
	}
	var h window.Histogram
	sec := int64(4000)
	allocs := testing.AllocsPerRun(1000, func() {
		sec++
		s.Add(sec, window.Bucket{Completions: 1})
		s.Spread(sec-3, sec, 10)
		k.Add(sec, time.Duration(sec)*time.Millisecond)
		r.Add([7]int64{sec})
		h.Reset()
		k.Merge(sec, &h)
		_ = h.Quantile(0.95)
		_ = s.Rate(sec, 60)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a step, want 0", allocs)
	}
}

func BenchmarkRecord(b *testing.B) {
	s, k := window.NewHour(nil), window.NewSketches(30, 6, nil).New()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		sec := int64(i >> 10)
		s.Add(sec, window.Bucket{Completions: 1, Response: uint64(i)})
		k.Add(sec, time.Duration(i&0xfffff)*time.Microsecond)
	}
}

func BenchmarkMerge(b *testing.B) {
	k := window.NewSketches(30, 6, nil).New()
	for i := range 300000 {
		k.Add(int64(i/10000), time.Duration(i%500000)*time.Microsecond)
	}
	b.ReportAllocs()
	var h window.Histogram
	for b.Loop() {
		h.Reset()
		k.Merge(29, &h)
		_ = h.Quantile(0.95)
	}
}
