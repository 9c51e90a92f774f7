package adapter

import (
	"errors"
	"time"

	"github.com/tidegate/tidegate/agent/proc"
)

// Source counts the requests in progress of one application.
type Source interface {
	// Count reads the requests in progress now: those of the family, or of every process when family is nil. The maps are
	// valid until the next call. With an error, only Foreign and Removed count.
	Count(family *Family) (Count, error)
}

// Trust says how a count comes about, and so how far it is to be believed.
type Trust string

const (
	// Exact counts change with the request: they are right within one scan.
	Exact Trust = "exact"
	// Delayed counts are the server's own report from up to Count.Age ago.
	Delayed Trust = "delayed"
	// Connections counts accepted connections: too many where clients keep idle ones open.
	Connections Trust = "connections"
)

// Count is one reading of a source.
type Count struct {
	// Busy is the number of requests in progress, ByProc what is known of each process that has any; nil when the source
	// cannot tell processes apart.
	Busy   int
	ByProc map[proc.ID]Work
	// Booted are the processes that have said they can serve. TellsBoot: whoever is not among them (or was not, once)
	// cannot yet.
	Booted    map[proc.ID]bool
	TellsBoot bool
	// Trust and Age say what the count is worth; Age is 0 for what was read just now.
	Trust Trust
	Age   time.Duration
	// Foreign is the number of names that are not marks, Removed that of the stale marks removed this time.
	Foreign, Removed int
	// Problem is a sentence about something that does not make the count wrong, empty when there is nothing to say.
	Problem string
}

// Work is what one process is doing.
type Work struct {
	// Busy is the number of requests in progress.
	Busy int
	// Newest numbers the youngest of them; it grows with each request that the process begins. 0 when that is not known.
	Newest uint64
}

// Queue tells what waits in front of the workers of one application. A Source or an Actuator may be one too.
type Queue interface {
	// Queued reads the connections (or requests) that no worker has taken yet, and how many may wait (0: not known).
	// ErrNoQueue is no trouble: the queue is just not known.
	Queued() (Waiting, error)
}

// ErrNoQueue says that a server does not tell what waits, configured as it is.
var ErrNoQueue = errors.New("the server does not tell what waits")

// Waiting is one reading of a queue.
type Waiting struct {
	// Queued is what waits now, Limit how many may (the listener's backlog), 0 when that is not known.
	Queued, Limit int
}

// Actuator knows and changes the number of workers of one application.
type Actuator interface {
	// Observe looks at the master and its workers.
	Observe(now time.Time) (Workers, error)
	// Steer is called after each successful Observe. It makes at most one step towards target workers and returns it: above
	// 0 for more workers, below 0 for fewer, 0 for none. NoTarget changes nothing. work tells the requests in progress in a
	// worker; it is nil when that is not known.
	Steer(now time.Time, target int, work func(proc.ID) Work) (step int, err error)
	// Draining tells whether a worker was told to leave and finishes what it has begun.
	Draining(p proc.ID) bool
	// Limits says what the server can do; it may know more after an Observe.
	Limits() Limits
}

// Patient is an actuator that need not be observed at every scan while nothing happens: Observe and Steer are then called
// once in a Patience only. New targets, processes that say they can serve, and whatever an observation shows end that.
type Patient interface{ Patience() time.Duration }

// NoTarget is the target of an application that nobody has given one.
const NoTarget = -1

// Workers is one observation of an actuator.
type Workers struct {
	// Master is the process that the workers belong to; zero when there is none.
	Master proc.ID
	// Children are the live worker processes, oldest first.
	Children []proc.ID
	// Starting are the children that cannot serve yet, as the server itself says; nil when it does not.
	Starting map[proc.ID]bool
	// Coming is the number of workers that have been begun and are no process yet.
	Coming int
	// Slots is how many requests each worker process serves at once, as the server itself says; 0 when it does not.
	Slots int
	// Ceiling is how many workers there may be now, where the server itself decides how many there are (Limits.Ceiling).
	Ceiling int
	// Changes counts the new masters and the reloads seen so far.
	Changes uint64
	// Groups: each worker leads a process group of its own, and what its descendants in it do, it does.
	Groups bool
	// Problem is a sentence about something that does not make the observation wrong, empty when there is nothing to say.
	Problem string
}

// Limits is what a server can do with its number of worker processes.
type Limits struct {
	// Zero: it can do with no worker at all, and one comes when a request does or a target says so.
	Zero bool `json:"zero"`
	// Max is the most processes it can have until it is configured anew, 0 when there is no such bound.
	Max int `json:"max"`
	// Ceiling: the target is only what there may be at most; the server itself decides how many there are.
	Ceiling bool `json:"ceiling"`
	// OldFirst: for a lower target the oldest workers leave, also while others are still starting.
	OldFirst bool `json:"old_first"`
	// Costly: a change replaces all workers, so that it should be rare.
	Costly bool `json:"costly"`
}

// Counter is a number that an adapter counts up from 0 for as long as it lives. Value may be called from any goroutine.
type Counter struct {
	// Name is a metric's name without prefix and labels, such as "worker_exits_total".
	Name  string
	Value func() uint64
}

// Counted is an adapter with counters of its own.
type Counted interface{ Counters() []Counter }

// Owner is an adapter with paths or addresses that no other application of the agent may use.
type Owner interface{ Owns() []string }

// NoSource stands where an application has no source.
type NoSource struct{}

// Count is always an error.
func (NoSource) Count(*Family) (Count, error) {
	return Count{}, errors.New("no source of busy counts is configured")
}

// NoActuator stands where nothing can look at or change the workers.
type NoActuator struct{}

// Observe is always an error.
func (NoActuator) Observe(time.Time) (Workers, error) {
	return Workers{}, errors.New("nothing is configured that knows the workers")
}

// Steer changes nothing.
func (NoActuator) Steer(time.Time, int, func(proc.ID) Work) (int, error) { return 0, nil }

// Draining is false.
func (NoActuator) Draining(proc.ID) bool { return false }

// Limits is empty.
func (NoActuator) Limits() Limits { return Limits{} }
