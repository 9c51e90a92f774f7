// Package control is the loop that owns all state: observe, decide, remember, act.
//
//	           +-------------------------- every tick ---------------------------+
//	observe -> | HAProxy state, node reports, SPOE windows, nginx file, warm-ups |
//	decide  -> | core.Decide(policy, memory, observation)                        |
//	remember-> | memory to the state file, reasons and steps to the journal      |
//	act     -> | node targets, one HAProxy batch, warm-up requests, nginx        |
//	           +-----------------------------------------------------------------+
//
// No result flows back but an outcome for the journal: the next observation is the feedback and the next turn the retry. The
// memory is saved before anything is done, so that a restart in the middle changes nothing. When it cannot be saved, nothing
// shrinks. Holds, pins and reservations are stored before they are answered, and removed when a turn has told that they are
// over. A source that fails is logged once and counted; the loop goes on.
//
// The package sees HAProxy, nginx, the agents and the SPOE meter through the small interfaces of ports.go. One goroutine runs
// turns; warm-ups and nginx updates, which may take seconds, run beside it and are seen by the next turns.
package control
