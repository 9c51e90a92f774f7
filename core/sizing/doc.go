// Package sizing says how many workers an app needs: the strategies, each behind the interface Sizer, and what stands around
// every one of them (panic, window maximum, tolerance, rate limits, bounds, holds, pins, reservations, day profile, collapse
// guard, futility, rules for missing data, restart, flap budget).
//
//	Size(Policy, Memory, Observation) (Result, Memory)
//
// It is pure: no clock but the observation's, no I/O, no goroutine. Memory is plain data and is never changed in place.
//
// # Units
//
// Arrivals, completions and errors are requests; Queue, Connect and Service are sums in seconds over the completions that were
// timed; Busy is worker-seconds. Demand is in erlangs: the mean number of workers that serve. Shares are 0..1.
package sizing
