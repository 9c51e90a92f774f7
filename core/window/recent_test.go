package window_test

import (
	"testing"

	"github.com/tidegate/tidegate/core/window"
	"pgregory.net/rapid"
)

// What is kept is all that came, or one entry of each stride in a row.
func TestRecentAgainstASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := 2 * rapid.IntRange(1, 20).Draw(t, "half the size")
		budget := window.NewBudget(int64(rapid.IntRange(0, 400).Draw(t, "budget")), nil)
		r := window.NewRecent[int](size, 8, budget)
		came := 0
		for range rapid.IntRange(0, 40).Draw(t, "turns") {
			for range rapid.SampledFrom([]int{0, 1, 2, 7, 50, 3000}).Draw(t, "n") {
				r.Add(came)
				came++
			}
			room := int(budget.Used()) / 8
			if n := r.Len(); n > size || n > room || n < min(came, (room+1)/2) {
				t.Fatalf("%d of %d entries kept in room for %d, at most %d", n, came, room, size)
			}
			if rapid.Bool().Draw(t, "take") {
				var got []int
				if lost := int(r.Take(func(v *int) { got = append(got, *v) })); lost != came-len(got) {
					t.Fatalf("took %v and %d lost of %d", got, lost, came)
				}
				checkStrides(t, got, came, room)
				came = 0
			}
		}
		if r.Release(); budget.Used() != 0 {
			t.Fatalf("%d bytes are still taken", budget.Used())
		}
	})
}

// checkStrides fails unless got holds one of each stride, the least power of two for which there is room. The last stride, which is
// not over, may have none yet.
func checkStrides(t *rapid.T, got []int, came, room int) {
	fits := func(stride int) bool {
		for i, v := range got {
			if v/stride != i {
				return false
			}
		}
		return len(got) == came/stride || len(got) == came/stride+1
	}
	stride := 1
	for came > stride*room && room > 0 {
		stride *= 2
	}
	// It is doubled when there is one to be kept and no room, which may be at the end of a stride.
	if room > 0 && !fits(stride) && !(came <= stride/2*(room+1) && fits(stride/2)) {
		t.Fatalf("%v are not one of each %d of %d, with room for %d", got, stride, came, room)
	}
}

// Servers in turn are a period that a fixed place in each stride would fit.
func TestRecentKeepsAllOfARoundRobin(t *testing.T) {
	const kept, came = 4096, 1_000_000
	for _, servers := range []int{2, 3, 4, 8, 16} {
		r := window.NewRecent[int](kept, 8, nil)
		for i := range came {
			r.Add(i % servers)
		}
		share := make([]int, servers)
		n := r.Len()
		r.Take(func(server *int) { share[*server]++ })
		for i, k := range share {
			// Five standard deviations of single draws, at least.
			if want := n / servers; k < want*2/3 || k > want*4/3 {
				t.Errorf("%d servers: server %d has %d of %d entries", servers, i, k, n)
			}
		}
	}
}
