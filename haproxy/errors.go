package haproxy

import (
	"errors"
	"fmt"
)

// Errors to test for with errors.Is. The text around them says where, what, and what to do.
var (
	// ErrUnknown: a time-out, a reset, or an answer that is cut or not understood. What HAProxy did is not known; read again.
	ErrUnknown = errors.New("the outcome is unknown")
	// ErrUnreachable: no connection came about, so nothing was sent and nothing changed.
	ErrUnreachable = errors.New("HAProxy cannot be reached")
	// ErrStopping: the process that answered is an old worker on its way out; it is never commanded.
	ErrStopping = errors.New("this HAProxy process is stopping")
	// ErrDenied: the stats socket has a level below admin.
	ErrDenied = errors.New("the stats socket refuses changes")
	// ErrMissing: HAProxy has no such backend or server.
	ErrMissing = errors.New("HAProxy has no such backend or server")
	// ErrInvalid: a command or name that tidegate refuses to send.
	ErrInvalid = errors.New("the command is not valid")
	// ErrBusy: HAProxy does not delete the server now, because it is not in maintenance or has connections; try again later.
	ErrBusy = errors.New("the server cannot be deleted now")
	// ErrNotTaken: HAProxy accepted the command, yet the read-back does not show its effect.
	ErrNotTaken = errors.New("the change did not take")
)

// failure is an error that reads as one sentence and still answers errors.Is for its kind and its cause.
type failure struct {
	text  string
	kind  error
	cause error
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

func fail(kind, cause error, format string, args ...any) error {
	return &failure{text: fmt.Sprintf(format, args...), kind: kind, cause: cause}
}
