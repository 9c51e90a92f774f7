// Package signals steers worker counts by the signals TTIN (one more) and TTOU (one less), which merge when they are
// pending together and have no answer.
//
// gunicorn, Unicorn and Puma do so. They do not tell how many workers they want to have; they show their children only.
// steer.go keeps a belief `num` of the master's own count and the set of children that it has told to leave ("draining"):
//
//	         new master (pid or start time), or HUP (pid file made anew, then new children)
//	       ┌──────────────────────────────────────────────────────────────────────────────┐
//	       ▼                                                                              │
//	num unknown ── children unchanged for 1.5 s ──▶ num known ── num < target: TTIN, num++ ┤
//	 (no signal)                                     ▲   │       num > target: TTOU, num--, │
//	                                                 │   │         the next is draining     │
//	                                                 │   ▼                                  │
//	                                               read back: signal taken, children ≥ num, │
//	                                               who drains is gone or busy ──────────────┘
//
// What is seen for 1.5 s against the belief corrects it: fewer children than num (a signal was lost), more children that
// do not drain than num (someone else's TTIN), a draining child that is idle for 5 s (it was never told to leave). The
// next step is then the retry. While the master leaves its ended children unreaped it does something else (Unicorn loads the
// application again on HUP), and nothing counts.
//
// kinds.go has what differs: who leaves next (gunicorn: the oldest, Unicorn: the highest number, Puma: the youngest), whether
// the last one may go (Unicorn), which children are workers, and how a master comes in another one's place: gunicorn's waits
// in a second pid file, Unicorn's takes the pid file and counts once its title says that it has started, Puma's is an exec
// with the same pid. Signals of one kind merge when they are pending together, so they are 120 ms apart at least
// and one is sent only after the kernel has delivered the one before.
//
// Invariants: signals go only to a process that catches TTIN, TTOU and CHLD (a new master) or the signal itself (each time),
// through a pidfd whose start time was checked. Nothing is sent without a target.
package signals
