package sim

// Scaler decides how many workers there should be.
type Scaler interface {
	// Every is the number of whole seconds between two decisions, at least 1.
	Every() int
	// Decide says what is wanted now. The observation is only valid during the call.
	Decide(o *Observation) Decision
}

// Local is a Scaler that measures on the machine itself: an outage of the metrics does not touch it.
type Local interface {
	Local() bool
}

// Policy is a named way to make scalers, one for each run.
type Policy struct {
	Name string
	// About says in one sentence what the rule is and where it comes from.
	About string
	New   func(Setup) (Scaler, error)
}

// Setup is what a scaler may know before the run. Rules that do not claim to know the future leave the trace alone.
type Setup struct {
	Params Params
	Trace  *Trace
}

// Observation is what can be seen of the app at one moment.
type Observation struct {
	Now float64
	// Missing tells that no metrics arrive now: Seconds lacks the missing ones, and Busy, InFlight and Queued mean nothing.
	Missing bool
	// Seconds are the complete seconds since the last decision, oldest first.
	Seconds []Second
	// InFlight are the requests in service and in the queue, Queued those in the queue.
	InFlight int
	Queued   int
	Nodes    []NodeState
	// Responses are the last response times (queue and service) since the last decision, oldest first, at most 64; Services
	// are their parts without the queue.
	Responses []float64
	Services  []float64
	// Announced are the loads told so far whose time is not over.
	Announced []Announcement
}

// Second is what happened in one second.
type Second struct {
	At int
	// Arrivals, Completions (answered requests) and Errors (503 and killed) are requests.
	Arrivals    int
	Completions int
	Errors      int
	// Queue and Service are sums over the completions, in seconds.
	Queue   float64
	Service float64
	// Busy and Waiting are integrals over the second: worker-seconds in service, request-seconds in the queue.
	Busy    float64
	Waiting float64
}

// NodeState is the app's workers on one node.
type NodeState struct {
	Up bool
	// Max is how many workers the node can hold, Target what was ordered last.
	Max      int
	Target   int
	Ready    int
	Starting int
	Draining int
	// Busy is the mean number of busy workers over the last second, draining ones included.
	Busy float64
	// Answered counts the requests answered by workers of the node since the beginning.
	Answered int
}

// Ready, Starting and Busy are sums over the nodes.
func (o *Observation) Ready() int {
	n := 0
	for i := range o.Nodes {
		n += o.Nodes[i].Ready
	}
	return n
}

// Starting is the number of workers that warm up.
func (o *Observation) Starting() int {
	n := 0
	for i := range o.Nodes {
		n += o.Nodes[i].Starting
	}
	return n
}

// Target is the number of workers ordered.
func (o *Observation) Target() int {
	n := 0
	for i := range o.Nodes {
		n += o.Nodes[i].Target
	}
	return n
}

// Decision is what a scaler wants.
type Decision struct {
	// Workers is the wanted number. It is brought to the bounds of the parameters and spread evenly, unless PerNode says where.
	Workers int
	// PerNode is the wanted number by node, or nil. A value below 0 leaves the node as it is.
	PerNode []int
	// Out tells which nodes' workers are not to take requests, or nil for none.
	Out []bool
	// Why is the reason for a person, kept when the number changes.
	Why string
	// Alarms are the alarms that stand now.
	Alarms []string
}
