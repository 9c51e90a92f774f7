package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate/core"
)

// Replay is what came of deciding again on a journal's turns.
type Replay struct {
	// Turns were decided again, the first at From, the last at To; Decisions are the journal's that came out alike.
	Turns, Decisions int
	From, To         time.Time
	// Starts counts the places that a replay begins anew at, Skipped the turns and decisions that no start stands before, Unwritten the
	// decisions that the journal lacks before a start or at its end: tidegate or its disk failed in that turn.
	Starts, Skipped, Unwritten int
	// Version is that of the program that wrote the last start.
	Version string
	// Different is the first difference, nil for none.
	Different *Difference
}

// Difference is where a replay and a journal part.
type Difference struct {
	Line int
	Time time.Time
	App  string
	// What names the first value that differs, with both values.
	What string
}

// replayer is a replay under way.
type replayer struct {
	r      Replay
	policy func(now time.Time) core.Policy
	each   func(core.Observation) error

	started bool
	start   core.Policy
	memory  core.Memory
	seen    core.Observation
	// open are the plans of the last turn that decided something and that the journal has not told yet.
	open map[string]*core.AppPlan
	now  time.Time
	line int
}

// entryLine is an Entry with the plan as it was written.
type entryLine struct {
	Time  time.Time       `json:"time"`
	Kind  string          `json:"kind"`
	App   string          `json:"app"`
	Plan  json.RawMessage `json:"plan"`
	Start *Start          `json:"start"`
	Seen  *Seen           `json:"seen"`
}

// maxEntry bounds a line of a journal.
const maxEntry = 256 << 20

// ReplayJournal decides again on every turn of a journal and compares. It ends at the first difference. By policy, if it is not nil, the
// turns are decided instead of by the journal's own; each, if it is not nil, gets every observation. The error is one sentence with
// the line where the journal cannot be read.
func ReplayJournal(journal io.Reader, policy func(now time.Time) core.Policy, each func(core.Observation) error) (Replay, error) {
	r := replayer{policy: policy, each: each}
	lines := bufio.NewScanner(journal)
	lines.Buffer(make([]byte, 1<<20), maxEntry)
	lines.Split(wholeLines)
	for lines.Scan() {
		r.line++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := r.take(lines.Bytes()); err != nil {
			return r.r, fmt.Errorf("line %d: %w", r.line, err)
		}
		if r.r.Different != nil {
			return r.r, nil
		}
	}
	r.end()
	if err := lines.Err(); err != nil {
		return r.r, fmt.Errorf("line %d: %w", r.line+1, err)
	}
	return r.r, nil
}

// wholeLines is bufio.ScanLines without a last line that was not written to its end.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF {
		return len(data), nil, nil
	}
	return 0, nil, nil
}

// take reads one line.
func (r *replayer) take(line []byte) error {
	var e entryLine
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("it is no line of a journal: %w", err)
	}
	switch e.Kind {
	case "start":
		if e.Start == nil {
			return errors.New("a start lacks `start`")
		}
		r.end()
		r.r.Starts++
		r.started, r.start, r.memory, r.r.Version = true, e.Start.Policy, e.Start.Memory, e.Start.Version
		r.seen, r.now = core.Observation{}, time.Time{}
	case "turn":
		if e.Seen == nil {
			return errors.New("a turn lacks `seen`")
		}
		return r.turn(e.Time, e.Seen)
	case "decision":
		r.decision(&e)
	}
	return nil
}

// turn decides on one turn.
func (r *replayer) turn(now time.Time, seen *Seen) error {
	if !r.started {
		r.r.Skipped++
		return nil
	}
	for name := range r.open {
		r.differ(r.now, name, "a decision came out that the journal does not have")
		return nil
	}
	var err error
	if r.seen, err = seen.apply(r.seen, now); err != nil {
		return err
	}
	if r.each != nil {
		if err := r.each(r.seen); err != nil {
			return err
		}
	}
	p := r.start
	if r.policy != nil {
		p = r.policy(now)
	}
	plan, memory := core.Decide(p, r.memory, r.seen)
	r.memory, r.now, r.open = memory, now, map[string]*core.AppPlan{}
	for i := range plan.Apps {
		if a := &plan.Apps[i]; important(a) {
			r.open[a.Name] = a
		}
	}
	if r.r.Turns == 0 {
		r.r.From = now
	}
	r.r.Turns++
	r.r.To = now
	return nil
}

// important tells that a plan decided something.
func important(p *core.AppPlan) bool { return len(p.Reasons)+len(p.Actions) > 0 }

// decision compares a decision of the journal with the one that came out.
func (r *replayer) decision(e *entryLine) {
	plan := r.open[e.App]
	switch {
	case !r.started || !e.Time.Equal(r.now):
		// Of a turn whose own line is not there.
		r.r.Skipped++
		return
	case plan == nil:
		r.differ(e.Time, e.App, "the journal has a decision that did not come out")
		return
	}
	delete(r.open, e.App)
	text, err := json.Marshal(plan)
	if err != nil {
		r.differ(e.Time, e.App, err.Error())
		return
	}
	if !bytes.Equal(text, e.Plan) {
		r.differ(e.Time, e.App, firstDifference(e.Plan, text))
		return
	}
	r.r.Decisions++
}

func (r *replayer) differ(at time.Time, app, what string) {
	r.r.Different = &Difference{Line: r.line, Time: at, App: app, What: what}
}

// end counts what is missing of the last turn.
func (r *replayer) end() {
	r.r.Unwritten += len(r.open)
	r.open = nil
}

// firstDifference names the first value in which two JSON texts differ.
func firstDifference(journal, replay []byte) string {
	var a, b any
	if err := json.Unmarshal(journal, &a); err != nil {
		return "the journal's plan cannot be read: " + err.Error()
	}
	if err := json.Unmarshal(replay, &b); err != nil {
		return err.Error()
	}
	if what := differAt("", a, b); what != "" {
		return what
	}
	return "the plan is written in another way"
}
