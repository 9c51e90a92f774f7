// Package harness starts the real programs tidegate works with (HAProxy, nginx, gunicorn and tidegate itself) on free
// loopback ports and ends them again, by the process ids it started.
//
// A Rig owns one temporary folder and every process started through it. Nothing outside that folder is written. Each
// process gets a log file of its own in the folder; in a test that fails, configurations and logs are printed. The
// package does not import testing, because `tidegate demo` uses it too.
//
// All load it makes is open loop (a slow answer does not slow the requests that follow), uses POST on a fresh connection
// by default, and is bounded in rate and time: Go's client silently repeats GETs on reused connections, which would hide
// failures.
package harness
