package agent

import (
	"errors"
	"time"
)

// Actuator knows and changes the number of workers of one application. It is used by one goroutine.
type Actuator interface {
	// Observe looks at the master and its workers. The error is one sentence that says why they are not known.
	Observe(now time.Time) (Workers, error)
	// Steer is called after each successful Observe. It makes at most one step towards target workers and returns it: +1,
	// -1 or 0. A target of 0 is none: nothing is changed. work tells the requests in progress in a worker; it is nil when
	// that is not known.
	Steer(now time.Time, target int, work func(Proc) Work) (step int, err error)
	// Draining tells whether a worker was told to leave and finishes what it has begun.
	Draining(p Proc) bool
}

// Workers is one observation of an actuator.
type Workers struct {
	Master Proc
	// Children are the live worker processes, oldest first.
	Children []Proc
	// Changes counts the new masters and the reloads seen so far.
	Changes uint64
}

// noActuator stands where an application has no pid file.
type noActuator struct{}

func (noActuator) Observe(time.Time) (Workers, error) {
	return Workers{}, errors.New("no pid file of a master is configured")
}
func (noActuator) Steer(time.Time, int, func(Proc) Work) (int, error) { return 0, nil }
func (noActuator) Draining(Proc) bool                                 { return false }
