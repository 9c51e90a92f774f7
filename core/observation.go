package core

import (
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

// Observation is everything one turn knows.
type Observation struct {
	Now time.Time `json:"now"`
	// Problem is what keeps tidegate itself from working safely (its state cannot be saved): nothing shrinks meanwhile.
	Problem string   `json:"problem,omitempty"`
	Apps    []AppObs `json:"apps"`
	// Nodes are the machines, as far as they are known.
	Nodes []NodeObs `json:"nodes,omitempty"`
}

// AppObs is what was seen of one app.
type AppObs struct {
	Name    string     `json:"name"`
	Traffic TrafficObs `json:"traffic"`
	// Proxy is the app's HAProxy. Proxies are the instances of an app that is on several; then Proxy, and Proxy of each server,
	// mean nothing.
	Proxy   ProxyObs      `json:"proxy"`
	Proxies []InstanceObs `json:"proxies,omitempty"`
	Web     WebObs        `json:"web"`
	Servers []ServerObs   `json:"servers"`
	// Backlog is the message queue that the app's workers consume, if there is one.
	Backlog *sizing.Backlog `json:"backlog,omitempty"`
	// Orders are all holds, pins and reservations in force or to come.
	Orders []sizing.Order `json:"orders,omitempty"`
}

// NodeObs is one machine.
type NodeObs struct {
	Name string `json:"name"`
	// Up: it can serve. A node that is not up has lost its workers.
	Up bool `json:"up"`
	// Capacity is how many workers it can hold, 0 for unknown. CPU and Memory are the shares in use, 0..1, -1 for unknown.
	Capacity int     `json:"capacity,omitempty"`
	CPU      float64 `json:"cpu"`
	Memory   float64 `json:"memory"`
}

// TrafficObs is what HAProxy's SPOE messages told. Known is false when neither a heartbeat nor a request came in time.
type TrafficObs struct {
	Known bool `json:"known"`
	// Rate is arrivals per second, Errors the share of recent completions that failed (0..1).
	Rate   float64 `json:"rate"`
	Errors float64 `json:"errors"`
	// Age is how old the newest of these data are.
	Age time.Duration `json:"-"`
	// Seconds are the complete seconds since the last observation, oldest first, bounded by the observer.
	Seconds []sizing.Second `json:"seconds,omitempty"`
	// InFlight counts the requests in the backend, queued ones included, Queued those in its queue; used where HAProxy's own
	// state (ProxyObs) is not known.
	InFlight int `json:"in_flight,omitempty"`
	Queued   int `json:"queued,omitempty"`
	// P50, P95 and P99 are of queue, connect and response time together. They are reported, never decided on.
	P50 time.Duration `json:"-"`
	P95 time.Duration `json:"-"`
	P99 time.Duration `json:"-"`
	// Responses are the server response times since the last observation, oldest first, bounded by the observer.
	Responses []time.Duration `json:"-"`
}

// ProxyObs is the backend as HAProxy reports it now.
type ProxyObs struct {
	Known bool `json:"known"`
	// Gone: not Known because no process listens, so that no request comes from there. Otherwise HAProxy may still be at work.
	Gone bool `json:"gone,omitempty"`
	// Process identifies the HAProxy worker process: another value means that all run-time state was lost.
	Process string `json:"process"`
	// Current is requests in service or queued, Queued those waiting in HAProxy.
	Current int `json:"current"`
	Queued  int `json:"queued"`
}

// InstanceObs is the backend, with its servers by name, as one of several HAProxy instances reports it now.
type InstanceObs struct {
	Name string `json:"name"`
	ProxyObs
	Servers map[string]ProxyServerObs `json:"servers,omitempty"`
}

// WebObs is the nginx upstream as the verified include file says: weight by server, 0 for down.
type WebObs struct {
	Known   bool           `json:"known"`
	Weights map[string]int `json:"weights,omitempty"`
}

// ServerObs is what was seen of one server.
type ServerObs struct {
	Name  string         `json:"name"`
	Proxy ProxyServerObs `json:"proxy"`
	Pool  PoolObs        `json:"pool"`
	Warm  WarmState      `json:"warm"`
	// Answers counts the good answers of the server (any but its errors), from some time on that a restart of HAProxy may move;
	// AnswersKnown tells that it means something.
	Answers      int  `json:"answers,omitempty"`
	AnswersKnown bool `json:"answers_known,omitempty"`
}

// AdminState is HAProxy's administrative state of a server.
type AdminState string

// The administrative states.
const (
	AdminReady AdminState = "ready"
	AdminDrain AdminState = "drain"
	AdminMaint AdminState = "maint"
)

// ProxyServerObs is a server line as HAProxy reports it.
type ProxyServerObs struct {
	Known bool       `json:"known"`
	Admin AdminState `json:"admin"`
	// FromConfig: the configuration says `disabled`. Up: the operational state lets traffic in.
	FromConfig bool `json:"from_config"`
	Up         bool `json:"up"`
	// Checked: health checks are configured and enabled.
	Checked bool `json:"checked"`
	// Weight is the user weight, 0..256. Current and Queued are requests.
	Weight  int `json:"weight"`
	Current int `json:"current"`
	Queued  int `json:"queued"`
	// MaxConn is how many requests it is given at once, 0 for no limit. Address is where HAProxy has it, "10.0.0.1:8000", ""
	// for nowhere or a unix socket.
	MaxConn int    `json:"maxconn,omitempty"`
	Address string `json:"address,omitempty"`
}

// PoolObs is the app's workers on the server's node as its agent reports them.
type PoolObs struct {
	Known bool `json:"known"`
	// Age is how old the report is.
	Age      time.Duration `json:"-"`
	Total    int           `json:"total"`
	Ready    int           `json:"ready"`
	Starting int           `json:"starting"`
	Draining int           `json:"draining"`
	// BusyKnown: the app's request marks can be counted, so Busy means something.
	BusyKnown bool `json:"busy_known"`
	// Busy is the mean number of busy workers over the last second or so.
	Busy float64 `json:"busy"`
	// Target is what the agent was last told; 0 is never, unless Ordered says that it was told so.
	Target  int  `json:"target"`
	Ordered bool `json:"ordered,omitempty"`
	// Min and Max are the targets that the agent takes, 0 (Max) for no bound that is known. Step is the number of workers that
	// come and go together (the threads of a process), 0 or 1 for single ones.
	Min  int `json:"min,omitempty"`
	Max  int `json:"max,omitempty"`
	Step int `json:"step,omitempty"`
	// OldFirst: when fewer are wanted the oldest workers leave, also while others are starting.
	OldFirst bool `json:"old_first,omitempty"`
	// Drained: a person on the node has taken the app out of service there.
	Drained bool `json:"drained,omitempty"`
}

// WarmState is how far the warm-up request of a server is.
type WarmState string

// The warm-up states. WarmNone: none asked for, or its result has been used.
const (
	WarmNone    WarmState = ""
	WarmRunning WarmState = "running"
	WarmOK      WarmState = "ok"
	WarmFailed  WarmState = "failed"
)
