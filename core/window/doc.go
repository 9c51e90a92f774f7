// Package window keeps short memories of request traffic in bounded space: counts per second for the last hour, a latency
// distribution over the last half minute, and what has come since the last look one by one.
//
// # Units and time
//
// Seconds are whole numbers on any axis the caller likes, as long as it only moves forward in real life (the time since
// a process started is better than the date, which people set back). Nothing here reads a clock: the second is always an
// argument. Latencies are time.Duration and kept in microseconds. A negative latency counts as zero.
//
//	       oldest                        now
//	Seconds  [block][block][block]..|--|--|--|      one Bucket a second: the newest in a ring, an hour before encoded
//	Minutes  [    data        ]|-----------|        the same by the minute, for subjects in great number
//	Sketch   |-----|-----|-----|-----|-----|        a list of latencies, or pages of counters, by parts
//	Recent   o o oo  o   ooo o o  oo   o o o        one entry a request since the last look, or an even choice
//
// # An hour of seconds
//
// 3600 buckets of seven numbers are 100 kB as an array of 32-bit words, and most of them are 0. So the seconds that the
// ring lets go are encoded, as varints without the fields that are 0, in blocks of 512 bytes that are allocated one by
// one: nothing for a backend without requests, 8 to 10 bytes for a second with some, one byte for two idle minutes. An
// hour of a backend that is never idle takes 30 to 40 kB. All numbers stay exact. Each block has its total, so that a
// sum reads at most two blocks entry by entry.
//
// # When memory is short
//
// All that grows with traffic comes out of one Budget. When three quarters of it are gone, a window that wants more merges
// its own oldest seconds to tens (a tenth of the space, sums still exact) instead of growing; when all is gone, it forgets
// its own oldest. So those who have much make room for newcomers, and what an answer covers is always told.
//
// # Invariants
//
//   - Memory is bounded by what the constructor was told and by the budget, whatever is added. Once a window has grown to
//     its traffic it allocates nothing, but for a block of the past now and then in its first hour.
//   - What is older than a window is dropped and counted, never put into a wrong second.
//   - Only Budget and Sketches may be shared, and are safe when their numbers are: the owner of a window has the lock.
//
// # Why an own histogram
//
// The usual mergeable sketch (DDSketch) takes a logarithm per value. Here the range of values is known (0 to a day), so
// that log-linear buckets do: the index is the position of the highest bit and the six bits after it, the error of a
// quantile is at most 1/128 (0.8 %) of the value, merging is adding, and recording costs a few nanoseconds. Most of the
// 2048 buckets are never used: a sketch with few values lists them, one with many has pages for the doublings it has seen.
package window
