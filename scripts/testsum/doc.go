// Command testsum reads the output of `go test -json` and prints failures in full, skips with their reasons, one line a package
// and a closing line "N passed, N failed, N skipped". It fails when a test failed or none ran.
package main
