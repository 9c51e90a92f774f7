package puma

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// stats is the answer to GET /stats, of a cluster or (Workers nil) of single mode. Puma 5.6 has no busy_threads.
type stats struct {
	Workers *int           `json:"workers"`
	Status  []workerStatus `json:"worker_status"`
	figures
}

type workerStatus struct {
	PID         int       `json:"pid"`
	Booted      bool      `json:"booted"`
	LastCheckin time.Time `json:"last_checkin"`
	// LastStatus is empty before the first word of the worker.
	LastStatus figures `json:"last_status"`
}

// figures are those of the threads of one process.
type figures struct {
	MaxThreads   *int `json:"max_threads"`
	PoolCapacity *int `json:"pool_capacity"`
	BusyThreads  *int `json:"busy_threads"`
}

// maxThreads bounds the threads of one process that are believed.
const maxThreads = 10000

// busy is the number of requests in progress: what Puma says (6 and later), or the threads that could not take another
// one. Waiting requests that no thread has taken yet are none.
func (f figures) busy() (n int, known bool) {
	switch {
	case f.MaxThreads == nil:
		return 0, false
	case f.BusyThreads != nil:
		return min(max(*f.BusyThreads, 0), *f.MaxThreads), true
	case f.PoolCapacity != nil:
		return min(max(*f.MaxThreads-*f.PoolCapacity, 0), *f.MaxThreads), true
	}
	return 0, false
}

// parse reads an answer of the control app.
func parse(b []byte) (*stats, error) {
	var s stats
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("its answer is not what Puma says: %w", err)
	}
	if s.Workers == nil && s.MaxThreads == nil {
		return nil, errors.New("its answer has neither workers nor max_threads; is it Puma's control app?")
	}
	for _, f := range append([]figures{s.figures}, figuresOf(s.Status)...) {
		if f.MaxThreads != nil && (*f.MaxThreads < 1 || *f.MaxThreads > maxThreads) {
			return nil, fmt.Errorf("its answer has %d threads in a process, allowed are 1 to %d", *f.MaxThreads, maxThreads)
		}
	}
	return &s, nil
}

func figuresOf(all []workerStatus) (out []figures) {
	for _, w := range all {
		out = append(out, w.LastStatus)
	}
	return out
}

// cluster tells whether there are workers to steer.
func (s *stats) cluster() bool { return s.Workers != nil }

// busy sums what the workers last said, and tells how old the oldest of it is. A worker that has booted and has not said
// anything yet is as old as that.
func (s *stats) busy(now time.Time) (n int, age time.Duration) {
	if !s.cluster() {
		n, _ = s.figures.busy()
		return n, 0
	}
	for _, w := range s.Status {
		b, known := w.LastStatus.busy()
		n += b
		if known || w.Booted {
			age = max(age, now.Sub(w.LastCheckin))
		}
	}
	return n, age
}

// threads is how many requests each worker serves at once, 0 when none has said it yet.
func (s *stats) threads() int {
	most := 0
	for _, w := range s.Status {
		if w.LastStatus.MaxThreads != nil {
			most = max(most, *w.LastStatus.MaxThreads)
		}
	}
	return most
}

// booted tells of each worker's pid whether it can serve.
func (s *stats) booted() map[int]bool {
	out := make(map[int]bool, len(s.Status))
	for _, w := range s.Status {
		out[w.PID] = w.Booted
	}
	return out
}
