// Package phpfpm reads and limits one pool of a php-fpm master (PHP 8.0 and later).
//
// It counts by the pool's status page, asked over FastCGI at the pool's own status listener (pm.status_listen): through the
// application's listener the question would wait behind the busy workers. "active processes" changes with the request; the
// listen queue is what the master saw up to a second ago.
//
// php-fpm takes no order for a single child. What can be changed is the pool's ceiling, pm.max_children, in a small file that
// belongs to the agent and that the pool's section includes, after which the master is told by USR2 to start itself anew:
//
//	target ≠ ceiling ── last change long enough ago ──▶ proven beside the live files (php-fpm -t on a file that includes them)
//	                                                           │ good                       │ refused: one sentence, nothing changed
//	                                                           ▼                            ▼
//	                              the file is replaced, read back (php-fpm -tt)     ── not in force: the file as it was before
//	                                                           │ in force
//	                                                           ▼
//	                              USR2 ── all children finish and leave, the master runs its program anew, new children come
//
// The master waits up to process_control_timeout for requests in progress and cuts them off after it; without one it cuts
// them off at once, so that nothing is changed then. New requests wait in the listen queue meanwhile. All pools of the
// master are replaced, so a pool that is steered should have a master of its own.
//
// Invariants: the live configuration is never changed to one that php-fpm refuses, and no file but the ceiling file is
// written. Without a target nothing is written and no signal sent. The ceiling outlives reloads and restarts, since it is
// in a file; the file's time of change also tells, after a restart of the agent, when the last change was.
package phpfpm
