package core

import "github.com/tidegate/tidegate/core/sizing"

// Plan is what one turn wants done.
type Plan struct {
	Apps []AppPlan `json:"apps"`
}

// AppPlan is the plan of one app.
type AppPlan struct {
	Name string `json:"name"`
	// Workers is the wanted number of workers in service.
	Workers int            `json:"workers"`
	Targets []ServerTarget `json:"targets"`
	// Actions are the next steps, in the order in which they are to be carried out.
	Actions []Action `json:"actions,omitempty"`
	// Web is the wanted nginx upstream in policy order; nil leaves nginx as it is.
	Web     []WebServer `json:"web,omitempty"`
	Reasons []Reason    `json:"reasons,omitempty"`
	// Sizing is how the wanted number of workers came about; nil for noop and latency.
	Sizing *sizing.Result `json:"sizing,omitempty"`
}

// ServerTarget is where a server is heading and where it stands.
type ServerTarget struct {
	Server string `json:"server"`
	// Serve and Workers are where it is heading.
	Serve   bool `json:"serve"`
	Workers int  `json:"workers"`
	// Run is how many workers it is to run now: what it was told, or is told in this turn. On the way to Workers it waits until
	// others are ready to take over.
	Run   int   `json:"run"`
	Phase Phase `json:"phase"`
}

// WebServer is a server's wanted weight in nginx; 0 is down.
type WebServer struct {
	Server string `json:"server"`
	Weight int    `json:"weight"`
}

// ActionKind is the closed set of steps.
type ActionKind string

// The steps. Value is the worker count or the weight where one is needed.
const (
	// SetWorkers tells the node agent the wanted number of workers.
	SetWorkers ActionKind = "set_workers"
	// Warm sends the warm-up request straight to the server.
	Warm ActionKind = "warm"
	// Enter is weight Value, state drain, health down (the last only with checks): checked, but without traffic.
	Enter ActionKind = "enter"
	// Ready is weight Value, state ready.
	Ready ActionKind = "ready"
	// SetWeight is weight Value.
	SetWeight ActionKind = "set_weight"
	// Drain is state drain.
	Drain ActionKind = "drain"
	// Park is weight 0, state maint. The weight 0 marks the maintenance as ours.
	Park ActionKind = "park"
	// SetMaxConn is maxconn Value.
	SetMaxConn ActionKind = "set_maxconn"
	// SetAddress is the address of the policy, for a server in maintenance without requests.
	SetAddress ActionKind = "set_address"
	// Cut ends all sessions that are left on a server in maintenance.
	Cut ActionKind = "cut"
	// Add adds the server, parked; Delete deletes it.
	Add    ActionKind = "add"
	Delete ActionKind = "delete"
)

// Action is one step for one server.
type Action struct {
	App    string `json:"app"`
	Server string `json:"server"`
	// Proxy is the HAProxy instance that the step is for, of several; "" with one, and for steps that are for none.
	Proxy string     `json:"proxy,omitempty"`
	Kind  ActionKind `json:"kind"`
	Value int        `json:"value,omitempty"`
	// Why is the step's cause for a person.
	Why string `json:"why"`
}

// Code is the closed set of reasons; those of package sizing belong to it.
type Code = sizing.Code

// The reason codes.
const (
	CodeInitial     Code = "initial"      // first sight of a server: its initial state
	CodeAlwaysUp    Code = "always_up"    // a server that must always serve is brought in
	CodeFloor       Code = "floor"        // fewer servers than the minimum
	CodeGrowLatency Code = "grow_latency" // average response time above the threshold, often enough in a row
	CodeShrinkQuiet Code = "shrink_quiet" // no scaling for the quiet period
	CodeAtMax       Code = "at_max"       // more would be needed than may be had
	CodeWarmFailed  Code = "warm_failed"  // the warm-up request failed: the server stays out
	CodeStartFailed Code = "start_failed" // a server did not come into service in time and was sent back
	CodeHoldNoData  Code = "hold_no_data" // a source is missing or stale: nothing shrinks
	CodeHoldErrors  Code = "hold_errors"  // an error storm: nothing shrinks
	CodeHoldZero    Code = "hold_zero"    // no busy worker is reported while HAProxy has requests running
	CodeHoldSelf    Code = "hold_self"    // tidegate itself cannot work safely (its state cannot be saved)
	CodeHoldOrder   Code = "hold_order"   // an operator's hold: nothing changes
	CodeHoldOver    Code = "hold_over"    // the operator's hold is over
	CodeDataBack    Code = "data_back"    // the hold is over
	CodeForeign     Code = "foreign"      // a human holds the server
	CodeForeignOver Code = "foreign_over" // the human let it go
	CodeDrained     Code = "drained"      // a person on the node has taken the app out of service there
	CodeRestored    Code = "restored"     // HAProxy lost its run-time state; the wanted state is applied again
	CodeDrainLate   Code = "drain_late"   // a server still has requests at its drain deadline
	CodeLimited     Code = "limited"      // the blast-radius limiter held a step back
)

// Reason explains a change, or why there is none.
type Reason struct {
	Code   Code   `json:"code"`
	App    string `json:"app"`
	Server string `json:"server,omitempty"`
	// Numbers are the inputs and steps of the decision by name.
	Numbers map[string]float64 `json:"numbers,omitempty"`
	// Sentence says it for a person.
	Sentence string `json:"sentence"`
}
