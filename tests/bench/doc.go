// Command bench measures what the SPOE agent, the runtime API's client, nginx's include file and the node agent cost, beside a peer and a
// limit, in one run: `make bench`. What follows is about the agent; docs/benchmarks.md has the others.
//
// # What is compared
//
//	none     no agent: HAProxy without the filter (end to end only)
//	negasus  the stock agent of github.com/negasus/haproxy-spoe-go, which reads the same arguments into a struct
//	ours     package spoa with its Meter as sink and a report taken every second, under SCHED_BATCH, as the controller does
//	echo     frames only: reads no message, keeps nothing, one write for all ACKs of one read; no Go agent can do better;
//	         under SCHED_BATCH, too
//	ours-normal  ours without SCHED_BATCH (through HAProxy only)
//
// Each contestant is a process of its own (this program, started again under another role), so that processor time and
// allocations are its own. Raw SPOP is made by this process; requests through HAProxy by one more. Where they are kept busy, what is
// compared (the agent in raw SPOP, HAProxy in front of a server) has processors of its own, unless -free is given.
//
// # How
//
// Contestants take turns within a round, and each second round goes backwards (A B C, C B A, ...), so that a machine that
// slows down slows all alike. A figure is the median over rounds with its range; a ratio is the median of the rounds'
// ratios. The ratios say something on a busy machine too, the absolute figures do not.
//
// # Units
//
// Times are microseconds, processor time is user and system time of the contestant alone, RSS is MiB (2^20 bytes).
// Each comparison ends with one line of JSON; the run ends with the goals and whether they were met. Goals that are not
// met do not make the command fail.
package main
