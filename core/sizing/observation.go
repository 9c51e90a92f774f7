package sizing

import "time"

// Observation is what one turn knows of one app, as far as its size depends on it.
type Observation struct {
	Now time.Time `json:"now"`
	// Bad says why the data as a whole must not be believed ("" when they may): nothing shrinks meanwhile.
	Bad Code `json:"bad,omitempty"`
	// Traffic tells whether Seconds, InFlight and Queued are known.
	Traffic  bool     `json:"traffic"`
	Seconds  []Second `json:"seconds,omitempty"`
	InFlight float64  `json:"in_flight"`
	Queued   float64  `json:"queued"`
	Nodes    []Node   `json:"nodes,omitempty"`
	Backlog  *Backlog `json:"backlog,omitempty"`
	Orders   []Order  `json:"orders,omitempty"`
}

// Second is what happened from second At (since 1970) on, during Span seconds (0 means 1). The sums are over the Timed
// completions; Timed 0 with sums means all completions were timed.
type Second struct {
	At          int64   `json:"at"`
	Span        int     `json:"span,omitempty"`
	Arrivals    float64 `json:"arrivals"`
	Completions float64 `json:"completions"`
	Errors      float64 `json:"errors,omitempty"`
	Timed       float64 `json:"timed,omitempty"`
	// Queue, Connect and Service are sums in seconds.
	Queue   float64 `json:"queue,omitempty"`
	Connect float64 `json:"connect,omitempty"`
	Service float64 `json:"service,omitempty"`
	// Busy is the busy integral in worker-seconds; nil when the node agents did not tell.
	Busy *float64 `json:"busy,omitempty"`
}

// Node is the app's workers on one node.
type Node struct {
	Name string `json:"name"`
	// Up: the node can serve. Known: its agent reports.
	Up    bool `json:"up"`
	Known bool `json:"known"`
	// Max is how many workers of the app the node can hold.
	Max      int `json:"max"`
	Total    int `json:"total"`
	Ready    int `json:"ready"`
	Starting int `json:"starting,omitempty"`
	Draining int `json:"draining,omitempty"`
	// Busy is the number of busy workers; BusyKnown tells that it means something.
	Busy      float64 `json:"busy"`
	BusyKnown bool    `json:"busy_known"`
	// OldFirst: when fewer are wanted the oldest workers leave, also while others are starting.
	OldFirst bool `json:"old_first,omitempty"`
	// Fresh: it has come into service and not given a good answer since.
	Fresh bool `json:"fresh,omitempty"`
}

// Backlog is a message queue. An item that waits stays.
type Backlog struct {
	Items float64 `json:"items"`
	// In is the number of items that came in per second, Out the number taken per second.
	In  float64 `json:"in"`
	Out float64 `json:"out"`
	// Oldest is the age of the oldest item in seconds.
	Oldest float64 `json:"oldest"`
	// Service is the mean time that one consumer needs for an item, in seconds; 0 when unknown.
	Service float64 `json:"service,omitempty"`
}

// OrderKind is the closed set of orders.
type OrderKind string

// The orders. Hold: nothing changes. Pin: a fixed number of workers. Reserve: announced load that is provided for.
const (
	OrderHold    OrderKind = "hold"
	OrderPin     OrderKind = "pin"
	OrderReserve OrderKind = "reserve"
)

// Order is what an operator or another program asked for. Every observation carries all orders in force.
type Order struct {
	ID    string    `json:"id"`
	Kind  OrderKind `json:"kind"`
	Owner string    `json:"owner,omitempty"`
	Note  string    `json:"note,omitempty"`
	From  time.Time `json:"from,omitzero"`
	// Until ends the order; the zero time is never for a hold or a pin, and refused for a reservation.
	Until time.Time `json:"until,omitzero"`
	// Workers is the number of a pin or a reservation; Rate the size of a reservation in requests per second, when Workers is 0.
	Workers int     `json:"workers,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
}
