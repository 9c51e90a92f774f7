package gunicorn

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// askTimeout bounds one exchange; the answer takes a third of a millisecond.
	askTimeout = 500 * time.Millisecond
	// maxAnswer bounds an answer, in bytes; that to "show stats" has about 200.
	maxAnswer = 64 << 10
)

// stats is the answer to "show stats".
type stats struct {
	PID     int `json:"pid"`
	Current int `json:"workers_current"`
	Target  int `json:"workers_target"`
	Reloads int `json:"reloads"`
	// Dirty is the pid of a child that runs tasks and is no worker, 0 when there is none.
	Dirty int `json:"dirty_arbiter_pid"`
}

// maxCount is beyond what any master has; a number above it is not believed.
const maxCount = 100000

func (s stats) validate() error {
	for _, n := range []int{s.Current, s.Target, s.Reloads, s.Dirty} {
		if n < 0 || n > 1<<40 {
			return fmt.Errorf("the answer has the number %d", n)
		}
	}
	if s.PID < 2 || s.Target < 1 || s.Target > maxCount || s.Current > maxCount {
		return fmt.Errorf("the answer has the pid %d, %d workers and the target %d", s.PID, s.Current, s.Target)
	}
	return nil
}

// ask sends one command on a connection of its own and reads the data of the answer into data.
func ask(path, command string, data any) error {
	c, err := net.DialTimeout("unix", path, askTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	b, err := json.Marshal(map[string]any{"id": 1, "command": command, "args": []string{}})
	if err != nil {
		return err
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return err
	}
	answer, err := readAnswer(c)
	if err != nil {
		return err
	}
	return parseAnswer(answer, data)
}

// readAnswer reads one length and so many bytes.
func readAnswer(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxAnswer {
		return nil, fmt.Errorf("the answer has %d bytes, at most %d are allowed: is this gunicorn's control socket?", n, maxAnswer)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("the answer ends early: %w", err)
	}
	return b, nil
}

// refusal is an answer that says no: the order was not carried out.
type refusal struct{ text string }

func (r *refusal) Error() string { return fmt.Sprintf("gunicorn refuses it: %.200q", r.text) }

// parseAnswer reads an answer's data, or its error.
func parseAnswer(b []byte, data any) error {
	var a struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	switch {
	case a.Status == "error":
		return &refusal{a.Error}
	case a.Status != "ok" || len(a.Data) == 0:
		return errors.New("the answer is not understood: it has no status ok with data")
	}
	if err := json.Unmarshal(a.Data, data); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	return nil
}
