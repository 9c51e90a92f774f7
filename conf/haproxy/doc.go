// Package haproxyconf writes the HAProxy side of tidegate's filter for a user's own backends: a configuration file that
// HAProxy loads after the user's, the SPOE file, and the few lines that each observed backend needs.
//
// # Idea
//
// As little as possible stands in the user's file. What can be done elsewhere is: counters live in a stick table of the
// included file, which HAProxy itself counts up and down as requests come and leave; gauges come from a heartbeat that
// HAProxy sends to itself; time stamps and marks are taken by converters in conditions that stand there anyway. What is
// left cannot stand anywhere else: the filter, the rule that tracks the table, the one that counts the answers HAProxy
// makes itself and, before HAProxy 3.0, the one that notes Tw and Tc.
//
// # The two variants
//
//	        lines  runs on         queue and connect    response
//	"2.6"   4      2.6 and later   %Tw, %Tc of the log  microsecond stamps
//	"3.0"   3      3.0 and later   native fetches       native fetch, microsecond stamps
//
// # Counts and times
//
// Arrivals, requests in flight and answers without a server are counted by HAProxy, whatever becomes of the exchange.
// Times are sent for every answered request, or for a random share of them (Params.Sample). Arrivals are told one by one only
// when asked for (Params.Arrivals). A 400 that HAProxy makes in a
// backend tells of a client that left or sent rubbish, and is not counted as an answer without a server. docs/spoe.md has
// every case.
//
// # When the agent is away
//
// No request fails, and none waits longer than `timeout processing`. Two traps were found by experiment, both on 2.6.12:
//
//   - An event whose condition is false lowers the request's timer and forgets the new one: a message of the same request
//     within the next 10 ms then waits for the server's time-out instead of `timeout processing`. So the 2.6 files have
//     no event with a condition that is ever false, but for the last, after which nothing is sent.
//     Two events that are sent have the same trouble when an agent hangs between them; there, with Params.Arrivals,
//     `timeout processing` is 2 ms, and HAProxy's timers are not exact enough to forget the second. (3.0 and later are well.)
//   - With a refused connection and requests waiting, HAProxy makes connection after connection without a pause, also
//     when the server is down already (nine million in five seconds). So a backup server that accepts and says nothing
//     takes them, and the conditions ask whether the agent is up, not whether any server is.
//
// # Invariants
//
//   - Each argument costs HAProxy, every request: what a heartbeat, a counter or the agent can tell is not sent. docs/spoe.md
//     has what each part was measured to cost.
//   - One exchange per request, at the response headers. Nothing waits for an answer at any earlier point, where it would
//     spoil the times it measures. (With Params.Arrivals there is a second one before the queue, at the user's choice.)
//   - No name reaches a file that is not made of letters, digits and . _ - (backends and servers also :).
//   - The included file has a defaults section of its own, by name, and every section of it says so; it takes nothing from
//     the user's defaults and, loaded last, gives nothing to them.
//
// The folders 2.6 and 3.0 hold the files for a backend app with servers s1 and s2, as Render writes them.
package haproxyconf
