// Package systemd steers worker counts by starting and stopping units of a template, such as shop@1.service and
// shop@2.service of shop@.service, over D-Bus. systemd starts, watches and ends the processes; the agent's end changes
// nothing.
//
//	inactive, failed ── StartUnit ──▶ activating ── the start job is done ──▶ active ── StopUnit ──▶ deactivating ──▶ inactive
//	                                  starting      (Type=notify: READY=1)    ready                  draining
//
// A unit stands for a worker as long as it is active, activating or about to start, whoever started it: the target counts
// them all. One that somebody else has stopped is not started again as long as another number is free. A new worker gets the
// lowest free number; the one with the least to finish leaves, the highest number of several.
//
// # Invariants
//
//   - Nothing is started or stopped without a target, and only units of the template with a number from 1 up.
//   - After a start that failed the next one waits: 1 s, doubled up to 60 s.
//   - Every call has a time limit. A lost connection is made again, and nothing is known meanwhile.
package systemd
