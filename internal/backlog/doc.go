// Package backlog asks how long a message queue is: an HTTP address or a command answers with one JSON object,
//
//	{"items": 120, "oldest": 4.5, "in": 30, "out": 28, "service": 0.2}
//
// items waiting, the age of the oldest in seconds, items per second that came in and were taken, and the mean seconds that one
// consumer needs for an item. items, in and out must be there; the others may be missing. Anything else is an error: a queue
// that cannot be read must not look like an empty one.
package backlog
