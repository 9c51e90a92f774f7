// Package decision is the JSON contract of `tidegate decide`: one observation a line in, one answer a line out.
//
// The names are those of the journal and of the memory file, so what tidegate wrote can be read back. Durations are seconds and
// end in _s, times are RFC 3339 or seconds since 1970, shares are 0..1. Reading is strict: an unknown name, a wrong type, an app
// or a server that the policy does not have is an error with its path. What may be left out, and what it means then, stands in
// docs/json.md and in the comments of input.go.
//
// Nothing here reads a clock or does I/O; the same line gives the same observation.
package decision
