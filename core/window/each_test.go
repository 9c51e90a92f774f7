package window_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/core/window"
)

// Whatever comes, and however little memory there is: the buckets follow each other without gap or overlap from the second that
// Each speaks for, and each holds exactly what happened in it.
func TestEachAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := window.NewBudget(rapid.SampledFrom([]int64{0, 512, 3000, 1 << 30}).Draw(t, "memory"), nil)
		s, model := window.NewHour(budget), map[int64]window.Bucket{}
		now := rapid.Int64Range(-500, 500).Draw(t, "start")
		s.Begin(now)
		began := now
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			for range rapid.SampledFrom([]int{1, 3, 60, 400}).Draw(t, "stretch") {
				now++
				if now%3 != 0 {
					b := window.Bucket{Arrivals: uint64(now & 15), Completions: uint64(now & 7), Timed: 1, Response: uint64(now*now) & 0xffffff}
					s.Add(now, b)
					m := model[now]
					addAll(&m, b)
					model[now] = m
				}
			}
			b := drawBucket(t)
			s.Add(now, b)
			m := model[now]
			addAll(&m, b)
			model[now] = m
			now += rapid.SampledFrom([]int64{0, 1, 5, 17, 300}).Draw(t, "gap")
			s.Begin(now)
		}
		to := now + rapid.Int64Range(-3, 3).Draw(t, "end")
		from := to - rapid.SampledFrom([]int64{0, 1, 10, 16, 17, 60, 600}).Draw(t, "length")
		next, begun := int64(0), false
		first := s.Each(from, to, func(sec, width int64, b window.Bucket) {
			if begun && sec != next || width < 1 || sec < from || sec+width > to {
				t.Fatalf("a bucket of %d s at %d after %d, within %d..%d", width, sec, next, from, to)
			}
			begun, next = true, sec+width
			if d := cmp.Diff(sumOf(model, sec, sec+width), b); d != "" {
				t.Fatalf("the %d s from %d on (-want +got):\n%s", width, sec, d)
			}
		})
		if begun && next != to || !begun && first < to {
			t.Fatalf("it speaks for %d..%d and ended at %d", first, to, next)
		}
		// The newest quarter of a minute is always known.
		if least := max(from, began+1, now-15); first > least && least < to {
			t.Fatalf("it speaks for %d..%d, and could for %d", first, to, least)
		}
	})
}
