// Package agent is the node agent: it runs on every application server, counts the busy workers of each application,
// moves the number of workers towards a target that the controller sets, and reports both with the host's load over HTTP.
//
// Per application one goroutine does everything, every 100 ms (Options.ScanEvery):
//
//	Actuator.Observe ──▶ Source.Count ──▶ Actuator.Steer ──▶ snapshot for GET /v1/report
//	which workers are     requests in       at most one step
//	there                 progress          towards the target
//
// Any Source of busy counts pairs with any Actuator of worker counts. Here are the file marks (marks.go, the protocol of
// conf/marks) and gunicorn's signals (gunicorn.go, steer.go).
//
// # Steering gunicorn
//
// gunicorn does not tell how many workers it wants to have; it shows its children only. steer.go keeps a belief `num` of the
// master's own count and the set of children that it has told to leave ("draining"):
//
//	         new master (pid or start time), or HUP (pid file made anew, then new children)
//	       ┌──────────────────────────────────────────────────────────────────────────────┐
//	       ▼                                                                              │
//	num unknown ── children unchanged for 1.5 s ──▶ num known ── num < target: TTIN, num++ ┤
//	 (no signal)                                     ▲   │       num > target: TTOU, num--, │
//	                                                 │   │         the oldest is draining   │
//	                                                 │   ▼                                  │
//	                                               read back: signal taken, children ≥ num, │
//	                                               who drains is gone or busy ──────────────┘
//
// What is seen for 1.5 s against the belief corrects it: fewer children than num (a signal was lost), more children that
// do not drain than num (someone else's TTIN), a draining child that is idle for 5 s (it was never told to leave). The
// next step is then the retry. Signals of one kind merge when they are pending together, so they are 120 ms apart at least
// and one is sent only after the kernel has delivered the one before.
//
// # Units and invariants
//
//   - Counts are processes (Total = Ready + Starting + Draining) and requests in progress (Busy, BusyMean, BusyMax); with
//     threads Busy may exceed Total.
//   - Nothing changes until a target was set. A missing master, pid file or mark directory makes the application unknown
//     (Known false, with a sentence), never zero. When the agent ends, workers stay as they are.
//   - A worker count is never steered below max(1, App.Min) nor above App.Max.
//   - Signals go only to a process that catches TTIN, TTOU and CHLD, through a pidfd whose start time was checked.
//   - Only the agent removes stale marks, and only marks whose process is gone, has another start time, or is a zombie.
//   - The agent must share the pid namespace of its applications.
package agent
