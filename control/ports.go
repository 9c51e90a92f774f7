package control

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// ErrGone is wrapped by errors of Proxy.Observe when nobody listens there: no process, so no request comes from it. After any
// other error HAProxy may be at work.
var ErrGone = errors.New("no HAProxy process listens")

// Instance is one HAProxy, with its name ("" for the only one).
type Instance struct {
	Name  string
	Proxy Proxy
}

// Proxy is one HAProxy's runtime API.
type Proxy interface {
	// Observe reads the process and the backends in one connection.
	Observe(ctx context.Context, backends []string) (ProxyState, error)
	// Apply sends one batch and reads back; the errors stand in the order of the steps (nil: it took). The second result
	// is not nil when the batch as a whole failed or its outcome is unknown.
	Apply(ctx context.Context, steps []ProxyStep) ([]error, error)
}

// ProxyState is what HAProxy says now.
type ProxyState struct {
	// Process identifies the worker process.
	Process  string
	Backends map[string]ProxyBackend
}

// ProxyBackend is one backend.
type ProxyBackend struct {
	Current, Queued int
	Servers         map[string]core.ProxyServerObs
	// Answers counts the good answers of each server since the process started; a server that is not counted is not in it.
	Answers map[string]int
}

// ProxyStep is one step for one server of a backend.
type ProxyStep struct {
	Backend, Server string
	Kind            core.ActionKind
	// Value is the weight or the maxconn of kinds that set one.
	Value int
	// Address is the server's, Options the words on its line, for kinds that give it them.
	Address, Options string
	// Checked: the server has health checks, so Enter also marks it unhealthy until one passes.
	Checked bool
}

// Web is one nginx with its include file.
type Web interface {
	// Apply makes the upstreams live, sooner or later: it may put an update off to stay within its reload budget. It is
	// called by one goroutine at a time and may take seconds.
	Apply(ctx context.Context, now time.Time, upstreams []WebUpstream) (WebOutcome, error)
	// Live tells the weight (0: down) of each server, by name, of each upstream, as the verified file says; false: not known.
	Live() (map[string]map[string]int, bool)
}

// Watcher is a Web that notices by itself when somebody else changes its files.
type Watcher interface {
	// Watch calls changed from another goroutine when Apply should look again, until ctx ends.
	Watch(ctx context.Context, changed func())
}

// WebUpstream is a wanted upstream. As an app's, it says what never changes; the servers' weights and the addresses of names are
// filled in turn by turn.
type WebUpstream struct {
	// Rate is the requests per second it gets, 0 for unknown.
	Rate               float64
	Name, Method, Zone string
	// Stream: it belongs into nginx's stream block.
	Stream    bool
	Keepalive int
	// MaxConns bounds each server's connections, MaxConnsPerWorker those of each ready worker; 0 for no bound.
	MaxConns, MaxConnsPerWorker int
	// MaxFails 0 and FailTimeout 0 are nginx's own, MaxFails -1 counts none.
	MaxFails    int
	FailTimeout time.Duration
	Servers     []WebServer
}

// WebServer is a wanted server line.
type WebServer struct {
	Name string
	// Address is "" while what its name stands for is not known: then the server cannot have a line.
	Address string
	// Weight is ready workers, 0 for down; Workers are all it can have, and Speed is how much one of them does, as a multiple.
	Weight, Workers int
	Speed           float64
	// Backup and Down mark a spare, which is always written so and which nobody steers.
	Backup, Down bool
	// MaxConns bounds its connections, 0 for as the upstream says.
	MaxConns int
}

// Names knows what the host names in servers' addresses stand for.
type Names interface {
	// Address returns an address without a name as it is, and one with a name with its IP address, "" while that is not known.
	// It does not wait.
	Address(address string) string
	// Trouble says what could not be resolved, nil for nothing.
	Trouble() error
}

// WebOutcome is what came of an update.
type WebOutcome struct {
	// Changed: the file was replaced and verified, or nginx is told other weights. Deferred: later. Reloaded: nginx was told to
	// reload.
	Changed, Deferred, Reloaded bool
	// Why says it for a person: of the file. Told says what nginx is told besides, without a reload; "" for nothing new.
	Why, Told string
	// Reason is the code of the change, Held that of what puts it off. Took is how long the reload took.
	Reason, Held string
	Took         time.Duration
	// Drift is what somebody else did to the files, "" for nothing. OldGenerations counts the generations of nginx's old workers
	// that still have connections.
	Drift          string
	OldGenerations int
}

// Node is one node agent.
type Node interface {
	Report(ctx context.Context) (NodeReport, error)
	// SetWorkers is idempotent; the agent refuses an epoch older than one it has seen.
	SetWorkers(ctx context.Context, app string, workers int, epoch uint64) error
}

// NodeReport is what a node's agent says.
type NodeReport struct {
	// Capacity is how many workers the node can hold, 0 for unknown. CPU and Memory are the shares in use, 0..1, -1 for unknown.
	Capacity    int
	CPU, Memory float64
	// Pools are the workers by app. Their Age is that of the agent's own sample.
	Pools map[string]core.PoolObs
}

// Traffic is the meter fed by HAProxy's SPOE filter.
type Traffic interface {
	// Take returns what was measured per backend, with the response times and the complete seconds since the last call.
	Take(now time.Time) map[string]TrafficReport
	// State describes the agent itself for the status.
	State() api.SPOA
}

// TrafficReport is one backend's traffic.
type TrafficReport struct {
	// Last is when the last message (heartbeat or request) came.
	Last             time.Time
	Rate, Errors     float64
	P50, P95, P99    time.Duration
	InFlight, Queued int
	// Open is the number of requests known to be open, -1 when HAProxy tells nothing of arrivals; OldestOpen is how long ago
	// the oldest of all came at least, 0 when that is not known.
	Open       int
	OldestOpen time.Duration
	Responses  []time.Duration
	// Seconds are the complete seconds since the last Take.
	Seconds []sizing.Second
}

// Backlog tells how long a message queue is.
type Backlog interface {
	// Read returns the backlog and when it was read.
	Read(ctx context.Context) (sizing.Backlog, time.Time, error)
}
