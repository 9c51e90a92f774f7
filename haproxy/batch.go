package haproxy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxLine bounds a line with its newline: HAProxy 3.2 closes the connection on one of tune.bufsize (16 kB by default).
const maxLine = 8000

// preamble begins each line. Its first command costs an empty answer; the second tells which process answers.
const preamble = "set severity-output number;show info"

// call is one command of a line and how to take its answer.
type call struct {
	text string
	take func(*turn, []byte) error
	// last: it must be the last of its line, because 2.6 does not end all of its answers with an empty line.
	last bool
}

// turn collects the answers of one or several lines.
type turn struct {
	process Process
	states  map[string]serverStates
	loads   map[string]load
	replies [][]byte // of the changes, by their index; nil before the answer, empty when done
}

func newTurn(changes int) *turn {
	return &turn{states: map[string]serverStates{}, loads: map[string]load{}, replies: make([][]byte, changes)}
}

// changeCalls turns commands into calls, or refuses them all.
func changeCalls(cmds []Command) ([]call, error) {
	var errs []error
	calls := make([]call, 0, len(cmds))
	for i, c := range cmds {
		text, err := c.wire()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		calls = append(calls, call{text: text, last: c.Kind == KindDel || c.Kind == KindAdd, take: func(t *turn, body []byte) error {
			t.replies[i] = append([]byte{}, body...)
			return nil
		}})
	}
	return calls, errors.Join(errs...)
}

// readCalls asks for states and loads of the backends, whose names have been checked.
func readCalls(backends []string) []call {
	calls := make([]call, 0, 2*len(backends))
	for _, b := range backends {
		calls = append(calls,
			call{text: "show servers state " + b, take: func(t *turn, body []byte) (err error) {
				t.states[b], err = parseServers(body, b)
				return err
			}},
			statCall(b, b))
	}
	return calls
}

// statCall asks for the load of a backend by name or by number. 6 selects backends (2) and servers (4), -1 all of them.
func statCall(which, backend string) call {
	return call{text: "show stat " + which + " 6 -1", take: func(t *turn, body []byte) (err error) {
		t.loads[backend], err = parseStat(body, backend)
		return err
	}}
}

// splitCalls spreads calls over as few lines as the limit allows; there is always one.
func splitCalls(calls []call) [][]call {
	lines, size := [][]call{nil}, len(preamble)+1
	for _, c := range calls {
		last := len(lines) - 1
		n := len(lines[last])
		if n > 0 && (lines[last][n-1].last || size+1+len(c.text) > maxLine) {
			lines, size, last = append(lines, nil), len(preamble)+1, last+1
		}
		lines[last] = append(lines[last], c)
		size += 1 + len(c.text)
	}
	return lines
}

// lineOf joins the calls of a line; nothing may follow the last one.
func lineOf(calls []call) string {
	var b strings.Builder
	b.WriteString(preamble)
	for _, c := range calls {
		b.WriteByte(';')
		b.WriteString(c.text)
	}
	return b.String()
}

// decode takes the answers to a line. The transcript has to hold exactly one answer per command and nothing else; one that is
// cut at any byte lacks at least its last empty line, and then none of it is read.
func (t *turn) decode(calls []call, text []byte) error {
	body, rest, ok := nextReply(text)
	if !ok || len(body) > 0 {
		return fmt.Errorf("the answer to set severity-output is %.120q, not an empty line", message(body))
	}
	info, rest, ok := nextReply(rest)
	if !ok {
		return errors.New("the answer ends within show info")
	}
	bodies := make([][]byte, len(calls))
	for i, c := range calls {
		if c.last {
			// Both "message\n" and "message\n\n" come, by version.
			bodies[i], rest, ok = rest, nil, bytes.HasSuffix(rest, []byte("\n"))
		} else {
			bodies[i], rest, ok = nextReply(rest)
		}
		if !ok {
			return fmt.Errorf("the answer ends within command %d of %d (%s)", i+1, len(calls), c.text)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("after the last answer there is more: %.120q", rest)
	}
	var err error
	if t.process, err = parseInfo(info); err != nil {
		return err
	}
	for i, c := range calls {
		if err := c.take(t, bodies[i]); err != nil {
			return err
		}
	}
	return nil
}

// unseen lists the backends that exist but whose line the statistics by name did not show, with their numbers: a frontend
// of the same name hides them, or they are disabled.
func (t *turn) unseen() []call {
	var calls []call
	for _, b := range slices.Sorted(maps.Keys(t.states)) {
		if s := t.states[b]; !s.missing && s.id > 0 && !t.loads[b].seen {
			calls = append(calls, statCall(strconv.Itoa(s.id), b))
		}
	}
	return calls
}

// state joins what both commands said about each backend.
func (t *turn) state() State {
	out := State{Process: t.process, Backends: make(map[string]Backend, len(t.states))}
	for name, s := range t.states {
		l := t.loads[name]
		b := Backend{Name: name, Missing: s.missing, Disabled: !s.missing && s.id > 0 && !l.seen,
			Algorithm: l.algorithm, Current: l.current, Queued: l.queued}
		for _, srv := range s.servers {
			if sl, ok := l.servers[srv.Name]; ok {
				srv.Current, srv.Queued, srv.MaxConn, srv.Sessions, srv.Status = sl.current, sl.queued, sl.maxConn, sl.sessions, sl.status
				srv.Answers = sl.answers
			}
			b.Servers = append(b.Servers, srv)
		}
		out.Backends[name] = b
	}
	return out
}

// unique checks the names, drops repeats and sorts.
func unique(backends []string, cmds []Command) ([]string, error) {
	names := slices.Clone(backends)
	for _, c := range cmds {
		names = append(names, c.Backend)
	}
	slices.SortFunc(names, cmp.Compare)
	names = slices.Compact(names)
	for _, n := range names {
		if err := checkName("backend", n); err != nil {
			return nil, err
		}
	}
	return names, nil
}
