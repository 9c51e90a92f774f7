// Package puma reads and steers a Puma cluster (5.6 and later). The count of requests comes from the control app
// (GET /stats), the number of workers changes by TTIN and TTOU (package signals).
//
// The master knows of its workers what they last told it: every 5 s, or every worker_check_interval seconds. Counts are
// therefore "delayed", and Age is that of the oldest word of a worker. The control app is asked four times a second at
// most. A worker that has booted is ready; it counts as idle until its first figures come.
//
// Invariants: the token is in no error and no log; an answer is at most 4 MB and comes within a second, or there is none.
package puma
