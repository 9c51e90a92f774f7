// Package proc tells processes apart and looks at them through /proc: who a process is for all time (pid and start time),
// whether it lives, what it has forked, which signals it takes, and what its pid file says.
//
// Invariants: a process that cannot be looked at is not believed dead; a signal reaches the process that was meant, or
// nobody. Start times count in clock ticks (1/100 s) since boot.
package proc
