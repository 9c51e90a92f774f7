//go:build race

package sim

// raced tells that the race detector is on: long runs of a single goroutine are then left to the run without it (see the Makefile).
const raced = true
