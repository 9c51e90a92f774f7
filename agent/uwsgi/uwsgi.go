package uwsgi

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Server is the source and the actuator for one uWSGI (2.0). It is for one goroutine.
type Server struct {
	stats, fifo string
	proc        proc.Reader
	steer       steer

	// last and lastErr are what the last Observe read until Count has used it (observed): one scan reads once.
	last     *reading
	lastErr  error
	observed bool
	// ids are the processes of the pids seen before.
	ids map[int]proc.ID
	// wasBusy are the processes that the last Count found busy.
	wasBusy map[proc.ID]bool
	// draining are the workers that were told to leave and are still there.
	draining map[proc.ID]bool
}

// reading is what the stats socket said, with the processes that it named.
type reading struct {
	master proc.ID
	slots  []slot
	// ids are the processes in the slots; zero for a slot without one, and for one that has ended since.
	ids []proc.ID
}

// New returns the source and actuator for the uWSGI whose stats socket is at stats ("unix:/path" or "HOST:PORT") and whose
// master reads the FIFO named fifo, an absolute path. It keeps least to most workers, whatever the target; at least 1 stays
// in any case. Nothing is opened.
func New(stats, fifo string, least, most int) *Server {
	return &Server{stats: stats, fifo: fifo, ids: map[int]proc.ID{}, steer: steer{min: least, max: most}}
}

// Owns is the stats socket and the FIFO.
func (s *Server) Owns() []string { return []string{s.stats, filepath.Clean(s.fifo)} }

// Limits has --processes as its bound, once it was seen. One worker always stays; the oldest idle one leaves first.
func (s *Server) Limits() adapter.Limits {
	return adapter.Limits{Max: len(s.steer.respawns), OldFirst: true}
}

// read asks the stats socket and finds the processes that it names.
func (s *Server) read() (*reading, error) {
	st, err := read(s.stats)
	if err != nil {
		return nil, fmt.Errorf("ask uWSGI's stats socket at %s: %w", s.stats, err)
	}
	ids := make(map[int]proc.ID, len(st.Workers)+1)
	r := &reading{slots: st.Workers}
	if r.master, err = s.identify(st.PID, ids); err != nil {
		return nil, fmt.Errorf("the master %d that uWSGI's stats socket at %s names is not here (%w); does the agent share its pid namespace?",
			st.PID, s.stats, err)
	}
	for _, w := range st.Workers {
		var id proc.ID
		if w.PID > 0 {
			// One that has ended is replaced within the master's next cycle.
			if id, err = s.identify(w.PID, ids); err != nil && !errors.Is(err, proc.ErrGone) {
				return nil, fmt.Errorf("look at the worker %d of uWSGI at %s: %w", w.PID, s.stats, err)
			}
		}
		r.ids = append(r.ids, id)
	}
	s.ids = ids
	return r, nil
}

// identify finds the process of a pid, or takes the one it was the last time; whoever is busy is looked at again by Count.
func (s *Server) identify(pid int, seen map[int]proc.ID) (proc.ID, error) {
	id, known := s.ids[pid]
	if !known {
		st, err := s.proc.Stat(pid)
		if err != nil {
			return proc.ID{}, err
		}
		id = proc.ID{PID: pid, Start: st.Start}
	}
	seen[pid] = id
	return id, nil
}

// Observe reads the workers.
func (s *Server) Observe(now time.Time) (adapter.Workers, error) {
	r, err := s.read()
	s.last, s.lastErr, s.observed = r, err, true
	if err != nil {
		return adapter.Workers{}, err
	}
	w := adapter.Workers{Master: r.master, Starting: map[proc.ID]bool{}}
	v := view{master: r.master}
	s.draining = map[proc.ID]bool{}
	for i, slot := range r.slots {
		id := r.ids[i]
		v.respawns = append(v.respawns, slot.Respawns)
		w.Slots = max(w.Slots, len(slot.Cores))
		if slot.PID == 0 {
			v.free++
		}
		if slot.alive() {
			v.alive++
			v.idle = v.idle || slot.busy() == 0
			if slot.Accepting == 0 {
				w.Starting[id] = true
			}
		} else if slot.PID > 0 {
			s.draining[id] = true
		}
		if id != (proc.ID{}) {
			w.Children = append(w.Children, id)
		}
	}
	slices.SortFunc(w.Children, func(a, b proc.ID) int { return cmp.Compare(a.Start, b.Start) })
	s.steer.observe(now, v)
	w.Changes = s.steer.resets
	return w, nil
}

// Count sums the requests in progress, also of workers that are about to go.
func (s *Server) Count(*adapter.Family) (adapter.Count, error) {
	r, err := s.last, s.lastErr
	if !s.observed {
		r, err = s.read()
	}
	s.last, s.lastErr, s.observed = nil, nil, false
	if err != nil {
		return adapter.Count{}, err
	}
	return s.tally(r), nil
}

func (s *Server) tally(r *reading) adapter.Count {
	c := adapter.Count{Trust: adapter.Exact, ByProc: map[proc.ID]adapter.Work{}}
	busy := make(map[proc.ID]bool)
	for i, slot := range r.slots {
		id, n := r.ids[i], slot.busy()
		if n == 0 || id == (proc.ID{}) {
			continue
		}
		// A killed worker is a zombie, and busy, until the master's next cycle (or until it has answered us).
		if s.wasBusy[id] && !s.proc.Alive(id) {
			continue
		}
		busy[id] = true
		c.ByProc[id] = adapter.Work{Busy: n}
		c.Busy += n
	}
	s.wasBusy = busy
	return c
}

// Steer writes at most one batch of orders.
func (s *Server) Steer(now time.Time, target int, _ func(proc.ID) adapter.Work) (int, error) {
	step := s.steer.next(now, target)
	if step != 0 {
		if err := order(s.fifo, step); err != nil {
			return 0, err
		}
		s.steer.sent(now, step)
	}
	switch {
	case s.steer.ignored():
		return step, fmt.Errorf("the uWSGI at %s took no notice of the last %d orders: are cheaper and cheaper-algo = manual set, and is %s its master-fifo?",
			s.stats, s.steer.lost, s.fifo)
	case s.steer.fought():
		return step, fmt.Errorf("the number of workers of the uWSGI at %s was changed %d times within a minute, and not from here: is cheaper-algo = manual set?",
			s.stats, len(s.steer.foreign))
	}
	return step, nil
}

// Draining tells whether p was told to leave.
func (s *Server) Draining(p proc.ID) bool { return s.draining[p] }
