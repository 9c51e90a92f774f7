// Package api is tidegate's own HTTP interface: the JSON contract, the server of `tidegate run` and the client of the operator
// commands.
//
//	GET  /v1/status   what serves, what is wanted, why (Status)
//	POST /v1/reload   read the configuration again, all or nothing; 200, or 409 with the problems
//	GET  /v1/orders   the holds, pins and reservations, and what became of each (Orders)
//	POST /v1/orders   give one (OrderRequest); 200 with it, or 400 with what is wrong
//	DELETE /v1/orders/{id or app}  release one, or all of an app; 404 when there is none
//	GET  /metrics     Prometheus text
//	GET  /healthz     200 while the process turns its loop
//	GET  /readyz      200 when every source answers, else 503 with what is missing
//
// The JSON names are a contract: fields are added, not renamed. Times are RFC 3339 in UTC, durations milliseconds with the
// suffix _ms, shares 0..1. The full interface belongs on a unix socket or a loopback address; the second address (metrics)
// serves /metrics, /healthz and /readyz only.
package api
