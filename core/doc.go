// Package core is tidegate's decision core: one pure function,
//
//	Decide(Policy, Memory, Observation) (Plan, Memory)
//
// It reads no clock, does no I/O, starts no goroutine and logs nothing. Time is data: it comes in the observation. The same
// input gives the same output, so a journal can be replayed and a simulator can drive the very code that runs live.
//
// One turn for one app:
//
//	strategy   what the app needs           -> targets: which servers serve, with how many workers (Memory)
//	lifecycle  the next step of each server -> proposals (one step a server and turn, from the truth just observed)
//	limiter    may only remove proposals    -> actions
//	web        nginx weights from what serves
//
// # The life of a server
//
//	            target: serve                              target: park
//	parked ──► starting ──► warming ──► checking ──► ramping ──► serving ──► leaving ──► draining ──► parking ──► parked
//	  ▲   workers up   warm-up GET   drain+health   weight up              nginx down   HAProxy      weight 0,
//	  │                 failed          down, then                                      drain until  maint, then
//	  └──────────────────┘              ready when up                                   empty        workers down
//
// Each turn looks at what HAProxy, the node agent and nginx report and orders at most the next step; nothing is assumed to
// have worked. A server that a human holds (MAINT with a weight, DRAIN not ordered by us) is `foreign`: counted out, left
// alone. When the target turns round in the middle, the server goes back from where it stands.
//
// # Several HAProxy instances
//
// The part from checking to parked is lived on each instance by itself (type front); the workers and the warm-up, before it, and
// nginx are the server's. The server's phase is that of the life nearest to service on an instance that is known. The workers go
// when no instance sends requests any more: one that is gone does not, one that cannot be read may.
//
// # Units and invariants
//
// Durations are time.Duration, shares are 0..1, worker counts are whole workers, HAProxy weights are 0..256. The limiter
// never lets the number of serving servers fall below MinServers, nor more than MaxOut of the capacity leave in a minute.
// Missing or stale data never shrinks anything.
package core
