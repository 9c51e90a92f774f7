package passenger

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// stubborn is how long no process may be idle before a busy one is detached.
	stubborn = time.Second
	// spacing is the least time between two changes of max_pool_size that say the same: Passenger applies it at once.
	spacing = 300 * time.Millisecond
)

// Options say where an application is.
type Options struct {
	// Registry is the absolute path of the instance registry (--instance-registry-dir).
	Registry string
	// App is the application's root folder or its group name; empty takes the only one there is.
	App string
}

// App is the source, the queue and the actuator of one application. It is for one goroutine.
type App struct {
	opt  Options
	proc proc.Reader

	inst    *instance
	pool    pool
	group   *group // nil while Passenger has not been asked for the application yet
	looked  bool   // by Observe, for the Count and Queued of the same scan
	lookErr error

	known map[int]proc.ID // the identities of processes seen before
	// leaving are the processes that were detached, with the requests that they had then. pool.xml does not show them any
	// more while they finish.
	leaving map[proc.ID]int
	changes uint64
	allBusy time.Time // since when no process was idle although one should go
	lastSet time.Time
}

// New returns the adapters of an application; nothing is opened.
func New(o Options) *App { return &App{opt: o} }

// Owns is the application in its registry.
func (a *App) Owns() []string {
	app := a.opt.App
	if app == "" {
		app = "the only one"
	}
	return []string{"the Passenger application " + app + " in " + filepath.Clean(a.opt.Registry)}
}

// Limits: Passenger starts processes by demand alone.
func (a *App) Limits() adapter.Limits { return adapter.Limits{Ceiling: true} }

// look finds the instance and asks it for its pool.
func (a *App) look() error {
	if a.inst.runs(&a.proc) {
		if p, err := a.inst.pool(); err == nil {
			if g, err := a.find(p); err == nil {
				a.pool, a.group = p, g
				return nil
			}
		}
	}
	return a.search()
}

// search asks all instances for the application.
func (a *App) search() error {
	all, err := instances(&a.proc, a.opt.Registry)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("no Passenger instance runs with the registry %s", a.opt.Registry)
	}
	var found *instance
	var last error
	for _, i := range all {
		p, err := i.pool()
		var g *group
		if err == nil {
			g, err = a.find(p)
		}
		if err == nil && g == nil && len(all) > 1 {
			err = fmt.Errorf("the Passenger instance %s has no application yet", i.dir)
		}
		if err != nil {
			last = err
			continue
		}
		if found != nil {
			return fmt.Errorf("the application is in two Passenger instances, %s and %s: give each a registry of its own", found.dir, i.dir)
		}
		found, a.pool, a.group = i, p, g
	}
	if found == nil {
		return last
	}
	if a.inst == nil || a.inst.core != found.core {
		a.changes++
		a.known, a.leaving, a.allBusy, a.lastSet = map[int]proc.ID{}, map[proc.ID]int{}, time.Time{}, time.Time{}
	}
	a.inst = found
	return nil
}

// find picks the application's group; nil when the pool is empty, which it is until the first request.
func (a *App) find(p pool) (*group, error) {
	var names []string
	for i := range p.Groups {
		g := &p.Groups[i]
		name, _, _ := strings.Cut(g.Name, " (") // "root (environment)"
		if a.opt.App == g.Name || a.opt.App == name || a.opt.App == g.Root || (a.opt.App == "" && len(p.Groups) == 1) {
			return g, nil
		}
		names = append(names, g.Name)
	}
	if len(names) == 0 {
		return nil, nil
	}
	if a.opt.App == "" {
		return nil, fmt.Errorf("there are %d applications, name one of them: %.300s", len(names), strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("the application %s is not in Passenger; it has %.300s", a.opt.App, strings.Join(names, ", "))
}

// Observe lists the application's processes.
func (a *App) Observe(time.Time) (adapter.Workers, error) {
	a.lookErr, a.looked = a.look(), true
	if a.lookErr != nil {
		return adapter.Workers{}, a.lookErr
	}
	w := adapter.Workers{Master: a.inst.core, Starting: map[proc.ID]bool{}, Changes: a.changes}
	known := map[int]proc.ID{}
	for i, p := range a.processes() {
		id, ok := a.known[p.PID]
		if !ok {
			st, err := a.proc.Stat(p.PID)
			if err != nil || st.Dead() {
				continue // it has just gone
			}
			id = proc.ID{PID: p.PID, Start: st.Start}
		}
		known[p.PID] = id
		if p.leaves() {
			a.leaving[id] = p.Sessions
		}
		if _, leaves := a.leaving[id]; !leaves {
			w.Children = append(w.Children, id)
		}
		if i == 0 || w.Slots == p.Concurrency {
			w.Slots = p.Concurrency
		} else {
			w.Slots = 0
		}
	}
	a.known = known
	for id := range a.leaving {
		if !a.proc.Alive(id) {
			delete(a.leaving, id)
			continue
		}
		w.Children = append(w.Children, id)
	}
	slices.SortFunc(w.Children, func(x, y proc.ID) int { return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.PID, y.PID)) })
	if a.group != nil {
		w.Coming = a.group.Spawning
	}
	// Where several applications share the pool, how much of it this one could get is not known.
	if w.Ceiling = len(w.Children); len(a.pool.Groups) < 2 {
		w.Ceiling = a.pool.Max
	}
	return w, nil
}

func (a *App) processes() []process {
	if a.group == nil {
		return nil
	}
	return a.group.Processes
}

// Count is the number of requests in progress: with one request at a time in a process, that of the busy processes. A
// detached process counts with what it had then, until it has gone.
func (a *App) Count(*adapter.Family) (adapter.Count, error) {
	if !a.looked {
		a.lookErr = a.look()
	}
	a.looked = false
	if a.lookErr != nil {
		return adapter.Count{}, a.lookErr
	}
	c := adapter.Count{ByProc: map[proc.ID]adapter.Work{}, Trust: adapter.Exact}
	for _, p := range a.processes() {
		id := a.known[p.PID]
		if _, leaves := a.leaving[id]; !leaves {
			c.Busy += p.Sessions
			c.ByProc[id] = adapter.Work{Busy: p.Sessions}
		}
	}
	for id, sessions := range a.leaving {
		c.Busy += sessions
		c.ByProc[id] = adapter.Work{Busy: sessions}
	}
	return c, nil
}

// Queued are the requests that Passenger keeps until a process is free. Its limit is max_request_queue_size, which pool.xml
// does not tell.
func (a *App) Queued() (adapter.Waiting, error) {
	if a.lookErr != nil {
		return adapter.Waiting{}, a.lookErr
	}
	n := 0
	if len(a.pool.Groups) < 2 { // requests for which there is no room in the pool at all
		n = a.pool.Wait
	}
	if a.group != nil {
		n += a.group.Wait
	}
	return adapter.Waiting{Queued: n}, nil
}

// Draining tells whether a process was detached.
func (a *App) Draining(p proc.ID) bool {
	_, leaves := a.leaving[p]
	return leaves
}

// Steer sets max_pool_size, or detaches one process.
func (a *App) Steer(now time.Time, target int, _ func(proc.ID) adapter.Work) (int, error) {
	if target < 1 {
		return 0, nil
	}
	if n := len(a.pool.Groups); n > 1 {
		return 0, fmt.Errorf("the Passenger instance %s runs %d applications, which share max_pool_size: to be steered, this one needs an instance of its own",
			a.inst.dir, n)
	}
	if a.group != nil && target < a.group.Least {
		return 0, fmt.Errorf("the target is %d and Passenger's min_instances %d, below which it would start processes again", target, a.group.Least)
	}
	if a.pool.Max != target && now.Sub(a.lastSet) >= spacing {
		a.lastSet = now
		if err := a.inst.setMax(target); err != nil {
			return 0, err
		}
		if target > a.pool.Max {
			return 1, nil
		}
		return -1, nil
	}
	if a.pool.Max != target {
		return 0, nil
	}
	return a.shrink(now, target)
}

// shrink detaches one process when there are more than target, an idle one if there is any.
func (a *App) shrink(now time.Time, target int) (int, error) {
	staying := 0
	var idle, busy *process // to be taken
	processes := a.processes()
	for i := range processes {
		p := &processes[i]
		id, ok := a.known[p.PID]
		if !ok || a.Draining(id) {
			continue
		}
		staying++
		switch {
		case p.Sessions == 0:
			idle = p
		case busy == nil:
			busy = p
		}
	}
	if staying <= target {
		a.allBusy = time.Time{}
		return 0, nil
	}
	take := idle
	if take == nil {
		if a.allBusy.IsZero() {
			a.allBusy = now
		}
		if now.Sub(a.allBusy) < stubborn {
			return 0, nil
		}
		take = busy
	}
	if err := a.inst.detach(take.PID); err != nil {
		return 0, err
	}
	a.leaving[a.known[take.PID]], a.allBusy = take.Sessions, time.Time{}
	return -1, nil
}
