package gunicorn

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// grace is how long the last answer stands for one that does not come, while the master lives: the control socket is
	// closed at each fork.
	grace = 2 * time.Second
	// settle is the time between an order and the next one.
	settle = 300 * time.Millisecond
)

// Control is the actuator for a gunicorn master with a control socket. It is for one goroutine.
type Control struct {
	path        string
	least, most int
	proc        proc.Reader
	family      proc.Children

	master proc.ID
	last   stats
	// fresh tells that last was answered in this scan, answered is when it was last.
	fresh    bool
	answered time.Time
	children []proc.ID // oldest first
	leaving  map[proc.ID]bool
	changes  uint64
	ordered  time.Time
}

// New returns the actuator for the master behind the control socket at path, which is absolute. It keeps least to most
// workers, whatever the target; at least 1 stays in any case. Nothing is opened.
func New(path string, least, most int) *Control {
	return &Control{path: path, least: least, most: most, leaving: map[proc.ID]bool{}}
}

// Owns is the control socket.
func (c *Control) Owns() []string { return []string{filepath.Clean(c.path)} }

// Limits has no bounds but one worker, which gunicorn always keeps; the oldest leave first.
func (c *Control) Limits() adapter.Limits { return adapter.Limits{OldFirst: true} }

// Observe asks the master for its counts and lists its workers.
func (c *Control) Observe(now time.Time) (adapter.Workers, error) {
	if err := c.look(now); err != nil {
		return adapter.Workers{}, err
	}
	children, err := c.family.Look(c.master)
	if err != nil {
		return adapter.Workers{}, err
	}
	c.children = slices.DeleteFunc(children, func(p proc.ID) bool { return p.PID == c.last.Dirty })
	if c.fresh {
		c.noteLeaving()
	}
	return adapter.Workers{Master: c.master, Children: c.children, Changes: c.changes}, nil
}

// look asks for the counts. Without an answer the last one stands for a while.
func (c *Control) look(now time.Time) error {
	var s stats
	err := ask(c.path, "show stats", &s)
	if err == nil {
		err = s.validate()
	}
	if c.fresh = err == nil; !c.fresh {
		if now.Sub(c.answered) < grace && c.proc.Alive(c.master) {
			return nil
		}
		return fmt.Errorf("ask gunicorn at %s: %w", c.path, err)
	}
	st, err := c.proc.Stat(s.PID)
	if err != nil {
		return fmt.Errorf("look at the process %d, which gunicorn at %s says it is: %w", s.PID, c.path, err)
	}
	master := proc.ID{PID: s.PID, Start: st.Start}
	if master != c.master || s.Reloads != c.last.Reloads {
		c.changes++
	}
	if master != c.master {
		c.leaving = map[proc.ID]bool{}
	}
	c.master, c.last, c.answered = master, s, now
	return nil
}

// noteLeaving remembers which workers were told to leave: the oldest ones of those beyond the master's target. One that was
// told stays so until it has gone.
func (c *Control) noteLeaving() {
	here := map[proc.ID]bool{}
	for _, p := range c.children {
		if c.leaving[p] {
			here[p] = true
		}
	}
	for _, p := range c.children {
		if len(c.children)-len(here) <= c.last.Target {
			break
		}
		here[p] = true
	}
	c.leaving = here
}

// Draining tells whether p was told to leave.
func (c *Control) Draining(p proc.ID) bool { return c.leaving[p] }

// Steer orders the difference between target and what the master wants.
func (c *Control) Steer(now time.Time, target int, _ func(proc.ID) adapter.Work) (int, error) {
	if target < 0 || !c.fresh || now.Sub(c.ordered) < settle {
		return 0, nil
	}
	goal := min(max(target, c.least, 1), c.most)
	step := goal - c.last.Target
	var command string
	switch {
	case step > 0:
		command = fmt.Sprintf("worker add %d", step)
	case step < 0:
		command = fmt.Sprintf("worker remove %d", -step)
	default:
		return 0, nil
	}
	c.ordered = now
	var done struct {
		Total int `json:"total"`
	}
	if err := ask(c.path, command, &done); err != nil {
		var refused *refusal
		if errors.As(err, &refused) {
			return 0, fmt.Errorf("%s at gunicorn's %s: %w", command, c.path, err)
		}
		// The answer was lost, the order may not be: the next scans tell.
		return step, nil
	}
	return step, nil
}
