package core

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// Memory is what Decide keeps from one turn to the next. It is plain data: the controller saves it before it acts, so a
// restart changes nothing.
type Memory struct {
	Apps map[string]AppMemory `json:"apps"`
}

// AppMemory is the memory of one app.
type AppMemory struct {
	// Since is when the app was first seen: the present state is the floor until the windows are full.
	Since   time.Time     `json:"since"`
	Servers Servers       `json:"servers"`
	Latency LatencyMemory `json:"latency"`
	Sizing  sizing.Memory `json:"sizing"`
	// Activity is the time of the last scaling decision.
	Activity time.Time `json:"activity"`
	// Hold is the hold or alarm reported last, so that it is reported once.
	Hold Code `json:"hold,omitempty"`
	// Held tells that an operator's hold was in force.
	Held    bool `json:"held,omitempty"`
	AtMax   bool `json:"at_max,omitempty"`
	Limited bool `json:"limited,omitempty"`
	// Out is the capacity that left within the last minute.
	Out []OutPoint `json:"out,omitempty"`
	// Random is the state of the generator that chooses servers, so that choices can be replayed.
	Random uint64 `json:"random"`
}

// LatencyMemory is the latency strategy's: the last response times and the breaches in a row.
type LatencyMemory struct {
	Recent   []time.Duration `json:"-"`
	Breaches int             `json:"breaches"`
}

// OutPoint is an amount of capacity (workers) that left at a time.
type OutPoint struct {
	At     time.Time `json:"at"`
	Amount float64   `json:"amount"`
}

// Phase is where a server stands in its life; the package comment draws it.
type Phase string

// The phases.
const (
	PhaseParked   Phase = "parked"
	PhaseStarting Phase = "starting"
	PhaseWarming  Phase = "warming"
	PhaseChecking Phase = "checking"
	PhaseRamping  Phase = "ramping"
	PhaseServing  Phase = "serving"
	PhaseLeaving  Phase = "leaving"
	PhaseDraining Phase = "draining"
	PhaseParking  Phase = "parking"
	PhaseForeign  Phase = "foreign"
	PhaseUnknown  Phase = "unknown"
)

// InService tells whether a server in this phase takes new requests.
func (p Phase) InService() bool { return p == PhaseRamping || p == PhaseServing }

// ServerMemory is the memory of one server.
type ServerMemory struct {
	// Serve and Workers are the target.
	Serve   bool      `json:"serve"`
	Workers int       `json:"workers"`
	Phase   Phase     `json:"phase"`
	Since   time.Time `json:"since"`
	// Process is the HAProxy process on which the server's state is known to be ours or accepted.
	Process string `json:"process,omitempty"`
	// Empty counts observations in a row without a running request while draining.
	Empty int `json:"empty,omitempty"`
	// Step is the next index into the ramp.
	Step int `json:"step,omitempty"`
	// Weight is the HAProxy weight ordered last; Seen tells that HAProxy has reported it since; Human that someone else
	// changed it after that, which we then leave alone.
	Weight int  `json:"weight"`
	Seen   bool `json:"seen,omitempty"`
	Human  bool `json:"human,omitempty"`
	// Answers is the count of good answers when the server was last out of service; Answered tells that there have been more since.
	Answers  int  `json:"answers,omitempty"`
	Answered bool `json:"answered,omitempty"`
	// FailedAt is when the last warm-up failed.
	FailedAt time.Time `json:"failed_at,omitzero"`
}

// own makes what a turn changes in place its own, so that Decide never changes its argument. The servers are copied when they change
// (turn.keep).
func (a *AppMemory) own() {
	a.Latency.Recent = slices.Clone(a.Latency.Recent)
	a.Out = slices.Clone(a.Out)
}
