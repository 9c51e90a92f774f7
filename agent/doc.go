// Package agent is the node agent: it runs on every application server, counts the busy workers of each application,
// moves the number of workers towards a target that the controller sets, and reports both with the host's load over HTTP.
//
// Per application one goroutine does everything, every 300 ms (Options.ScanEvery):
//
//	Actuator.Observe ──▶ Source.Count ──▶ Actuator.Steer ──▶ snapshot for GET /v1/report
//	which workers are     requests in       at most one step
//	there                 progress          towards the target
//
// The workers of an adapter.Patient are looked at once in its Patience only while nothing happens to them (pace.go). All
// applications are told at the same moment that a scan is due, so that the process wakes up once. Processor time and memory
// are read beside that, seldom (usage.go).
//
// Any adapter.Source of busy counts pairs with any adapter.Actuator of worker counts; the packages below this one are the
// adapters.
//
// # Units and invariants
//
//   - Counts are processes (Total = Ready + Starting + Draining) and requests in progress (Busy, BusyMean, BusyMax); with
//     threads Busy may exceed Total.
//   - Nothing changes until a target was set (where the agent runs the workers itself, it keeps the number that was wanted
//     last). A missing master, pid file or mark directory makes the application unknown (Known false, with a sentence), never
//     zero. When the agent ends, workers stay as they are.
//   - A worker count is never steered below App.Min nor above App.Max.
//   - The agent must share the pid namespace of its applications.
package agent
