package nginxgen

import "math"

const (
	// DefaultCap is the largest weight that Weights writes as it is.
	DefaultCap = 64
	// scaleTo is the largest weight after scaling. Small weights matter: after a failure a server comes back by one unit
	// a selection, and with 32 steps the worst of twenty nodes is about 4.5 % off its share.
	scaleTo = 32
)

// Weights turns counts of ready workers into nginx weights. Counts of at most limit (0: DefaultCap) are only divided by
// their greatest common divisor, so shares are exact; larger ones are scaled to 32 (or to limit when that is smaller).
// A positive count never gets less than 1. A count of 0 or less gets 0: the caller marks that server down, as nginx
// knows no weight of 0.
func Weights(ready []int, limit int) []int {
	if limit <= 0 {
		limit = DefaultCap
	}
	out := make([]int, len(ready))
	top := 0
	for i, r := range ready {
		out[i] = max(r, 0)
		top = max(top, r)
	}
	if top > limit {
		to := float64(min(limit, scaleTo))
		for i, r := range out {
			if r > 0 {
				out[i] = max(1, int(math.Round(float64(r)/float64(top)*to)))
			}
		}
	}
	if g := gcdOf(out); g > 1 {
		for i := range out {
			out[i] /= g
		}
	}
	return out
}

func gcdOf(ns []int) int {
	g := 0
	for _, n := range ns {
		for n != 0 {
			g, n = n, g%n
		}
	}
	return g
}
