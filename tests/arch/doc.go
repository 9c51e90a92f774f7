// Package arch keeps the shape of the tree: its test fails when a package imports what it may not, when the decision core
// reads a clock, does I/O, logs or starts a goroutine, and when a package has no package comment.
package arch
