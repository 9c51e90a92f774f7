package nginxgen

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWeights(t *testing.T) {
	for name, c := range map[string]struct {
		ready []int
		limit int
		want  []int
	}{
		"none":                  {[]int{}, 0, []int{}},
		"all down":              {[]int{0, 0}, 0, []int{0, 0}},
		"raw":                   {[]int{3, 4, 7}, 0, []int{3, 4, 7}},
		"divided":               {[]int{4, 8, 0, 12}, 0, []int{1, 2, 0, 3}},
		"equal":                 {[]int{8, 8, 8}, 0, []int{1, 1, 1}},
		"at the cap":            {[]int{64, 63}, 0, []int{64, 63}},
		"scaled":                {[]int{100, 50, 25}, 0, []int{4, 2, 1}},
		"scaled with a floor":   {[]int{1000, 1}, 0, []int{32, 1}},
		"negative is down":      {[]int{-3, 2}, 0, []int{0, 1}},
		"a small cap of a hash": {[]int{20, 3}, 10, []int{5, 1}},
		"absurd":                {[]int{math.MaxInt, 1, math.MinInt}, 0, []int{32, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Weights(c.ready, c.limit)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestWeightsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ready := rapid.SliceOfN(rapid.IntRange(-2, 400), 0, 30).Draw(t, "ready")
		limit := rapid.IntRange(0, 100).Draw(t, "limit")
		w := Weights(ready, limit)
		if len(w) != len(ready) {
			t.Fatalf("%d weights for %d counts", len(w), len(ready))
		}
		lim, top := limit, 0
		if lim == 0 {
			lim = DefaultCap
		}
		for _, r := range ready {
			top = max(top, r)
		}
		for i, r := range ready {
			if (r > 0) != (w[i] > 0) || w[i] < 0 || w[i] > lim {
				t.Fatalf("count %d got weight %d (limit %d)", r, w[i], lim)
			}
			for j, q := range ready {
				if r <= 0 || q <= 0 {
					continue
				}
				if r >= q && w[i] < w[j] {
					t.Fatalf("more workers, less weight: %d->%d, %d->%d", r, w[i], q, w[j])
				}
				if top <= lim && r*w[j] != q*w[i] {
					t.Fatalf("raw counts must be exact: %d->%d, %d->%d", r, w[i], q, w[j])
				}
			}
		}
		if g := gcdOf(w); g > 1 {
			t.Fatalf("%v has the common divisor %d", w, g)
		}
	})
}
