// Package window keeps short memories of request traffic in fixed space: counts per second, a latency distribution over
// the last half minute, and the last N requests one by one.
//
// # Units and time
//
// Seconds are whole numbers on any axis the caller likes, as long as it only moves forward in real life (the time since
// a process started is better than the date, which people set back). Nothing here reads a clock: the second is always an
// argument. Latencies are time.Duration and kept in microseconds. A negative latency counts as zero.
//
//	       oldest                        now
//	Seconds  |--|--|--|--|--|--|--|--|--|--|      one Bucket a second; skipped seconds are zero
//	Sketch   |-----|-----|-----|-----|-----|      one Histogram a part; a quantile merges all parts
//	Ring     o o oo  o   ooo o o  oo   o o o      one entry a request, numbered from 1
//
// # Invariants
//
//   - Memory is bounded by what the constructor was told, whatever is added; Seconds, Histogram and Sketch allocate
//     nothing after their constructors, Ring nothing once it is full.
//   - What is older than a window is dropped and counted, never put into a wrong second.
//   - Seconds, Sketch, Histogram and Ring are not safe for concurrent use: the owner has the lock.
//
// # Why an own histogram
//
// The usual mergeable sketch (DDSketch) grows its bucket store on the way, so that recording sometimes allocates, and
// takes a logarithm per value. Here the range of values is known (0 to a day), so that a fixed array of log-linear
// buckets does: the index is the position of the highest bit and the six bits after it, the error of a quantile is at
// most 1/128 (0.8 %) of the value, merging is adding, and recording costs a few nanoseconds and no allocation.
package window
