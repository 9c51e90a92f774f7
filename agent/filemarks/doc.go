// Package filemarks counts requests in progress by the marks that applications make (the protocol of conf/marks): empty
// files on a tmpfs, one for each request. A scan lists the directory with one buffer and without sorting.
//
// Invariants: only this package removes stale marks, and only marks whose process is gone, has another start time, or is a
// zombie; a mark seen once is left alone. A missing directory, and one in which no mark of the application was ever seen,
// is an error and never zero requests. Agent and application must share the pid namespace.
package filemarks
