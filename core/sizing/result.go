package sizing

import (
	"fmt"
	"strings"
)

// Code is the closed set of reasons. Every event, alarm and step of a trace has one.
type Code string

// What changed the wanted number, or kept it.
const (
	CodeGrow        Code = "grow"          // more workers are wanted
	CodeShrink      Code = "shrink"        // fewer workers are wanted
	CodeStart       Code = "start"         // first sight or restart: the present number is taken over
	CodeAtMax       Code = "at_max"        // more would be needed than may be had
	CodeHoldOrder   Code = "hold_order"    // an operator's hold: nothing changes
	CodePin         Code = "pin"           // an operator's fixed number
	CodeReserve     Code = "reserve"       // announced load is provided for
	CodeReserveDone Code = "reserve_done"  // the announced load came and went: released early
	CodeReserveOver Code = "reserve_over"  // the reservation has expired
	CodeReserveNo   Code = "reserve_no"    // the reservation cannot be given
	CodeGuard       Code = "collapse"      // arrivals fell off a cliff: workers for their return are held
	CodeGuardLonger Code = "collapse_on"   // the hold is extended because errors last
	CodeGuardOver   Code = "collapse_over" // traffic is back, or the time is over
	CodeFutile      Code = "futile"        // more workers brought no throughput: a dependency is slow
	CodeFutileProbe Code = "futile_probe"  // more workers are tried again
	CodeFutileOver  Code = "futile_over"   // the dependency answers again
	CodeErrorStorm  Code = "hold_errors"   // many requests end in errors: nothing shrinks
	CodeNoData      Code = "hold_no_data"  // data are missing or stale: nothing shrinks
	CodeZeroData    Code = "hold_zero"     // zero is reported while HAProxy has sessions: treated as missing
	CodeAbsurdData  Code = "hold_absurd"   // numbers that cannot be: treated as missing
	CodeDataBack    Code = "data_back"     // the data may be believed again
	CodeNoDataLong  Code = "no_data_long"  // no data for more than five minutes
	CodeNodeLost    Code = "node_lost"     // a node with workers is gone: its share is put elsewhere
	CodeFlapping    Code = "flapping"      // more reversals within an hour than the budget
)

// The steps of a trace and the rules that limited it.
const (
	StepDemand      Code = "demand"
	StepGrowth      Code = "growth"
	StepTrend       Code = "trend"
	StepBurst       Code = "burst"
	StepErlang      Code = "erlang"
	StepBacklog     Code = "backlog"
	StepLoseNode    Code = "lose_node"
	StepBusy        Code = "busy_ratio"
	StepRPS         Code = "rps_ratio"
	StepQueue       Code = "queue"
	StepSchedule    Code = "schedule"
	StepPanic       Code = "panic"
	StepProfile     Code = "profile"
	StepReservation Code = "reservation"
	StepGuard       Code = "collapse_guard"
	StepFutility    Code = "futility_cap"
	StepWindow      Code = "down_window"
	StepDownShare   Code = "down_share"
	StepDownPause   Code = "down_pause"
	StepCallOff     Code = "call_off"
	StepUpLimit     Code = "up_limit"
	StepTolerance   Code = "tolerance"
	StepNoShrink    Code = "no_shrink"
	StepRestart     Code = "restart_floor"
	StepMin         Code = "min_workers"
	StepMax         Code = "max_workers"
	StepPin         Code = "pin"
	StepHold        Code = "hold"
)

// Step is the wanted number after one rule.
type Step struct {
	Rule    Code    `json:"rule"`
	Workers float64 `json:"workers"`
}

// Trace explains one decision.
type Trace struct {
	// Strategy is the one whose need won.
	Strategy Strategy `json:"strategy,omitempty"`
	// Inputs are the measured and learned numbers by name.
	Inputs map[string]float64 `json:"inputs,omitempty"`
	// Steps are the numbers after each rule that had an effect, in order.
	Steps []Step `json:"steps,omitempty"`
	// Limit is the rule that kept the number from what the strategy wanted, and Without the number without it.
	Limit   Code `json:"limit,omitempty"`
	Without int  `json:"without,omitempty"`
}

// Event is a change, or the beginning or end of a state.
type Event struct {
	Code     Code               `json:"code"`
	Numbers  map[string]float64 `json:"numbers,omitempty"`
	Sentence string             `json:"sentence"`
}

// Result is what one turn wants.
type Result struct {
	// Workers is the wanted number of workers in service, Before what it was.
	Workers int `json:"workers"`
	Before  int `json:"before"`
	// Frozen tells that nothing may be removed now, whatever the number says (a hold, a pin, bad data).
	Frozen Code `json:"frozen,omitempty"`
	// Starting tells that the present number is the floor, because the app has not been watched for long enough.
	Starting bool    `json:"starting,omitempty"`
	Trace    Trace   `json:"trace,omitzero"`
	Events   []Event `json:"events,omitempty"`
	// Alarms are the states a person should look at, as long as they last, sorted.
	Alarms []Code `json:"alarms,omitempty"`
	// Orders says what became of each order, by id.
	Orders map[string]OrderState `json:"orders,omitempty"`
}

// OrderState is what became of an order.
type OrderState struct {
	// State is waiting (its time has not come), active, released, expired or refused.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	// Workers is what it asks for now.
	Workers int `json:"workers,omitempty"`
}

// sentence says the steps for a person.
func (t *Trace) sentence() string {
	var b strings.Builder
	for i, s := range t.Steps {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.4g", strings.ReplaceAll(string(s.Rule), "_", " "), s.Workers)
	}
	if t.Limit != "" {
		fmt.Fprintf(&b, " (without %s %d)", strings.ReplaceAll(string(t.Limit), "_", " "), t.Without)
	}
	return b.String()
}
