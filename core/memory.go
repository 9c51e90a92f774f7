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
	// Added are the servers that tidegate has added to HAProxy.
	Added []Added `json:"added,omitempty"`
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

// OutPoint is an amount of capacity (workers) that left a server at a time.
type OutPoint struct {
	At     time.Time `json:"at"`
	Amount float64   `json:"amount"`
	Server string    `json:"server,omitempty"`
	// Had is what the server had before, if it took requests then.
	Had float64 `json:"had,omitempty"`
	// Whole: the server itself left, not only workers of it.
	Whole bool `json:"whole,omitempty"`
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

// Life is where a server stands and since when, and what that depends on. With one HAProxy instance, or none, a server has one
// life; with several, one on each.
type Life struct {
	Phase Phase     `json:"phase"`
	Since time.Time `json:"since"`
	// Process is the HAProxy process on which the server's state is known to be ours or accepted.
	Process string `json:"process,omitempty"`
	// Empty counts observations in a row without a running request while draining.
	Empty int16 `json:"empty,omitempty"`
	// HumanWeight is the weight that someone else has set, while Human.
	HumanWeight int16 `json:"human_weight,omitempty"`
	// Late: it was still not empty at the drain deadline.
	Late bool `json:"late,omitempty"`
	// Step is the next index into the ramp.
	Step int16 `json:"step,omitempty"`
	// Weight is the HAProxy weight ordered last; Seen tells that HAProxy has reported it since; Human that someone else
	// changed it after that, which we then leave alone.
	Weight int  `json:"weight"`
	Seen   bool `json:"seen,omitempty"`
	Human  bool `json:"human,omitempty"`
	// MaxConn, MaxSeen and MaxHuman are the same of HAProxy's maxconn, 0 when none was ordered.
	MaxSeen  bool  `json:"maxconn_seen,omitempty"`
	MaxHuman bool  `json:"maxconn_human,omitempty"`
	MaxConn  int32 `json:"maxconn,omitempty"`
}

// to moves to a phase and notes since when.
func (l *Life) to(phase Phase, now time.Time) {
	if l.Phase != phase {
		l.Phase, l.Since = phase, now
	}
}

// ServerMemory is the memory of one server.
type ServerMemory struct {
	// Serve and Workers are the target.
	Serve   bool `json:"serve"`
	Workers int  `json:"workers"`
	// Life is the server's. With several HAProxy instances only Phase and Since mean something: of the life nearest to service.
	Life
	// Answers is the count of good answers when the server was last out of service; Answered tells that there have been more since.
	Answers  int  `json:"answers,omitempty"`
	Answered bool `json:"answered,omitempty"`
	// FailedAt is when the last warm-up failed.
	FailedAt time.Time `json:"failed_at,omitzero"`
	// Proxies are the lives on several HAProxy instances; nil with one. What it points to is never changed, so that equal
	// memories can be told by comparing them.
	Proxies *ProxyLives `json:"proxies,omitempty"`
}

// ProxyLives are a server's lives on several HAProxy instances.
type ProxyLives []ProxyLife

// ProxyLife is a server's life on one of several HAProxy instances.
type ProxyLife struct {
	Name string `json:"name"`
	Life
}

// On is the server's life on a HAProxy instance, by its name; with one instance the name does not matter.
func (m ServerMemory) On(name string) Life {
	if m.Proxies == nil {
		return m.Life
	}
	for _, p := range *m.Proxies {
		if p.Name == name {
			return p.Life
		}
	}
	return Life{}
}

// own makes what a turn changes in place its own, so that Decide never changes its argument. The servers are copied when they change
// (turn.keep).
func (a *AppMemory) own() {
	a.Latency.Recent = slices.Clone(a.Latency.Recent)
	a.Out, a.Added = slices.Clone(a.Out), slices.Clone(a.Added)
}
