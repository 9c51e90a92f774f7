// Package demo runs the main job on this machine, with the real programs: four nodes (each a gunicorn with sync workers, the
// shipped mark middleware and `tidegate agent`), HAProxy with the SPOE filter, nginx with the generated include, `tidegate
// run`, and a load that goes quiet, up to four times that within five seconds, and quiet again, half through HAProxy and
// half through nginx.
//
// Everything lives in one temporary folder and on free loopback ports; only processes started here are ended. The numbers in
// the summary come from the client (requests, failures, times) and from the controller's status (actions, worker-seconds,
// ACK time); nothing is simulated.
package demo
