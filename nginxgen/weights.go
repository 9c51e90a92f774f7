package nginxgen

import (
	"math"
	"slices"
)

const (
	// rawCap is the largest weight that Weights writes unscaled.
	rawCap = 64
	// scaleTo is the largest weight after scaling. Small weights matter: after a failure a server comes back by one unit
	// a selection, and with 32 steps the worst of twenty nodes is about 4.5 % off its share.
	scaleTo = 32
	// hashCap is the largest weight for a hash method: `hash ... consistent` keeps 160 points for each unit of weight.
	hashCap = 10
	// maxMultiple bounds the search for whole numbers in the ratio of fractional capacities.
	maxMultiple = 20
)

// Weights turns capacities, ready workers times the speed of their node, into nginx weights. Shares are exact where the
// ratio can be told in whole numbers of at most 64; else the largest capacity gets 32 and the others their part of it,
// rounded, at least 1. A capacity of 0 or less gets 0: the caller marks that server down, as nginx knows no weight of 0.
func Weights(capacity []float64) []int {
	for k := 1; k <= maxMultiple; k++ {
		if out, ok := exactly(capacity, float64(k)); ok {
			return out
		}
	}
	out := make([]int, len(capacity))
	top := 0.0
	for _, c := range capacity {
		top = max(top, c)
	}
	for i, c := range capacity {
		if c > 0 {
			out[i] = max(1, int(math.Round(c/top*scaleTo)))
		}
	}
	return reduced(out)
}

// exactly returns k times the capacities, divided by their greatest common divisor, when those are whole numbers of at
// most 64.
func exactly(capacity []float64, k float64) ([]int, bool) {
	out := make([]int, len(capacity))
	for i, c := range capacity {
		n := math.Round(max(c, 0) * k)
		// 1e-9 is for products such as 3 x 1.1, which no binary fraction holds.
		if math.Abs(n-max(c, 0)*k) > 1e-9*math.Max(1, n) || n > 1<<30 || c > 0 && n == 0 {
			return nil, false
		}
		out[i] = int(n)
	}
	out = reduced(out)
	for _, w := range out {
		if w > rawCap {
			return nil, false
		}
	}
	return out, true
}

// HashWeights turns capacities into weights for a hash method, where another weight moves keys: the scale is fixed, full
// (the largest capacity that any of the servers can have) is always 10, and nothing is divided by a common divisor, so a
// server's weight depends on no other server. A positive capacity gets 1 to 10, one of 0 or less gets 0: the caller marks
// that server down, with the weight it had, as nginx counts it when it places keys.
func HashWeights(capacity []float64, full float64) []int {
	out := make([]int, len(capacity))
	for i, c := range capacity {
		if c > 0 {
			out[i] = min(hashCap, max(1, int(math.Round(c/max(full, c)*hashCap))))
		}
	}
	return out
}

// SteadyWeights turns capacities, ready workers times the speed of their node, into weights for servers that are told one by
// one: nginx begins anew with a server whose weight changes, so none should change because another server does. They are
// not divided by what they have in common: with whole speeds they are the capacities, else those times what makes all speeds
// whole (at most 20), halved together until the largest is at most 64. A positive capacity gets at least 1, one of 0 or less 0.
func SteadyWeights(capacity, speed []float64) []int {
	k := 1.0
	fraction := func(v float64) bool { return math.Abs(v*k-math.Round(v*k)) > 1e-9*k }
	for k < maxMultiple && slices.ContainsFunc(speed, fraction) {
		k++
	}
	top := 0.0
	for _, c := range capacity {
		top = max(top, c*k)
	}
	for top > rawCap+0.5 {
		k, top = k/2, top/2
	}
	out := make([]int, len(capacity))
	for i, c := range capacity {
		if c > 0 {
			out[i] = max(1, int(math.Round(c*k)))
		}
	}
	return out
}

// reduced divides by the greatest common divisor.
func reduced(ns []int) []int {
	g := 0
	for _, n := range ns {
		for n != 0 {
			g, n = n, g%n
		}
	}
	if g > 1 {
		for i := range ns {
			ns[i] /= g
		}
	}
	return ns
}
