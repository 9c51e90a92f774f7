package queueing

import (
	"math"
	"math/big"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(1e-12, math.Abs(want))) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// The table values are those of the usual printed tables of Erlang B (offered traffic for a given loss).
func TestErlangBAgainstPrintedTables(t *testing.T) {
	for _, row := range []struct {
		c    int
		a    float64
		loss float64
	}{{1, 0.0101, 0.01}, {5, 1.361, 0.01}, {10, 4.461, 0.01}, {20, 12.03, 0.01}, {50, 37.90, 0.01}, {100, 84.06, 0.01}, {10, 6.216, 0.05}, {100, 95.24, 0.05}} {
		near(t, "loss", ErlangB(row.c, row.a), row.loss, 0.005)
	}
}

// exact is Erlang C straight from its definition as sums of a^n/n!, in 400-bit numbers.
func exact(c int, a float64) float64 {
	f := func(x float64) *big.Float { return new(big.Float).SetPrec(400).SetFloat64(x) }
	term, sum := f(1), f(0)
	for n := range c {
		if n > 0 {
			term.Mul(term, f(a)).Quo(term, f(float64(n)))
		}
		sum.Add(sum, term)
	}
	term.Mul(term, f(a)).Quo(term, f(float64(c)))
	term.Mul(term, f(float64(c))).Quo(term, f(float64(c)-a))
	sum.Add(sum, term)
	out, _ := term.Quo(term, sum).Float64()
	return out
}

func TestErlangCAgainstItsDefinition(t *testing.T) {
	for _, row := range []struct {
		c int
		a float64
	}{{1, 0.5}, {2, 1}, {8, 6.4}, {24, 20}, {110, 100}, {300, 20}, {2000, 1990}} {
		near(t, "C", ErlangC(row.c, row.a), exact(row.c, row.a), 1e-9)
	}
	// M/M/1 waits with the probability of the load, M/M/2 at load 1 with 1/3.
	near(t, "C(1,0.5)", ErlangC(1, 0.5), 0.5, 1e-12)
	near(t, "C(2,1)", ErlangC(2, 1), 1.0/3, 1e-12)
}

func TestWaits(t *testing.T) {
	// M/M/1: the mean wait is S rho/(1-rho), the tail rho exp(-(1-rho)t/S).
	near(t, "mean wait", MeanWait(1, 0.5, 0.08, 1), 0.08, 1e-12)
	near(t, "mean wait with kappa 2.5", MeanWait(1, 0.5, 0.08, 2.5), 0.2, 1e-12)
	near(t, "tail", WaitTail(1, 0.5, 0.16, 0.08, 1), 0.5*math.Exp(-1), 1e-12)
	near(t, "kappa of M/M", Kappa(1, 1), 1, 0)
	near(t, "kappa of M/G with CV 2", Kappa(1, 2), 2.5, 0)
	near(t, "kappa of M/D", Kappa(1, 0), 0.5, 0)
}

func TestWorkersIsTheLeastThatFits(t *testing.T) {
	for _, a := range []float64{0.01, 0.5, 1, 2, 7.3, 20, 37.4, 100, 999.5, 5000, 100000} {
		for _, kappa := range []float64{0, 0.5, 1, 2.5} {
			for _, late := range []float64{0.5, 0.03, 1e-4} {
				c := Workers(a, 0.08, 0.1, late, kappa)
				if float64(c) <= a || WaitTail(c, a, 0.1, 0.08, kappa) > late {
					t.Errorf("%d workers are not enough for %v erlangs (kappa %v, late %v)", c, a, kappa, late)
				}
				if float64(c-1) > a && WaitTail(c-1, a, 0.1, 0.08, kappa) <= late {
					t.Errorf("%d workers would have been enough for %v erlangs (kappa %v, late %v), not %d", c-1, a, kappa, late, c)
				}
			}
		}
	}
}

func TestWorkersGrowsWithTheLoad(t *testing.T) {
	last := 0
	for a := 0.0; a < 300; a += 0.37 {
		c := Workers(a, 0.08, 0.1, 0.03, 1)
		if c < last {
			t.Fatalf("%d workers at %v erlangs, %d at less", c, a, last)
		}
		last = c
	}
}

func TestNoInputIsHarmful(t *testing.T) {
	bad := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, math.MaxFloat64, math.SmallestNonzeroFloat64, 1}
	for _, a := range bad {
		for _, s := range bad {
			for _, w := range bad {
				for _, late := range bad {
					c := 0
					if !(a > 1) {
						c = Workers(a, s, w, late, s)
						if c < 0 || c > 50 {
							t.Fatalf("Workers(%v, %v, %v, %v) is %d", a, s, w, late, c)
						}
					}
					for _, c := range []int{c, -1, 0, 1, 1000} {
						for _, x := range []float64{ErlangB(c, a), ErlangC(c, a), WaitTail(c, a, w, s, late)} {
							if !(x >= 0 && x <= 1) {
								t.Fatalf("c %d, a %v, s %v, w %v: %v is not a share", c, a, s, w, x)
							}
						}
						if x := MeanWait(c, a, s, w); !(x >= 0) {
							t.Fatalf("c %d, a %v, s %v: mean wait %v", c, a, s, x)
						}
					}
				}
			}
		}
	}
	for _, a := range []float64{MaxLoad, math.Inf(1)} {
		if c := Workers(a, math.Inf(1), 0, 0, math.Inf(1)); c <= int(MaxLoad) || c > 1.1*MaxLoad {
			t.Errorf("Workers(%v) is %d", a, c)
		}
	}
	if ErlangB(math.MaxInt, 5) != 0 {
		t.Error("a huge number of servers loses requests")
	}
}

func BenchmarkWorkers(b *testing.B) {
	for _, a := range []float64{20, 1000, 100000} {
		b.Run("", func(b *testing.B) {
			for b.Loop() {
				Workers(a, 0.08, 0.1, 0.03, 1)
			}
		})
	}
}
