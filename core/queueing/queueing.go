package queueing

import "math"

// MaxLoad is the highest load in erlangs that is calculated with; higher ones count as this one. The cost of every function is
// proportional to the number of servers, so it also bounds the time that a wrong number can take.
const MaxLoad = 1e6

// Kappa is the factor by which the wait differs from that of M/M/c, by the approximation of Allen and Cunneen:
// (Ca^2 + Cs^2)/2 with the coefficients of variation of the times between arrivals and of the service times. Poisson arrivals
// and exponential service times have 1 and 1. A value that is no number >= 0 counts as 1.
func Kappa(arrivalCV, serviceCV float64) float64 {
	ca, cs := cv(arrivalCV), cv(serviceCV)
	return (ca*ca + cs*cs) / 2
}

func cv(x float64) float64 {
	if !(x >= 0) {
		return 1
	}
	return math.Min(x, 1e6)
}

// ErlangB is the share of arrivals that find all c servers busy when nobody waits (M/M/c/c), 0..1. Without servers that is 1,
// without load 0. Source: the recursion B(0) = 1, B(n) = a B(n-1) / (n + a B(n-1)), which is stable for every load.
func ErlangB(c int, a float64) float64 {
	a = load(a)
	switch {
	case c <= 0:
		return 1
	case a == 0:
		return 0
	}
	return erlangB(1, 0, min(c, 2*int(MaxLoad)), a)
}

// erlangB goes on with the recursion from B(from) = b to B(to).
func erlangB(b float64, from, to int, a float64) float64 {
	for n := from + 1; n <= to && b > 0; n++ {
		ab := a * b
		b = ab / (float64(n) + ab)
	}
	return b
}

// ErlangC is the share of arrivals that must wait at c servers when everybody waits (M/M/c), 0..1. A load that c servers cannot
// carry (a >= c) makes everybody wait. Source: C = cB / (c - a(1 - B)).
func ErlangC(c int, a float64) float64 {
	a = load(a)
	switch {
	case a == 0:
		return 0
	case c <= 0 || a >= float64(c):
		return 1
	}
	return erlangC(ErlangB(c, a), c, a)
}

// erlangC turns B into C for a < c.
func erlangC(b float64, c int, a float64) float64 {
	n := float64(c)
	return n * b / (n - a*(1-b))
}

// MeanWait is the mean time in the queue in seconds, those that do not wait included: kappa x C x S / (c - a). It is +Inf where c
// servers cannot carry the load and 0 without load. A serviceTime below 0 or no number counts as 0, such a kappa as 1.
func MeanWait(c int, a, serviceTime, kappa float64) float64 {
	a = load(a)
	switch {
	case a == 0:
		return 0
	case a >= float64(c):
		return math.Inf(1)
	}
	return factor(kappa) * ErlangC(c, a) * seconds(serviceTime) / (float64(c) - a)
}

// WaitTail is the share of arrivals that wait longer than t seconds, 0..1: C x exp(-(c-a) t / (S kappa)). It is 1 where c servers
// cannot carry the load and 0 without load. Values out of range count as in Workers.
func WaitTail(c int, a, t, serviceTime, kappa float64) float64 {
	a = load(a)
	if a == 0 {
		return 0
	}
	if c <= 0 || a >= float64(c) {
		return 1
	}
	return ErlangC(c, a) * math.Exp(-(float64(c)-a)*relative(t, serviceTime, kappa))
}

// Workers is the least number of servers with which at most the share late of the arrivals waits longer than maxWait seconds
// (WaitTail <= late) and which can carry the load (more than a). It is 0 without load; loads below 0 or no numbers are none.
// A maxWait below 0 or no number counts as 0, a serviceTime likewise, late is brought to 1e-12..1, a kappa below 0 or no number
// counts as 1. The time is proportional to the result: one step of the recursion for each server.
func Workers(a, serviceTime, maxWait, late, kappa float64) int {
	a = load(a)
	if a == 0 {
		return 0
	}
	if !(late >= 1e-12) {
		late = 1e-12
	}
	r := relative(maxWait, serviceTime, kappa)
	c := int(a) + 1
	b := erlangB(1, 0, c, a)
	// Both factors fall as c grows, so the first that fits is the least. B falls faster than geometrically once c is above a.
	for erlangC(b, c, a)*math.Exp(-(float64(c)-a)*r) > late {
		b = erlangB(b, c, c+1, a)
		c++
	}
	return c
}

// relative is t in stretched service times. Where nothing may be late and service takes no time, nobody waits.
func relative(t, serviceTime, kappa float64) float64 {
	t = seconds(t)
	s := seconds(serviceTime) * factor(kappa)
	switch {
	case t == 0:
		return 0
	case s == 0:
		return math.MaxFloat64
	}
	return math.Min(t/s, math.MaxFloat64)
}

func load(a float64) float64 {
	if !(a > 0) {
		return 0
	}
	return math.Min(a, MaxLoad)
}

// seconds brings a time to 0..1e9 (thirty years).
func seconds(t float64) float64 {
	if !(t > 0) {
		return 0
	}
	return math.Min(t, 1e9)
}

func factor(kappa float64) float64 {
	if !(kappa >= 0) {
		return 1
	}
	return math.Min(kappa, 1e12)
}
