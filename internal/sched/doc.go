// Package sched chooses between two of Linux's scheduling policies (sched(7)) for a whole process and for what it starts.
//
// Under SCHED_OTHER, which is every process's unless somebody chose otherwise, a thread that wakes up may take the processor
// from the one that runs. Under SCHED_BATCH it waits until that one sleeps or its slice is over. Between the two a process may
// change without any privilege; the nice value stays.
//
// Invariants: a policy that somebody chose before (a unit's CPUSchedulingPolicy=, chrt) stays; what Start starts has the policy
// that the process had at first.
package sched
