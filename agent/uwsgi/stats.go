package uwsgi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// patience bounds one reading; the master answers between two other things.
	patience = 2 * time.Second
	// maxAnswer bounds an answer, in bytes: some 800 for each worker, and the variables of each request in progress.
	maxAnswer = 8 << 20
	// maxSlots bounds the workers that are believed.
	maxSlots = 4096
)

// stats is what the stats socket of uWSGI 2.0 says, as far as it is needed.
type stats struct {
	PID     int    `json:"pid"`
	Workers []slot `json:"workers"`
}

// slot is one of the --processes; a slot that has never been used has id and pid 0.
type slot struct {
	PID int `json:"pid"`
	// Accepting is 0 from the fork until the worker accepts requests, while it loads the application (--lazy-apps).
	Accepting int `json:"accepting"`
	// Status is idle, busy, cheap, pause or sig and a number. A cheap one with a pid finishes what it has begun.
	Status string `json:"status"`
	// Respawns counts the processes of this slot since the master (re)started.
	Respawns int64 `json:"respawn_count"`
	Cores    []struct {
		InRequest int `json:"in_request"`
	} `json:"cores"`
}

// alive tells whether the slot counts for the master: it has a process that was not told to leave.
func (s slot) alive() bool { return s.PID > 0 && s.Status != "cheap" }

// busy is the number of requests in progress. A worker that has just been forked still has its predecessor's.
func (s slot) busy() (n int) {
	if s.PID == 0 || s.Accepting == 0 {
		return 0
	}
	for _, c := range s.Cores {
		if c.InRequest > 0 {
			n++
		}
	}
	return n
}

// read asks the stats socket at address, "unix:/path" or "HOST:PORT".
func read(address string) (*stats, error) {
	network, where := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, where = "unix", path
	}
	deadline := time.Now().Add(patience)
	c, err := net.DialTimeout(network, where, patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(c, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	return parse(b)
}

// parse reads an answer, with or without an HTTP header (--stats-http).
func parse(b []byte) (*stats, error) {
	if bytes.HasPrefix(b, []byte("HTTP/")) {
		_, b, _ = bytes.Cut(b, []byte("\r\n\r\n"))
	}
	var s stats
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("its answer is not what uWSGI says: %w", err)
	}
	if s.PID < 1 || len(s.Workers) == 0 || len(s.Workers) > maxSlots {
		return nil, fmt.Errorf("its answer has the master's pid %d and %d workers, wanted is a uWSGI with a master and 1 to %d workers",
			s.PID, len(s.Workers), maxSlots)
	}
	for _, w := range s.Workers {
		if w.PID < 0 {
			return nil, errors.New("its answer has a worker with a negative pid")
		}
	}
	return &s, nil
}
