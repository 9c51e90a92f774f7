// Package sim is a discrete-event model of one app behind HAProxy: Poisson arrivals with a rate that a Trace gives second by second,
// one queue in front of all workers (first come, first served), workers on nodes, lognormal service times, a queue time-out,
// workers that are paid for while they warm up and while they drain, nodes that are lost with the requests on them, a slow
// dependency, a dependency that lets only so many requests through, and metrics that are missing or zero.
//
// A Scaler is asked every few seconds and orders workers. Everything that can be asked is driven alike: tidegate's own decision core
// (sim/ours), the rules of other autoscalers (sim/peers) and the clairvoyant oracle (Oracle).
//
// The same parameters, trace, seed and scaler give the same result, bit for bit. Requests and their service times depend on the
// seed alone, so that every scaler meets the same ones.
//
// # Units
//
// Times are in seconds since the beginning of the trace, rates in requests per second, shares 0..1, loads in erlangs.
package sim
