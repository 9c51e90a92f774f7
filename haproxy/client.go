package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/internal/quiet"
)

// DefaultTimeout bounds one connection when Options.Timeout is 0; HAProxy answers in a few milliseconds.
const DefaultTimeout = 2 * time.Second

// Options configure a Client.
type Options struct {
	// Addr is where the stats socket listens: "unix:/path", "abns@name" or "127.0.0.1:port". It needs "level admin".
	Addr string
	// Remote allows Addr to be another machine's IP address and port. The runtime API asks for no password there, so whoever
	// reaches that port commands HAProxy.
	Remote bool
	// Timeout bounds each connection, from dialling to the end of the answer; 0 means DefaultTimeout.
	Timeout time.Duration
	// Log hears of failures (once, then throttled), of their end, and of a new HAProxy process. Nil means nobody does.
	Log *slog.Logger
	// Metrics gets the client's series; nil makes a private set.
	Metrics *metrics.Set
	// Name tells several HAProxy instances apart, in logs and metrics; "" means the address.
	Name string
}

// Client talks to one HAProxy. It is safe for concurrent use; calls do not wait for one another.
type Client struct {
	target  target
	timeout time.Duration
	log     *slog.Logger
	quiet   *quiet.Log
	meter   *meter

	mu      sync.Mutex
	process string
}

// New checks the options; it does not connect.
func New(o Options) (*Client, error) {
	t, err := parseTarget(o.Addr, o.Remote)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("the time-out %v of the stats socket is negative", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Name == "" {
		o.Name = o.Addr
	}
	if len(o.Name) > maxName || strings.ContainsFunc(o.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, fmt.Errorf("the name %.140q of the HAProxy instance: it is at most %d printable characters", o.Name, maxName)
	}
	log := o.Log.With("haproxy", o.Name)
	return &Client{target: t, timeout: o.Timeout, log: log, quiet: quiet.New(log, 0), meter: newMeter(o.Metrics, o.Name)}, nil
}

// Close unregisters the client's metrics. There is no connection to close.
func (c *Client) Close() { c.meter.close() }

// Observe reads the process and the named backends over one connection; a long list takes several, and so does a backend
// that "show stat NAME" does not show, because a frontend has the same name, and that is then asked for by number. A backend that HAProxy does not have is in the state with Missing set.
// Errors: ErrUnreachable, ErrUnknown (read again), ErrInvalid (a backend's name). A stopping process is no error here: the
// state says so.
func (c *Client) Observe(ctx context.Context, backends []string) (State, error) {
	names, err := unique(backends, nil)
	var state State
	if err == nil {
		state, err = c.observe(ctx, names)
	}
	c.settle(state, err)
	return state, err
}

func (c *Client) observe(ctx context.Context, names []string) (State, error) {
	t := newTurn(0)
	if err := c.lines(ctx, t, nil, readCalls(names)); err != nil {
		return State{}, err
	}
	return t.state(), nil
}

// Apply sends the commands in their order as one batch (or as few as the length of a line allows), with a read-back of the named
// backends and of those the commands touch in the last of it. Without commands it is Observe.
//
// There is one Result per command, in the same order. The error is about the whole: ErrInvalid, ErrUnreachable and ErrStopping
// mean that nothing was sent; ErrUnknown alone or with ErrStopping (the process began to stop in the middle) that it is not known
// what was done. Each Result carries it too. With a nil error single commands may still have failed, since a batch does not
// stop at a failure.
func (c *Client) Apply(ctx context.Context, cmds []Command, backends []string) (State, []Result, error) {
	if len(cmds) == 0 {
		state, err := c.Observe(ctx, backends)
		return state, nil, err
	}
	state, res, err := c.apply(ctx, cmds, backends)
	if err != nil {
		res = make([]Result, len(cmds))
		for i, cmd := range cmds {
			res[i] = Result{Command: cmd, Err: err}
		}
	}
	c.meter.results(res)
	c.settle(state, err)
	return state, res, err
}

func (c *Client) apply(ctx context.Context, cmds []Command, backends []string) (State, []Result, error) {
	changes, err := changeCalls(cmds)
	if err != nil {
		return State{}, nil, err
	}
	names, err := unique(backends, cmds)
	if err != nil {
		return State{}, nil, err
	}
	if err := c.probe(ctx); err != nil {
		return State{}, nil, err
	}
	t := newTurn(len(cmds))
	if err := c.lines(ctx, t, changes, readCalls(names)); err != nil {
		return State{}, nil, err
	}
	state := t.state()
	return state, results(cmds, t.replies, state, c.target.name), nil
}

// probe finds out, before anything is sent that changes something, that a process answers and that it is not an old one. A
// silent socket gets no command that it might run later.
func (c *Client) probe(ctx context.Context) error {
	t := newTurn(0)
	err := c.line(ctx, t, nil)
	if errors.Is(err, ErrUnknown) {
		return fail(ErrUnreachable, err, "no change was sent: %s", err)
	}
	if err == nil && t.process.Stopping {
		return fail(ErrStopping, nil, "no change was sent: the HAProxy process %d at %s is stopping", t.process.PID, c.target.name)
	}
	return err
}

// lines sends changes and reads over as many connections as they need. The reads have to come from one process; the changes
// are proven by the reads, wherever they went.
func (c *Client) lines(ctx context.Context, t *turn, changes, reads []call) error {
	all := splitCalls(append(append([]call(nil), changes...), reads...))
	readFrom, done := "", 0
	for _, calls := range all {
		if err := c.line(ctx, t, calls); err != nil {
			return err
		}
		if len(changes) > 0 && t.process.Stopping {
			return fail(ErrStopping, ErrUnknown, "the HAProxy process %d at %s began to stop while it was changed", t.process.PID, c.target.name)
		}
		if done += len(calls); done <= len(changes) && len(reads) > 0 {
			continue // this line held no read
		}
		if err := c.sameProcess(&readFrom, t.process); err != nil {
			return err
		}
	}
	for _, calls := range splitCalls(t.unseen()) {
		if len(calls) == 0 {
			break
		}
		if err := c.line(ctx, t, calls); err != nil {
			return err
		}
		if err := c.sameProcess(&readFrom, t.process); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) sameProcess(first *string, now Process) error {
	if *first == "" {
		*first = now.ID
	}
	if *first != now.ID {
		return fail(ErrUnknown, nil, "read from %s: HAProxy was replaced between two parts of the reading", c.target.name)
	}
	return nil
}

// line is one connection: send, read, decode.
func (c *Client) line(ctx context.Context, t *turn, calls []call) error {
	begin := time.Now()
	text, err := c.target.exchange(ctx, lineOf(calls), c.timeout)
	c.meter.batch(time.Since(begin))
	if err != nil {
		return err
	}
	if err := t.decode(calls, text); err != nil {
		return fail(ErrUnknown, err, "read from %s: %s", c.target.name, err)
	}
	return nil
}

// settle counts and logs the end of a call.
func (c *Client) settle(state State, err error) {
	c.meter.done(err)
	if errors.Is(err, ErrInvalid) || errors.Is(err, context.Canceled) {
		return // the caller's own doing
	}
	if err != nil {
		c.quiet.Warn("exchange", "HAProxy's runtime API failed", "error", err)
		return
	}
	c.quiet.Clear("exchange", "HAProxy's runtime API answers again")
	c.mu.Lock()
	before := c.process
	c.process = state.Process.ID
	c.mu.Unlock()
	if before != state.Process.ID {
		c.log.Info("a HAProxy process answers", "pid", state.Process.PID, "version", state.Process.Version,
			"started", state.Process.Started, "before", before)
	}
}
