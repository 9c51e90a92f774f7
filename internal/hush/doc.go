// Package hush keeps what libraries print with the standard log while the program initialises away from the terminal. The
// metrics library says on every start, before main, that the kernel has no pressure figures, as on a stock Debian 12; that is
// not worth a line in front of every command's output.
//
// It works by the order in which Go initialises packages: among those whose imports are ready, the one with the smallest
// import path comes first. This package needs only io and log; the metrics library needs valyala/histogram, which sorts after it.
package hush
