package adapter

import (
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/proc"
)

// Family is a master process and its workers.
type Family struct {
	Master  proc.ID
	Workers map[proc.ID]bool
	// leaders are the workers by pid, where each leads a process group; nil otherwise.
	leaders map[int]proc.ID
}

// Family is the master and the workers of the observation.
func (w Workers) Family() *Family {
	f := &Family{Master: w.Master, Workers: make(map[proc.ID]bool, len(w.Children))}
	if w.Groups {
		f.leaders = make(map[int]proc.ID, len(w.Children))
	}
	for _, p := range w.Children {
		f.Workers[p] = true
		if w.Groups {
			f.leaders[p.PID] = p
		}
	}
	return f
}

// Has tells whether p is the master, one of the workers or one that belongs to a worker; everyone belongs to the nil family.
func (f *Family) Has(p proc.ID) bool {
	if f == nil || p == f.Master || f.Workers[p] {
		return true
	}
	_, ok := f.leader(p)
	return ok
}

// leader is the worker in whose process group p is.
func (f *Family) leader(p proc.ID) (proc.ID, bool) {
	if f == nil || len(f.leaders) == 0 {
		return proc.ID{}, false
	}
	group, err := unix.Getpgid(p.PID)
	if err != nil {
		return proc.ID{}, false
	}
	leader, ok := f.leaders[group]
	return leader, ok
}

// Fold counts what the descendants of workers do as done by the workers. Newest is not known of a worker of several
// processes.
func (f *Family) Fold(c Count) Count {
	if f == nil || len(f.leaders) == 0 {
		return c
	}
	for p, work := range c.ByProc {
		leader, ok := f.leader(p)
		if !ok || leader == p {
			continue
		}
		delete(c.ByProc, p)
		c.ByProc[leader] = Work{Busy: c.ByProc[leader].Busy + work.Busy}
	}
	for p := range c.Booted {
		if leader, ok := f.leader(p); ok {
			c.Booted[leader] = true
		}
	}
	return c
}
