// Package supervise runs an application's workers itself: it holds the listening socket and starts one process for each
// worker, which finds the socket as file descriptor 3 (LISTEN_FDS, as with systemd's socket activation).
//
// # Who holds what
//
//	agent ──forks──▶ worker 1, worker 2, ...   each in a session of its own, with the listener as fd 3
//	  │  └──forks──▶ holder                    keeps the listener, hands it to whoever connects to NAME.hold
//	  └──writes────▶ NAME.json                 target, workers (pid and start time), holder; before a worker begins
//
// When the agent is killed, restarted or upgraded, nothing happens to the workers, and the holder keeps the listener even
// where there is no worker: connections wait in its queue. The next agent gets the listener from the holder (or out of a
// living worker, by pidfd_getfd), finds the workers in NAME.json and sees their end through pidfds, for they are not its
// children. A worker's first process waits until it stands in NAME.json, so none is ever forgotten.
//
// # A worker's life
//
//	               ready: a mark, READY=1 or its age
//	started ──▶ starting ─────────────────────────▶ ready ──▶ told to leave (stop signal) ──▶ gone
//	   ▲            │ not ready by the start deadline   │            │ not gone by the stop deadline
//	   │            ▼                                   ▼            ▼
//	   └────────── gone, unasked: early (within 10 s) ones are followed by a pause of 0.5 s, doubled up to 30 s
//
// # No worker at all
//
// With a target of 0 and none running, a connection in the listener's queue starts one worker ("woken"). It stays until it
// has been idle for Options.IdleZero, then the target counts again.
//
// # Invariants
//
//   - The agent's end changes nothing. Only one agent at a time uses a state folder's NAME (a lock).
//   - Without a target there are as many workers as were wanted last, at first Options.Min.
//   - The kernel's queue of the listener is shared by all workers: one that leaves takes no connection with it.
//   - Signals go to the process that was meant, or to nobody.
package supervise
