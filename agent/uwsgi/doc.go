// Package uwsgi reads and steers uWSGI: the stats socket tells the workers and the requests in each, the master's FIFO takes
// "+" and "-" (--master, --master-fifo, --processes MAX, --cheaper MIN, --cheaper-algo manual).
//
// The FIFO answers nothing, and the master looks at its orders once in a second. What cannot be done at once is kept: a "-"
// for which no idle worker is there waits until one is, and one beyond the last worker is a debt that swallows later "+".
// steer.go therefore keeps a belief `num` of what the count will come to:
//
//	num unknown ── alive unchanged for 2.5 s ──▶ alive = num ── num < target: "+++", num += 3 ──▶ alive < num ─┐
//	     ▲                                          ▲   │                                                    │ read back
//	     │ new master, or a reload                  │   └────── num > target: "--",  num -= 2 ──▶ alive > num ─┤
//	     │ (a slot's respawn count fell)            └────────────────────────────────────────────────────────┘
//
// While alive < num nothing is sent. While alive > num and all are busy a further step is allowed, two seconds after the one
// before: it only changes what waits. An order without an effect for four seconds (for "-": with an idle worker all the
// time) is lost; num becomes alive, and the next step is the retry.
//
// Invariants: num is never below 1, so that there is no debt of our making; the FIFO is opened, written once and closed;
// an answer is at most 8 MB and comes within two seconds, or there is none.
package uwsgi
