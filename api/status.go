package api

import "time"

// Status is what tidegate sees and wants, as of its last turn.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Now is the time of the turn, Turn its number since the start.
	Now    time.Time `json:"now"`
	Turn   uint64    `json:"turn"`
	TickMS float64   `json:"tick_ms"`
	Config Config    `json:"config"`
	// Sources are HAProxy, the SPOE feed, nginx and each node's agent.
	Sources []Source `json:"sources"`
	SPOA    SPOA     `json:"spoa"`
	// Nginx is nil without one.
	Nginx  *Nginx `json:"nginx,omitempty"`
	Totals Totals `json:"totals"`
	Apps   []App  `json:"apps"`
	// Events are the last decisions and steps, newest first.
	Events []Event `json:"events"`
}

// Config tells which configuration is in force.
type Config struct {
	File   string    `json:"file"`
	Loaded time.Time `json:"loaded"`
	// Problem is why the last reload was refused, "" when it was not.
	Problem string `json:"problem,omitempty"`
}

// Source is one thing tidegate listens to or steers.
type Source struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Problem string  `json:"problem,omitempty"`
	AgeMS   float64 `json:"age_ms"`
}

// Nginx is what became of the nginx include so far.
type Nginx struct {
	// LastReload is the last one since tidegate started.
	LastReload *NginxReload `json:"last_reload,omitempty"`
	// Held is the code of what keeps a change back, "" for nothing, since HeldSince; HeldReason is the change's code, Why says it.
	Held       string    `json:"held,omitempty"`
	HeldReason string    `json:"held_reason,omitempty"`
	HeldSince  time.Time `json:"held_since,omitzero"`
	Why        string    `json:"why,omitempty"`
	// Drift is what somebody else did to the files, "" for nothing.
	Drift string `json:"drift,omitempty"`
	// OldGenerations are those of old workers that still have connections.
	OldGenerations int `json:"old_generations"`
}

// NginxReload is one reload. Error is why it failed, and was rolled back.
type NginxReload struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	TookMS float64   `json:"took_ms"`
	Why    string    `json:"why,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// SPOA is the state of the agent that HAProxy's filter talks to.
type SPOA struct {
	Listen      string  `json:"listen,omitempty"`
	Connections int64   `json:"connections"`
	Frames      uint64  `json:"frames"`
	Malformed   uint64  `json:"malformed"`
	AckP50MS    float64 `json:"ack_p50_ms"`
	AckP99MS    float64 `json:"ack_p99_ms"`
}

// Totals count since the start.
type Totals struct {
	Actions      map[string]uint64 `json:"actions"`
	Failed       uint64            `json:"failed_actions"`
	NginxReloads uint64            `json:"nginx_reloads"`
}

// App is one app.
type App struct {
	Name     string  `json:"name"`
	Strategy string  `json:"strategy"`
	Rate     float64 `json:"rate"`
	P50MS    float64 `json:"p50_ms"`
	P95MS    float64 `json:"p95_ms"`
	P99MS    float64 `json:"p99_ms"`
	// TrafficAgeMS is the age of the newest SPOE message, -1 for none yet.
	TrafficAgeMS float64 `json:"traffic_age_ms"`
	InFlight     int     `json:"in_flight"`
	Queued       int     `json:"queued"`
	// OpenKnown is the number of requests that came and have neither been answered nor ended, -1 unless HAProxy is set up to tell of
	// arrivals (tidegate init --arrivals). OldestOpenMS is the age of the oldest, 0 when none is known, -1 when HAProxy has told
	// nothing yet; without arrivals it is reckoned from HAProxy's counters. Both are lower bounds.
	OpenKnown    int     `json:"open_known"`
	OldestOpenMS float64 `json:"oldest_open_ms"`
	Busy         float64 `json:"busy"`
	Ready        int     `json:"ready"`
	Total        int     `json:"total"`
	Wanted       int     `json:"wanted"`
	// WorkerSeconds ran since the start; AlwaysOnSeconds would have run with every worker of every server always on.
	WorkerSeconds   float64 `json:"worker_seconds"`
	AlwaysOnSeconds float64 `json:"always_on_seconds"`
	Hold            string  `json:"hold,omitempty"`
	// Sizing is how the wanted number of workers came about in the last turn; nil for apps that are not sized in workers.
	Sizing *Sizing `json:"sizing,omitempty"`
	// Change is the last turn that changed the wanted number since tidegate started.
	Change *Sizing `json:"change,omitempty"`
	// Alarms are states that a person should look at.
	Alarms []string `json:"alarms,omitempty"`
	// Orders are those for this app, and those for all apps.
	Orders []Order `json:"orders,omitempty"`
	// Proxies are the app's HAProxy instances when it is on several; InFlight and Queued are their sums then.
	Proxies []Proxy  `json:"proxies,omitempty"`
	Servers []Server `json:"servers"`
	// Last is the last decision about this app.
	Last *Event `json:"last,omitempty"`
}

// Proxy is one of several HAProxy instances, as far as an app is concerned.
type Proxy struct {
	Name string `json:"name"`
	// Known: it was read in this turn. Gone: it was not, because no process listens there.
	Known    bool   `json:"known"`
	Gone     bool   `json:"gone,omitempty"`
	Process  string `json:"process,omitempty"`
	InFlight int    `json:"in_flight"`
	Queued   int    `json:"queued"`
}

// What a human can have changed about a server in HAProxy.
const (
	ForeignState  = "state"
	ForeignWeight = "weight"
)

// ServerProxy is a server on one of several HAProxy instances.
type ServerProxy struct {
	Name    string `json:"name"`
	Phase   string `json:"phase"`
	Admin   string `json:"admin,omitempty"`
	Up      bool   `json:"up"`
	Weight  int    `json:"weight"`
	Current int    `json:"current"`
	Foreign string `json:"foreign,omitempty"`
}

// Server is one server of an app.
type Server struct {
	Name  string `json:"name"`
	Node  string `json:"node,omitempty"`
	Phase string `json:"phase"`
	Serve bool   `json:"serve"`
	// Admin, Up, Weight, Current are HAProxy's; Admin is "" when HAProxy cannot be read or the app has no backend.
	Admin   string `json:"admin,omitempty"`
	Up      bool   `json:"up"`
	Weight  int    `json:"weight"`
	Current int    `json:"current"`
	// Foreign tells what a human holds of it in HAProxy: its "state", which tidegate then leaves alone and does not count, or its
	// "weight"; "" for nothing.
	Foreign string `json:"foreign,omitempty"`
	// Proxies are its states on several HAProxy instances; then Admin is the one that lets most traffic in, Up that one finds it
	// healthy, Weight the highest, Current the sum.
	Proxies []ServerProxy `json:"proxies,omitempty"`
	// The workers on the server's node; PoolKnown is false without a fresh report.
	PoolKnown bool    `json:"pool_known"`
	Busy      float64 `json:"busy"`
	Ready     int     `json:"ready"`
	Total     int     `json:"total"`
	Workers   int     `json:"workers"`
	// Web is the weight in nginx, 0 for down, -1 when not known or not used.
	Web int `json:"web"`
}

// Event is a decision or a step.
type Event struct {
	Time   time.Time `json:"time"`
	App    string    `json:"app"`
	Server string    `json:"server,omitempty"`
	// Code is a reason code or the kind of a step.
	Code     string             `json:"code"`
	Sentence string             `json:"sentence"`
	Numbers  map[string]float64 `json:"numbers,omitempty"`
	// Step is true for steps, false for decisions. Error is why a step failed.
	Step  bool   `json:"step"`
	Error string `json:"error,omitempty"`
}

// Sizing is how an app's wanted number of workers came about in one turn.
type Sizing struct {
	Time time.Time `json:"time"`
	// Before and Workers are the wanted numbers before and after the turn. Need is what the strategies asked for before any limit.
	Before  int     `json:"before"`
	Workers int     `json:"workers"`
	Need    float64 `json:"need"`
	// Strategy is the one whose need won, Frozen why nothing may be removed.
	Strategy string `json:"strategy,omitempty"`
	Frozen   string `json:"frozen,omitempty"`
	// Inputs are the measured and learned numbers by name, Steps the number after each rule that had an effect, in order.
	Inputs map[string]float64 `json:"inputs,omitempty"`
	Steps  []SizingStep       `json:"steps,omitempty"`
	// Limit is the rule that kept the number from what was asked for, Without the number without it.
	Limit   string `json:"limit,omitempty"`
	Without int    `json:"without,omitempty"`
	// ArrivalsPerSecond is the mean of the last minute; ServiceMS the mean time a worker needs for a request, LeadMS the time from an
	// order to its first good answer; -1 when not known. LeadLearned tells that it was measured, not configured.
	ArrivalsPerSecond float64 `json:"arrivals_per_second"`
	ServiceMS         float64 `json:"service_ms"`
	LeadMS            float64 `json:"lead_ms"`
	LeadLearned       bool    `json:"lead_learned"`
}

// SizingStep is the wanted number after one rule.
type SizingStep struct {
	Rule    string  `json:"rule"`
	Workers float64 `json:"workers"`
}
