package puma

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
	"github.com/tidegate/tidegate/agent/signals"
)

// Server is the source and the actuator for one Puma. It is for one goroutine.
type Server struct {
	master *signals.Master
	// control is nil where none is configured.
	control *control
}

// Options say where a Puma is.
type Options struct {
	// PIDFile is the master's pid file, an absolute path.
	PIDFile string
	// Control is the control app, "unix:/path" or "http://HOST:PORT"; empty for none: then Count is always an error, and
	// another source is needed.
	Control string
	// Token is the control app's auth_token, empty for none.
	Token string
	// Min and Max bound the workers, whatever the target; at least 1 stays in any case.
	Min, Max int
}

// New returns a Server; nothing is opened.
func New(o Options) *Server {
	s := &Server{master: signals.NewPuma(o.PIDFile, o.Min, o.Max)}
	if o.Control != "" {
		s.control = newControl(o.Control, o.Token)
	}
	return s
}

// Owns is the pid file and the control app.
func (s *Server) Owns() []string {
	if s.control == nil {
		return s.master.Owns()
	}
	return append(s.master.Owns(), s.control.where)
}

// Limits has no bounds but one worker, which Puma always keeps.
func (s *Server) Limits() adapter.Limits { return s.master.Limits() }

// Observe lists the workers. What the control app says of them is added when it can be asked; its errors are those of
// Count.
func (s *Server) Observe(now time.Time) (adapter.Workers, error) {
	var st *stats
	if s.control != nil {
		st, _ = s.control.stats(now)
	}
	if st != nil && !st.cluster() {
		return adapter.Workers{}, fmt.Errorf("the Puma at %s runs in single mode (workers 0): it has one process, and there is nothing to steer",
			s.control.where)
	}
	w, err := s.master.Observe(now)
	if err != nil || st == nil {
		return w, err
	}
	w.Slots = st.threads()
	booted := st.booted()
	w.Starting = make(map[proc.ID]bool)
	for _, p := range w.Children {
		if !booted[p.PID] {
			w.Starting[p] = true
		}
	}
	return w, nil
}

// Count sums the busy threads of all workers, as they last said.
func (s *Server) Count(*adapter.Family) (adapter.Count, error) {
	if s.control == nil {
		return adapter.NoSource{}.Count(nil)
	}
	now := time.Now()
	st, err := s.control.stats(now)
	if err != nil {
		return adapter.Count{}, err
	}
	c := adapter.Count{Trust: adapter.Delayed}
	c.Busy, c.Age = st.busy(now)
	if !st.cluster() {
		c.Trust = adapter.Exact
	}
	c.Age = max(c.Age, 0)
	if c.Age > oldWord {
		return adapter.Count{}, fmt.Errorf("a worker of the Puma at %s has said nothing for %v; is it stuck?", s.control.where,
			c.Age.Round(time.Second))
	}
	return c, nil
}

// oldWord is the age beyond which a worker's word is worth nothing: Puma itself ends a worker that has been silent for
// worker_timeout, 60 s by default.
const oldWord = time.Minute

// Steer sends at most one signal.
func (s *Server) Steer(now time.Time, target int, work func(proc.ID) adapter.Work) (int, error) {
	return s.master.Steer(now, target, work)
}

// Draining tells whether p was told to leave.
func (s *Server) Draining(p proc.ID) bool { return s.master.Draining(p) }
