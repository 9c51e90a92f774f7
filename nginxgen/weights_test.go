package nginxgen

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWeights(t *testing.T) {
	for name, c := range map[string]struct {
		capacity []float64
		want     []int
	}{
		"none":                         {[]float64{}, []int{}},
		"all down":                     {[]float64{0, 0}, []int{0, 0}},
		"raw":                          {[]float64{3, 4, 7}, []int{3, 4, 7}},
		"divided":                      {[]float64{4, 8, 0, 12}, []int{1, 2, 0, 3}},
		"equal":                        {[]float64{8, 8, 8}, []int{1, 1, 1}},
		"at the cap":                   {[]float64{64, 63}, []int{64, 63}},
		"large, in a small ratio":      {[]float64{99, 66, 33}, []int{3, 2, 1}},
		"scaled":                       {[]float64{101, 60, 25}, []int{32, 19, 8}},
		"scaled with a floor":          {[]float64{1000, 1}, []int{32, 1}},
		"negative is down":             {[]float64{-3, 2}, []int{0, 1}},
		"a node of speed 1.5":          {[]float64{7 * 1.5, 4}, []int{21, 8}},
		"a node of speed 1.1":          {[]float64{3 * 1.1, 3}, []int{11, 10}},
		"speeds without a small ratio": {[]float64{7 * 1.37, 7}, []int{32, 23}},
		"a slow node is not down":      {[]float64{1e-9, 1}, []int{1, 32}},
		"absurd":                       {[]float64{math.MaxInt, 1, math.MinInt}, []int{32, 1, 0}},
		"absurd and fractional":        {[]float64{math.MaxFloat64, 0.5}, []int{32, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Weights(c.capacity)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestWeightsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ready := rapid.SliceOfN(rapid.IntRange(-2, 400), 0, 30).Draw(t, "ready")
		top := 0
		capacity := make([]float64, len(ready))
		for i, r := range ready {
			top, capacity[i] = max(top, r), float64(r)
		}
		w := Weights(capacity)
		if len(w) != len(ready) {
			t.Fatalf("%d weights for %d counts", len(w), len(ready))
		}
		for i, r := range ready {
			if (r > 0) != (w[i] > 0) || w[i] < 0 || w[i] > 64 {
				t.Fatalf("count %d got weight %d", r, w[i])
			}
			for j, q := range ready {
				if r <= 0 || q <= 0 {
					continue
				}
				if r >= q && w[i] < w[j] {
					t.Fatalf("more workers, less weight: %d->%d, %d->%d", r, w[i], q, w[j])
				}
				if top <= 64 && r*w[j] != q*w[i] {
					t.Fatalf("raw counts must be exact: %d->%d, %d->%d", r, w[i], q, w[j])
				}
			}
		}
	})
}

// TestScaledWeightsAreNearTheShares: with 32 steps no server of twenty that differ by at most a factor of eight is further
// off its share than half a step of the smallest (1/8 of 32 is 4: 12.5 %) and the sum's own rounding.
func TestScaledWeightsAreNearTheShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.SliceOfN(rapid.Float64Range(50, 400), 2, 20).Draw(t, "capacity")
		w := Weights(capacity)
		sum, all := 0.0, 0
		for i := range w {
			sum, all = sum+capacity[i], all+w[i]
		}
		moved := 0.0
		for i := range w {
			want, got := capacity[i]/sum, float64(w[i])/float64(all)
			if math.Abs(got-want) > 0.16*want {
				t.Fatalf("%v got weight %d: share %.4f, want %.4f", capacity[i], w[i], got, want)
			}
			moved += math.Abs(got-want) / 2
		}
		if moved > 0.05 {
			t.Fatalf("%.1f %% go to another server than they should: %v -> %v", 100*moved, capacity, w)
		}
	})
}

func TestHashWeights(t *testing.T) {
	for name, c := range map[string]struct {
		capacity []float64
		full     float64
		want     []int
	}{
		"none":                         {nil, 8, []int{}},
		"all full":                     {[]float64{8, 8}, 8, []int{10, 10}},
		"not divided":                  {[]float64{4, 4}, 8, []int{5, 5}},
		"a floor":                      {[]float64{1, 200}, 200, []int{1, 10}},
		"down":                         {[]float64{0, -1, 8}, 8, []int{0, 0, 10}},
		"more than full":               {[]float64{16, 8}, 8, []int{10, 10}},
		"full is not known":            {[]float64{3}, 0, []int{10}},
		"a slow node among fast ones":  {[]float64{8 * 0.5, 8 * 1}, 8, []int{5, 10}},
		"one loses a worker of twenty": {[]float64{19, 20}, 20, []int{10, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, HashWeights(c.capacity, c.full)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestAHashWeightDependsOnNoOtherServer: what one server does moves no key between two others.
func TestAHashWeightDependsOnNoOtherServer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.SliceOfN(rapid.Float64Range(0, 50), 1, 20).Draw(t, "capacity")
		before := HashWeights(capacity, 50)
		which := rapid.IntRange(0, len(capacity)-1).Draw(t, "which")
		capacity[which] = rapid.Float64Range(0, 50).Draw(t, "changed")
		for i, w := range HashWeights(capacity, 50) {
			if i != which && w != before[i] {
				t.Fatalf("server %d changed from %d to %d because server %d did", i, before[i], w, which)
			}
			if w > 10 || (w > 0) != (capacity[i] > 0) {
				t.Fatalf("capacity %v got weight %d", capacity[i], w)
			}
		}
	})
}

func TestSteadyWeights(t *testing.T) {
	ones := func(n int) []float64 { return slices.Repeat([]float64{1}, n) }
	for _, c := range []struct {
		capacity, speed []float64
		want            []int
	}{
		{nil, nil, []int{}},
		{[]float64{0, 0}, ones(2), []int{0, 0}},
		{[]float64{2, 4, 0}, ones(3), []int{2, 4, 0}}, // not 1, 2: what a server has in common with others is nobody's business
		{[]float64{64, 1}, ones(2), []int{64, 1}},
		{[]float64{65, 1, 64, 33}, ones(4), []int{33, 1, 32, 17}},
		{[]float64{1024, 16, 1, 0}, ones(4), []int{64, 1, 1, 0}},
		{[]float64{6, 4, 2}, []float64{1.5, 1, 0.5}, []int{12, 8, 4}},
		{[]float64{2, 4, 2}, []float64{1.5, 1, 0.5}, []int{4, 8, 4}}, // nothing changes that did not
		{[]float64{3.3, 1}, []float64{1.1, 1}, []int{33, 10}},
		{[]float64{1.37, 1}, []float64{1.37, 1}, []int{27, 20}},
		{[]float64{0.05}, []float64{0.05}, []int{1}},
	} {
		if diff := cmp.Diff(c.want, SteadyWeights(c.capacity, c.speed)); diff != "" {
			t.Errorf("%v: %s", c.capacity, diff)
		}
	}
}
