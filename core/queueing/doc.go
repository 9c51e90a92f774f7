// Package queueing has the formulas of a queue with c equal servers: Erlang B and C, the mean wait, the tail of the wait, and the
// least number of servers that keeps the tail small.
//
// Load a is in erlangs: the mean number of servers that would be busy if there were enough (arrival rate x mean service time).
// Times are in seconds. The formulas hold for Poisson arrivals and exponential service times (M/M/c); the factor kappa stretches
// the wait for other ones (Allen and Cunneen: see Kappa).
//
// No input makes a function panic, return NaN or take long: each says what it does with values outside its range. Loads are
// accepted up to MaxLoad.
package queueing
