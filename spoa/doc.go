// Package spoa is the agent at the other end of HAProxy's SPOE filter. It hears of every request that a server answered,
// with its times, and of each backend's gauges and counters twice a second, and keeps what a controller wants to know.
//
//	HAProxy ==SPOP==> conn (bytes, deadlines) -> session (protocol) -> decoder -> Sink: Meter -> Take, once per tick
//	        <==ACK==
//
// # Idea
//
// Requests wait for the ACK, so nothing stands in its way: a connection looks at no more than the heads of the NOTIFY frames
// of one read, answers all with one write, and decodes and records them, in place, while HAProxy goes on. Heartbeats and
// arrivals are recorded first: an arrival must be known before its request can be answered. No goroutine and no allocation per
// frame. The ACK says nothing: it is a constant with one action that HAProxy ignores.
//
// A decoder remembers three things, because the next message is most often like the last: the order of a message's
// arguments (layout), where a payload of a certain size had its values (stencil), and where its backend and server are kept (known).
// All are only short cuts. A payload that fits a stencil is compared with it in words, and its numbers are read where they were: along a
// layout each place waits for the length of what stands before it. What does not fit is read along the layout, and what does not
// fit that is read and looked up the long way, which is the one that refuses and counts. Tests hold each against the next. Decoders
// belong to connections only while these read: there are about as many as processors, whatever the number of connections.
//
// The samples of one read are recorded by backend, under one short lock each (batch), and what they add to the same place is
// entered once (intake). A test holds this, too, against recording one after the other.
//
// Answers alone are not enough: HAProxy's on-http-response does not fire for the 502, 503 and 504 it makes itself, and
// nothing fires while all requests hang. So the shipped configuration (package haproxyconf) counts in a stick table, and
// a heartbeat carries counters and gauges however quiet it is. Arrivals, requests in flight and queue are exact even
// when nothing completes. Where HAProxy is set up to tell of each arrival too, the ids of open requests are kept, and the
// age of the oldest is known (open.go).
//
// # Units
//
// Times of requests are time.Duration, to the microsecond where HAProxy's clock gives it. Absent (-1) stands for what was
// not told. Ages and windows are on the monotonic clock.
//
// # Invariants
//
//   - Frame lengths are checked against what was agreed before a byte of the frame is stored; names, numbers and times
//     are checked before they are believed; what is refused is counted by reason and logged, throttled.
//   - A malformed frame ends its connection at most; a malformed message inside a frame costs only that message, and its
//     request is acknowledged all the same.
//   - An empty frame is never written (it ends HAProxy 2.6 itself), and every frame is written whole in one write.
//   - async and fragmentation are never agreed to.
//   - Memory is bounded: connections, buffers, names, backends, servers, and one budget for all that grows with traffic
//     (package window says what happens when it is short). 1,000 backends of 50 servers and 200 connections, an hour
//     behind them, take less than 40 MB of resident memory.
//   - Seconds hands each complete second of a backend over once, with all its arrivals, and none in which HAProxy did not run.
//   - Totals never go back, though HAProxy's counters start at 0 with each process.
//
// The protocol is HAProxy's doc/SPOE.txt, version 2.0.
package spoa
