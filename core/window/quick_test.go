package window

import (
	"math/bits"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The bucket of a value is told by its seven highest bits; values below 128 are their own.
func TestBucketOf(t *testing.T) {
	f := func(us uint64) {
		t.Helper()
		want := int(us)
		if us >= subs {
			shift := bits.Len64(us) - 1 - subBits
			want = shift*subs + int(us>>shift)
		}
		if got := bucketOf(us); got != want {
			t.Errorf("%d is in bucket %d, want %d", us, got, want)
		}
	}
	for us := range uint64(100_000) {
		f(us)
	}
	for shift := range 37 {
		for d := range uint64(5) {
			f(1<<shift + d - 2)
		}
	}
	f(maxMicros)
	if i := bucketOf(maxMicros); i != histBuckets-1 {
		t.Errorf("the largest value is in bucket %d, the last is %d", i, histBuckets-1)
	}
}

// CountOne is Add of one, and stops where Add does.
func TestCountOneIsAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, 10_000).Draw(t, "start")
		one, added := NewMinutes(now), NewMinutes(now)
		if rapid.Bool().Draw(t, "full") {
			full := cell{arrivals: 1<<32 - 3, completions: 1<<32 - 2, errors: 1<<32 - 1, timed: 1<<32 - 1}
			one.now, added.now = full, full
		}
		for range rapid.IntRange(1, 40).Draw(t, "requests") {
			now += rapid.SampledFrom([]int64{0, 0, 0, 1, -1, 59, 61, 600, 4000}).Draw(t, "pause")
			n := func(what string, most uint64) uint64 { return rapid.Uint64Range(0, most).Draw(t, what) }
			b := Bucket{Arrivals: 1, Completions: 1, Errors: n("failed", 1), Timed: n("timed", 1)}
			if b.Timed == 1 {
				b.Queue, b.Connect, b.Response = n("queue", 1<<40), n("connect", 1<<40), n("response", 1<<40)
			}
			one.CountOne(MinuteOf(now), uint32(b.Errors), uint32(b.Timed), b.Queue, b.Connect, b.Response, nil)
			added.Add(now, b, nil)
			if one.now != added.now || string(one.data) != string(added.data) {
				t.Fatalf("CountOne has %+v, Add %+v", one, added)
			}
		}
	})
}

// AddIn does by its short way what it does by the long one, whatever the sketch is like and however little memory there is.
func TestAddInIsAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memory := rapid.Int64Range(0, 20_000).Draw(t, "memory")
		kinds := [2]*Sketches{NewSketches(30, 6, NewBudget(memory, nil)), NewSketches(30, 6, NewBudget(memory, nil))}
		quick, slow := kinds[0].New(), kinds[1].New()
		sec := int64(0)
		for range rapid.IntRange(1, 8).Draw(t, "turns") {
			sec = max(0, sec+rapid.SampledFrom([]int64{0, 1, 5, 7, 31, -3, -40}).Draw(t, "pause"))
			most := rapid.SampledFrom([]uint64{50, 5000, 1 << 40}).Draw(t, "most")
			for range rapid.IntRange(1, 100).Draw(t, "latencies") {
				us := rapid.Uint64Range(0, most).Draw(t, "latency")
				quick.AddIn(kinds[0].Part(sec), us)
				slow.add(kinds[1].Part(sec), us)
			}
			var a, b Histogram
			if quick.Merge(sec, &a) != slow.Merge(sec, &b) || a != b {
				t.Fatalf("by the short way (-) and by the long one (+):\n%s", cmp.Diff(a.counts, b.counts))
			}
			if kinds[0].Late() != kinds[1].Late() || kinds[0].Forced() != kinds[1].Forced() || kinds[0].budget.Used() != kinds[1].budget.Used() {
				t.Fatalf("%d late, %d forced, %d bytes; by the long way %d, %d, %d", kinds[0].Late(), kinds[0].Forced(), kinds[0].budget.Used(),
					kinds[1].Late(), kinds[1].Forced(), kinds[1].budget.Used())
			}
		}
	})
}
