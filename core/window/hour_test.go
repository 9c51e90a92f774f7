package window_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/core/window"
)

func addAll(to *window.Bucket, b window.Bucket) {
	to.Arrivals += b.Arrivals
	to.Completions += b.Completions
	to.Errors += b.Errors
	to.Timed += b.Timed
	to.Queue += b.Queue
	to.Connect += b.Connect
	to.Response += b.Response
}

func drawBucket(t *rapid.T) window.Bucket {
	n := rapid.SampledFrom([]uint64{0, 0, 1, 2, 300, 70000})
	long := rapid.SampledFrom([]uint64{0, 1, 300, 5_000_000, 1 << 50})
	return window.Bucket{
		Arrivals: n.Draw(t, "arrivals"), Completions: n.Draw(t, "completions"), Errors: n.Draw(t, "errors"), Timed: n.Draw(t, "timed"),
		Queue: long.Draw(t, "queue"), Connect: long.Draw(t, "connect"), Response: long.Draw(t, "response"),
	}
}

// sumOf adds up the seconds from..to-1 of a map that forgets nothing.
func sumOf(model map[int64]window.Bucket, from, to int64) (total window.Bucket) {
	for sec, b := range model {
		if sec >= from && sec < to {
			addAll(&total, b)
		}
	}
	return total
}

// Whatever comes, whenever, and however little memory there is: a sum is exactly that of the seconds it says it covers.
// With enough memory it covers all that were asked for.
func TestHourAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SampledFrom([]int64{0, 512, 3000, 1 << 30}).Draw(t, "memory")
		budget := window.NewBudget(bytes, nil)
		s, model := window.NewHour(budget), map[int64]window.Bucket{}
		began := rapid.Int64Range(-5000, 5000).Draw(t, "start")
		now := began
		s.Begin(now)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			// A stretch of seconds, each with or without something; then perhaps a gap.
			for range rapid.SampledFrom([]int{1, 3, 60, 400}).Draw(t, "stretch") {
				now++
				if now%3 != 0 {
					b := window.Bucket{Arrivals: uint64(now & 15), Completions: uint64(now & 7), Timed: 1, Connect: 300, Response: uint64(now*now) & 0xffffff}
					s.Add(now, b)
					m := model[now]
					addAll(&m, b)
					model[now] = m
				}
			}
			b := drawBucket(t)
			sec := now - rapid.Int64Range(0, 15).Draw(t, "lag")
			s.Add(sec, b)
			m := model[sec]
			addAll(&m, b)
			model[sec] = m
			began = min(began, sec)
			now += rapid.SampledFrom([]int64{0, 1, 5, 16, 17, 300, 3590, 3600, 3700, 100000}).Draw(t, "gap")
			s.Begin(now)

			n := rapid.SampledFrom([]int{1, 10, 16, 17, 60, 600, 3599, 3600}).Draw(t, "n")
			got, covered := s.Sum(now, n)
			if d := cmp.Diff(sumOf(model, now-int64(covered), now), got); d != "" || covered > n {
				t.Fatalf("at %d, the last %d of %d seconds (-want +got):\n%s", now, covered, n, d)
			}
			if want := min(int64(n), max(0, now-began-1)); bytes == 1<<30 && int64(covered) != want {
				t.Fatalf("at %d, %d of %d seconds are covered, want %d", now, covered, n, want)
			}
			if budget.Used() > bytes {
				t.Fatalf("%d bytes taken, %d are allowed", budget.Used(), bytes)
			}
		}
		if s.Release(); budget.Used() != 0 {
			t.Fatalf("%d bytes are still taken", budget.Used())
		}
	})
}

// An hour of a backend that is never idle, and what is left of it when many have to share.
func TestHourSharesMemory(t *testing.T) {
	fill := func(from int64, all ...*window.Seconds) {
		for i := range 3700 * len(all) {
			sec := from + int64(i/len(all))
			all[i%len(all)].Add(sec, window.Bucket{Arrivals: 10, Completions: 10, Timed: 10, Queue: 200, Connect: 3000, Response: 500000 + uint64(sec*7919%1000)})
		}
	}
	budget := window.NewBudget(1<<30, nil)
	s := window.NewHour(budget)
	if fill(0, s); budget.Used() > 40<<10 {
		t.Errorf("a busy hour takes %d bytes, want at most 40 kB", budget.Used())
	}
	t.Logf("a busy hour takes %d bytes", budget.Used())
	if _, covered := s.Sum(3700, 3600); covered != 3600 {
		t.Errorf("%d seconds are covered, want 3600", covered)
	}
	idle := window.NewHour(budget)
	before := budget.Used()
	idle.Begin(0)
	idle.Begin(5000)
	if budget.Used() != before {
		t.Error("an idle hour takes memory")
	}
	if _, covered := idle.Sum(5000, 3600); covered != 3600 {
		t.Errorf("%d idle seconds are covered, want 3600", covered)
	}

	// Two have filled the memory when eight more begin; all would want 360 kB and get 96 kB.
	budget = window.NewBudget(96<<10, nil)
	all := []*window.Seconds{window.NewHour(budget), window.NewHour(budget)}
	fill(0, all...)
	for range 8 {
		all = append(all, window.NewHour(budget))
	}
	fill(3700, all...)
	for i, s := range all {
		total, covered := s.Sum(7400, 3600)
		_, fine := s.Sum(7400, 60)
		if covered < 3000 || fine != 60 || total.Arrivals != 10*uint64(covered) {
			t.Errorf("backend %d: %d seconds covered, %d of the last 60, %d arrivals", i, covered, fine, total.Arrivals)
		}
	}
	if budget.Used() > 96<<10 {
		t.Errorf("%d bytes taken", budget.Used())
	}
}

func TestHourSpreadsOverAGap(t *testing.T) {
	s := window.NewHour(nil)
	s.Add(0, window.Bucket{Arrivals: 1})
	s.Spread(1, 1000, 2000)
	for _, n := range []int{10, 500, 999} {
		if got, covered := s.Sum(1001, n); covered != n || got.Arrivals != uint64(2*n) {
			t.Errorf("the last %d seconds: %d arrivals in %d", n, got.Arrivals, covered)
		}
	}
}

func TestMinutesAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SampledFrom([]int64{0, 20, 100, 1 << 30}).Draw(t, "memory")
		budget := window.NewBudget(bytes, nil)
		now := rapid.Int64Range(-1000, 5000).Draw(t, "start")
		m, model := window.NewMinutes(now), map[int64]window.Bucket{}
		began := now
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 1, 30, 61, 61, 300, 3600, 4000}).Draw(t, "gap")
			b := drawBucket(t)
			m.Add(now, b, budget)
			k := model[now]
			addAll(&k, b)
			model[now] = k
			asked := now + rapid.Int64Range(1, 200).Draw(t, "later")
			n := rapid.SampledFrom([]int{1, 60, 61, 600, 3600}).Draw(t, "n")
			got, covered := m.Sum(asked, n)
			if d := cmp.Diff(sumOf(model, asked-int64(covered), asked), got); d != "" || covered > n {
				t.Fatalf("at %d, the last %d of %d seconds (-want +got):\n%s", asked, covered, n, d)
			}
			if bytes == 1<<30 && asked-now < 60 && int64(covered) < min(int64(n)-59, asked-began) && now-began < 3000 {
				t.Fatalf("at %d only %d of %d seconds are covered", asked, covered, n)
			}
			if budget.Used() > bytes {
				t.Fatalf("%d bytes taken, %d are allowed", budget.Used(), bytes)
			}
		}
		if m.Release(budget); budget.Used() != 0 {
			t.Fatalf("%d bytes are still taken", budget.Used())
		}
	})
}

// Quantiles of a sketch are within 1 % of the exact ones, be the values few or many.
func TestSketchAgainstExactQuantiles(t *testing.T) {
	shapes := map[string]func(r *rand.Rand) float64{
		"log-normal":        func(r *rand.Rand) float64 { return 20000 * exp(r.NormFloat64()) },
		"exponential":       func(r *rand.Rand) float64 { return 50000 * r.ExpFloat64() },
		"uniform":           func(r *rand.Rand) float64 { return 1e6 * r.Float64() },
		"two far humps":     func(r *rand.Rand) float64 { return []float64{500, 9e6}[r.IntN(2)] * (1 + 0.1*r.Float64()) },
		"all over the axis": func(r *rand.Rand) float64 { return exp(20 * r.Float64()) },
	}
	for name, draw := range shapes {
		for _, n := range []int{1, 5, 20, 100, 1000, 30000} {
			budget := window.NewBudget(1<<30, nil)
			s := window.NewSketches(30, 6, budget).New()
			r := rand.New(rand.NewPCG(1, uint64(n)))
			var values []time.Duration
			for i := range n {
				d := time.Duration(draw(r)) * time.Microsecond
				values = append(values, d)
				s.Add(int64(30*i/n), d)
			}
			slices.Sort(values)
			var h window.Histogram
			if !s.Merge(29, &h) || h.Count() != uint64(n) {
				t.Fatalf("%s: %d values of %d", name, h.Count(), n)
			}
			for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
				rank := 0
				for rank+1 < n && float64(rank+1) < q*float64(n) {
					rank++
				}
				got, want := h.Quantile(q), values[rank]
				if float64((got - want).Abs()) > 0.01*float64(want) {
					t.Errorf("%s, %d values, q%v: %v, want %v within 1 %%", name, n, q, got, want)
				}
			}
			if n == 30000 {
				t.Logf("%s: %d values take %d bytes", name, n, budget.Used())
			}
			if s.Release(); budget.Used() != 0 {
				t.Errorf("%s: %d bytes are still taken", name, budget.Used())
			}
		}
	}
}

func exp(x float64) float64 {
	// e^x by squaring its thousandth root; the shape is what matters.
	y := 1 + x/1024
	for range 10 {
		y *= y
	}
	return y
}

// From a storm back to quiet: the memory comes back, and nothing is forgotten too early or too late.
func TestSketchGrowsAndShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SampledFrom([]int64{0, 64, 2000, 1 << 30}).Draw(t, "memory")
		budget := window.NewBudget(bytes, nil)
		kind := window.NewSketches(30, 3, budget)
		s := kind.New()
		turns := map[int64]uint64{}
		sec := int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			sec += rapid.SampledFrom([]int64{0, 1, 4, 10, 25, 40}).Draw(t, "gap")
			n := rapid.SampledFrom([]int{1, 2, 10, 500}).Draw(t, "n")
			for i := range n {
				s.Add(sec, time.Duration(1+i*i)*time.Millisecond)
			}
			turns[sec/10] += uint64(n)
			want := turns[sec/10] + turns[sec/10-1] + turns[sec/10-2]
			var h window.Histogram
			s.Merge(sec, &h)
			if got := h.Count(); bytes == 1<<30 && got != want || got > want || bytes < 1<<30 && got+kind.Forced() < want {
				t.Fatalf("in second %d: %d values, %d forced, want %d", sec, got, kind.Forced(), want)
			}
			if budget.Used() > bytes {
				t.Fatalf("%d bytes taken, %d are allowed", budget.Used(), bytes)
			}
		}
		s.Trim(sec + 29 - 10)
		if s.Trim(sec + 40); budget.Used() != 0 {
			t.Fatalf("%d bytes are still taken", budget.Used())
		}
	})
}
