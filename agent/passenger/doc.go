// Package passenger reads and steers one application of a Phusion Passenger standalone server with the builtin engine (6.0).
//
// It speaks with the Passenger core over HTTP on a unix socket that the core has in its instance's folder
// (REGISTRY/passenger.XXXXXX/agents.s/core_api): GET /pool.xml tells processes, requests in progress and requests that wait;
// PUT /config.json changes max_pool_size at runtime (undocumented; tested with 6.0.17), POST /pool/detach_process.json lets
// one process finish and go (what `passenger-config detach-process` does).
//
//	max_pool_size ≠ target ──▶ it is set                       (growing: Passenger starts a process when a request has to wait)
//	processes > target     ──▶ an idle one is detached, one at a scan; when none is idle for 1 s, a busy one, which finishes first
//
// The ceiling is lowered before anything is detached, so that Passenger does not replace it. There is no order to start a
// process: without requests the number stays where it is, so a target is a ceiling on the way up and exact on the way down.
// A restart of Passenger loses the change; the new instance gets it again.
//
// max_pool_size is the instance's. Where several applications share an instance, their requests are counted, but nothing is
// steered.
//
// The core lets root in without a password. Otherwise the passwords in the instance's folder are used, which its user can
// read; they are never logged.
package passenger
