package spoa

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var began = time.Unix(1_700_000_000, 0)

// boot is the id of a process that started the given time after the meter began.
func boot(after time.Duration) string { return fmt.Sprint(began.Add(after).UnixMicro()) }

func TestTotals(t *testing.T) {
	type step struct {
		at                time.Duration
		boot              string
		started, cur, nr  uint32
		heartbeat         bool
		arrivals          uint64
		wantStarted       uint64
		wantFin, wantNone uint64
	}
	old, first, second := boot(-time.Hour), boot(time.Second), boot(time.Minute)
	const s = time.Second
	tests := map[string][]step{
		"a process older than the meter is counted from where it is seen": {
			{1 * s, old, 1000, 10, 5, true, 0, 0, 0, 0},
			{2 * s, old, 1003, 11, 5, true, 3, 3, 2, 0},
		},
		"a younger one is counted from its start": {
			{2 * s, first, 7, 2, 1, true, 7, 7, 5, 1},
		},
		"a reload loses nothing and does not go back": {
			{2 * s, first, 100, 0, 0, true, 100, 100, 100, 0},
			{61 * s, second, 4, 1, 0, true, 4, 104, 103, 0},
			{62 * s, first, 102, 0, 1, false, 2, 106, 105, 1}, // the old process answers its last requests
			{63 * s, second, 5, 0, 0, true, 1, 107, 107, 1},
		},
		"messages that overtake each other": {
			{2 * s, first, 10, 5, 0, false, 10, 10, 5, 0},
			{2 * s, first, 8, 5, 0, false, 0, 10, 5, 0},
			{2 * s, first, 11, 5, 0, false, 1, 11, 6, 0},
		},
		"a cleared table is noticed by the heartbeat": {
			{2 * s, first, 10, 0, 0, true, 10, 10, 10, 0},
			{3 * s, first, 1, 0, 0, true, 0, 10, 10, 0},
			{4 * s, first, 4, 0, 0, true, 3, 13, 13, 0},
		},
		"counters wrap at 2^32": {
			{1 * s, old, 1<<32 - 2, 0, 1<<32 - 1, true, 0, 0, 0, 0},
			{2 * s, old, 3, 1, 1, true, 5, 5, 4, 2},
		},
		"a jump that cannot be is not counted": {
			{2 * s, first, 10, 0, 0, true, 10, 10, 10, 0},
			{3 * s, first, 1 << 30, 0, 0, true, 0, 10, 10, 0},
			{4 * s, first, 1<<30 + 2, 0, 0, true, 2, 12, 12, 0},
		},
		"more current than started is not believed": {
			{2 * s, first, 10, 1 << 30, 0, true, 10, 10, 0, 0},
			{3 * s, first, 11, 0, 0, true, 1, 11, 11, 0},
		},
		"a boot id that is no time": {
			{2 * s, "abc", 10, 0, 0, true, 0, 0, 0, 0},
			{3 * s, "abc", 12, 0, 0, true, 2, 2, 2, 0},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			tot := totals{began: began.UnixMicro()}
			for i, p := range steps {
				n := tot.observe(int64(p.at), p.boot, Counters{Started: p.started, Current: p.cur, NoResponse: p.nr, Known: true}, p.heartbeat)
				if n != p.arrivals || tot.started != p.wantStarted || tot.finished != p.wantFin || tot.noresp != p.wantNone {
					t.Errorf("step %d: %d arrivals, totals %d %d %d; want %d, %d %d %d", i,
						n, tot.started, tot.finished, tot.noresp, p.arrivals, p.wantStarted, p.wantFin, p.wantNone)
				}
			}
		})
	}
}

// A process that was pushed out of the table by many reloads and speaks again must not be counted a second time.
func TestForgottenProcessIsNotCountedTwice(t *testing.T) {
	tot := totals{began: began.UnixMicro()}
	at := func(i int) int64 { return int64(time.Duration(i) * time.Minute) }
	for i := range maxBoots + 3 {
		tot.observe(at(i+1), boot(time.Duration(i)*time.Minute+time.Second), Counters{Started: 100, Known: true}, true)
	}
	before := tot.started
	tot.observe(at(20), boot(time.Second), Counters{Started: 101, Known: true}, false)
	if tot.started != before {
		t.Errorf("a forgotten process added %d requests", tot.started-before)
	}
}

// Whatever the order in which a few processes' messages come, totals never go back, and once each has told its last
// count they are exact.
func TestTotalsAreExactAndMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tot := totals{began: began.UnixMicro()}
		now := began
		var want uint64
		for p := range rapid.IntRange(1, 4).Draw(t, "processes") {
			now = now.Add(10 * time.Second)
			id := boot(now.Sub(began))
			var truth uint32
			for range rapid.IntRange(1, 20).Draw(t, "messages") {
				now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "ms")) * time.Millisecond)
				truth += uint32(rapid.IntRange(0, 50).Draw(t, "arrivals"))
				last := tot
				late := uint32(rapid.IntRange(0, 5).Draw(t, "late"))
				tot.observe(int64(now.Sub(began)), id, Counters{Started: truth - min(late, truth), Known: true}, false)
				if tot.started < last.started || tot.finished < last.finished || tot.noresp < last.noresp {
					t.Fatalf("process %d: totals went back", p)
				}
			}
			tot.observe(int64(now.Sub(began)), id, Counters{Started: truth, Known: true}, true)
			want += uint64(truth)
			if tot.started != want || tot.finished != want {
				t.Fatalf("process %d: %d started, %d finished, want %d", p, tot.started, tot.finished, want)
			}
		}
	})
}
