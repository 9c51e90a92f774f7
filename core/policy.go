package core

import (
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// Strategy names what sizes an app.
type Strategy = sizing.Strategy

// The strategies. Noop observes and changes nothing, Latency brings in and takes out whole servers, the others size the app
// in workers (package sizing).
const (
	Noop      = sizing.Noop
	Latency   = sizing.Latency
	BusyRatio = sizing.BusyRatio
	RPSRatio  = sizing.RPSRatio
	Queue     = sizing.Queue
	Schedule  = sizing.Schedule
	Erlang    = sizing.Erlang
)

// Policy is what the operator wants, already validated.
type Policy struct {
	Apps []AppPolicy `json:"apps"`
}

// AppPolicy sizes one app: one HAProxy backend and/or nginx upstream and its workers.
type AppPolicy struct {
	Name     string   `json:"name"`
	Strategy Strategy `json:"strategy"`
	// Proxied: the app has a HAProxy backend. Web: it has an nginx upstream.
	Proxied bool           `json:"proxied"`
	Web     bool           `json:"web"`
	Servers []ServerPolicy `json:"servers"`
	// MinServers is the least number of servers in service, at least 1.
	MinServers int `json:"min_servers"`
	// MinWorkers and MaxWorkers bound the app's workers in service (all strategies but noop and latency).
	MinWorkers int           `json:"min_workers"`
	MaxWorkers int           `json:"max_workers"`
	Latency    LatencyPolicy `json:"latency"`
	// Sizing is for all strategies that size in workers; its Strategies, MinWorkers and MaxWorkers are filled in by Decide.
	Sizing sizing.Policy `json:"sizing"`
	// Also are further strategies; with Strategy, the safest of all wins. Latency can only stand alone.
	Also []Strategy `json:"also,omitempty"`
	// Fill is how full the servers in service are planned (share of their MaxWorkers) before another one is taken in.
	Fill float64 `json:"fill"`
	// Weight is the HAProxy weight of a server with its full number of workers, 1..256.
	Weight int `json:"weight"`
	// Ramp is the share of the weight, in percent, in each turn after a server became ready; the last is 100.
	Ramp []int `json:"ramp"`
	// DrainDeadline ends the wait for a draining server to become empty; 0 waits for ever. MAINT itself cuts no request.
	DrainDeadline time.Duration `json:"drain_deadline"`
	// DrainThen says what becomes of a server that still has requests at the drain deadline; "" is ThenPark.
	DrainThen DrainThen `json:"drain_then,omitempty"`
	// MaxConnPerWorker makes HAProxy's maxconn of a server that many requests for each ready worker; 0 leaves maxconn alone.
	MaxConnPerWorker int `json:"maxconn_per_worker,omitempty"`
	// WeightsElsewhere: HAProxy's agent-check sets the weights. Only states are ordered then, and a weight says nothing.
	WeightsElsewhere bool `json:"weights_elsewhere,omitempty"`
	// Dynamic: servers that HAProxy lacks are added to it, and those added are deleted when they leave the policy.
	Dynamic bool `json:"dynamic,omitempty"`
	// StartDeadline ends the wait for all wanted workers of a starting server: with at least one ready it goes on.
	StartDeadline time.Duration `json:"start_deadline"`
	// RetryAfter is how long a server is left alone after a failed warm-up.
	RetryAfter time.Duration `json:"retry_after"`
	// MaxOut is the largest share of the capacity in service that may leave within a minute, 0..1.
	MaxOut float64 `json:"max_out"`
	// ErrorStorm: above this share of errors among recent completions nothing shrinks, 0..1.
	ErrorStorm float64 `json:"error_storm"`
}

// DrainThen is what becomes of a server that still has requests at its drain deadline.
type DrainThen string

// ThenPark puts it into maintenance, where running requests may end and sticky clients go elsewhere. ThenWait drains on until
// it is empty. ThenCut is maintenance, and the end of all sessions that are left.
const (
	ThenPark DrainThen = "park"
	ThenWait DrainThen = "wait"
	ThenCut  DrainThen = "cut"
)

// ServerPolicy is one server of an app: HAProxy's name for app-on-node.
type ServerPolicy struct {
	Name string `json:"name"`
	// AlwaysUp: never parked by a strategy.
	AlwaysUp bool `json:"always_up"`
	// Initial is applied when tidegate has no memory of the server: "up", "down", or "" for as it is seen.
	Initial string `json:"initial"`
	// Managed: a node agent steers its workers, between MinWorkers and MaxWorkers in service and ParkedWorkers when parked.
	Managed bool `json:"managed"`
	// Node is the machine it runs on, "" when nobody said.
	Node string `json:"node,omitempty"`
	// Address is where HAProxy has to have the server, "10.0.0.1:8000"; "" leaves that to HAProxy's configuration.
	Address       string `json:"address,omitempty"`
	MinWorkers    int    `json:"min_workers"`
	MaxWorkers    int    `json:"max_workers"`
	ParkedWorkers int    `json:"parked_workers"`
	// Warm: a warm-up request must succeed before the server gets traffic.
	Warm bool `json:"warm"`
}

// LatencyPolicy is the strategy of the 2011 script: the average response time of the last Requests requests against
// Threshold; Breaches in a row bring one server in; a quiet period without any scaling takes one server out.
type LatencyPolicy struct {
	Requests  int           `json:"requests"`
	Threshold time.Duration `json:"threshold"`
	Breaches  int           `json:"breaches"`
	Quiet     time.Duration `json:"quiet"`
}
