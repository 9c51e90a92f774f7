// Package ours drives tidegate's own decision core in the model: every few seconds it turns what the model shows into a
// core.Observation, calls the very core.Decide that `tidegate run` calls, and carries out the SetWorkers actions of its plan.
//
// The app has one managed server on each node, and neither HAProxy's nor nginx's part is modelled: Proxied and Web are off, so a
// server is in service as soon as the core says so. As on a live fleet, the number of busy workers is what the nodes report for the last
// second; it is not known second by second. Announced loads are reservations.
package ours
