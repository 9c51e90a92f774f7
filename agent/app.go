package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
	"github.com/tidegate/tidegate/internal/quiet"
)

const (
	// staleAfter is the age of a sample beyond which nothing counts as known.
	staleAfter = 3 * time.Second
	// bootAge is the age at which a worker counts as ready where no mark says so.
	bootAge = time.Second
	// busySpan is what BusyMean and BusyMax cover.
	busySpan = time.Second
)

// app watches and steers one application. One goroutine runs it; report and order may be called from any.
type app struct {
	cfg App
	src adapter.Source
	act adapter.Actuator
	// queue is nil when nothing tells what waits.
	queue adapter.Queue
	met   *appMetrics
	log   *quiet.Log
	// due says that the next scan is due.
	due chan struct{}

	// Of the loop's goroutine alone.
	ready   map[proc.ID]bool // workers once seen ready stay so
	changes uint64
	pace    pace
	family  *adapter.Family // of the last scan

	use     usage
	foreign atomic.Int64 // names in the mark directory that are not marks

	mu sync.Mutex
	// target is adapter.NoTarget until there was an order.
	target  int
	epoch   uint64
	limits  adapter.Limits
	drained bool
	last    AppReport
	scanned time.Time // of the last scan
	good    time.Time // of the last scan in which everything was known
	recent  []busyAt
}

type busyAt struct {
	at   time.Time
	busy int
}

func newApp(cfg App, log *quiet.Log) *app {
	a := &app{cfg: cfg, src: adapter.NoSource{}, act: adapter.NoActuator{}, queue: cfg.Queue, log: log,
		target: adapter.NoTarget, ready: map[proc.ID]bool{}, due: make(chan struct{}, 1)}
	if cfg.Source != nil {
		a.src = cfg.Source
	}
	if cfg.Actuator != nil {
		a.act = cfg.Actuator
	}
	for _, d := range []any{a.src, a.act} {
		if q, ok := d.(adapter.Queue); ok && a.queue == nil {
			a.queue = q
		}
	}
	a.cfg.Threads = max(1, a.cfg.Threads)
	a.met = newRegistry(metrics.NewSet()).app(a)
	return a
}

// run scans whenever it is due, until ctx ends.
func (a *app) run(ctx context.Context) {
	defer a.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.due:
		}
		begin := time.Now()
		a.scan(begin)
		a.met.scans.UpdateDuration(begin)
	}
}

// close lets go of what the adapters have opened; workers stay as they are.
func (a *app) close() {
	for _, d := range []any{a.src, a.act, a.queue} {
		if c, ok := d.(io.Closer); ok {
			if err := c.Close(); err != nil {
				a.log.Warn(a.cfg.Name, "an adapter does not close", "app", a.cfg.Name, "error", err)
			}
		}
	}
}

// scan observes, counts, makes at most one step, and publishes the report.
func (a *app) scan(now time.Time) {
	var problems []string
	fail := func(err error) {
		if err != nil && !slices.Contains(problems, err.Error()) {
			problems = append(problems, err.Error())
		}
	}
	workers, err := a.pace.observe(now, a.act, a.wanted())
	workersKnown := err == nil
	fail(err)
	family := a.family
	switch {
	case !workersKnown:
		family = nil
	case !a.pace.kept:
		family = workers.Family()
	}
	a.family = family
	count, err := a.src.Count(family)
	if err != nil && workersKnown && len(workers.Children) == 0 {
		count, err = adapter.Count{Trust: adapter.Exact, Foreign: count.Foreign, Removed: count.Removed}, nil // nobody is busy where nobody is
	}
	count = family.Fold(count)
	a.pace.counted(now, count, family)
	a.foreign.Store(int64(count.Foreign))
	a.met.removed.Add(count.Removed)
	busyKnown := err == nil
	fail(err)
	for _, p := range []string{workers.Problem, count.Problem} {
		if p != "" {
			problems = append(problems, p)
		}
	}
	if workersKnown {
		fail(a.steer(now, workers, count, busyKnown))
	}
	var waiting *adapter.Waiting
	if a.queue != nil {
		w, err := a.queue.Queued()
		if err == nil {
			waiting = &w
		}
		if !errors.Is(err, adapter.ErrNoQueue) {
			fail(err)
		}
	}
	if n := workers.Slots; workersKnown && n > 0 && n != a.cfg.Threads {
		fail(fmt.Errorf("each worker process serves %d requests at once, as its server says, and the configuration says %d: set threads to %d", n, a.cfg.Threads, n))
	}
	problem := strings.Join(problems, "; ")
	a.publish(now, workersKnown, busyKnown, problem, workers, count, waiting)
	if problem == "" {
		a.log.Clear(a.cfg.Name, "the application is well again", "app", a.cfg.Name)
	} else {
		a.log.Warn(a.cfg.Name, "the application has a problem", "app", a.cfg.Name, "problem", problem)
	}
}

// steer lets the actuator make its step.
func (a *app) steer(now time.Time, w adapter.Workers, c adapter.Count, busyKnown bool) error {
	if w.Changes != a.changes {
		a.changes = w.Changes
		a.met.changes.Inc()
	}
	var work func(proc.ID) adapter.Work
	if busyKnown && c.ByProc != nil {
		work = func(p proc.ID) adapter.Work { return c.ByProc[p] }
	}
	step, err := a.pace.steer(now, a.act, a.wanted(), work)
	a.met.own()
	switch {
	case err != nil:
		a.met.failed.Inc()
	case step > 0:
		a.met.up.Inc()
	case step < 0:
		a.met.down.Inc()
	}
	return err
}

// wanted is the target.
func (a *app) wanted() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.target
}

// publish makes the report of this scan the current one. What is not known keeps its last good number.
func (a *app) publish(now time.Time, workersKnown, busyKnown bool, problem string, w adapter.Workers, c adapter.Count,
	waiting *adapter.Waiting) {
	limits := a.act.Limits()
	var ready, starting, draining int
	switch {
	case !workersKnown:
	case a.pace.kept && a.last.Starting == 0 && a.last.Draining == 0:
		ready = a.last.Ready // the same workers as before, and who was ready stays so
	default:
		ready, starting, draining = a.classify(w, c)
		ready, starting, draining = ready*a.cfg.Threads, starting*a.cfg.Threads, draining*a.cfg.Threads
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = limits
	r := &a.last
	r.WorkersKnown, r.BusyKnown, r.Problem, a.scanned = workersKnown, busyKnown, problem, now
	r.Known = workersKnown && busyKnown
	r.Master = ""
	if workersKnown {
		r.Total, r.Ready, r.Starting, r.Draining = ready+starting+draining, ready, starting, draining
		r.Master, r.Processes, r.Ceiling = "", len(w.Children), w.Ceiling*a.cfg.Threads
		if w.Master != (proc.ID{}) {
			r.Master = w.Master.String()
		}
		a.use.see(w)
	}
	r.QueueKnown = waiting != nil
	if waiting != nil {
		r.Queued, r.QueueLimit = waiting.Queued, waiting.Limit
	}
	if busyKnown {
		r.Busy, r.BusyTrust, r.BusyAgeMS = c.Busy, c.Trust, c.Age.Milliseconds()
		a.recent = append(a.recent, busyAt{now, c.Busy})
	}
	for len(a.recent) > 1 && now.Sub(a.recent[0].at) >= busySpan {
		a.recent = a.recent[1:]
	}
	if r.Known {
		a.good = now
	}
	sum := 0
	r.BusyMax = 0
	for _, b := range a.recent {
		sum += b.busy
		r.BusyMax = max(r.BusyMax, b.busy)
	}
	if len(a.recent) > 0 {
		r.BusyMean = float64(sum) / float64(len(a.recent))
	}
}

// classify splits the workers. A worker is ready when it has said so, when its master has loaded the application before
// forking, or when it has begun a request; where neither it nor its server says so, when it is a second old.
func (a *app) classify(w adapter.Workers, c adapter.Count) (ready, starting, draining int) {
	preloaded := c.Booted[w.Master]
	boot := proc.SinceBoot()
	now := make(map[proc.ID]bool, len(w.Children))
	for _, p := range w.Children {
		told := c.TellsBoot || w.Starting != nil
		switch {
		case a.ready[p], c.Booted[p], preloaded, c.ByProc[p].Busy > 0:
			now[p] = true
		case w.Starting != nil && !w.Starting[p] && !c.TellsBoot:
			now[p] = true
		case !told && p.Age(boot) > bootAge:
			now[p] = true
		}
		switch {
		case a.act.Draining(p):
			draining++
		case now[p]:
			ready++
		default:
			starting++
		}
	}
	a.ready = now
	return ready, starting + w.Coming, draining
}

// report is the current report.
func (a *app) report(now time.Time) AppReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.last
	r.Target, r.Ordered, r.Epoch, r.SampleAgeMS = max(a.target, 0), a.target != adapter.NoTarget, a.epoch, -1
	r.Min, r.Max = a.bounds()
	r.Threads, r.Limits, r.Drained = a.cfg.Threads, a.limits, a.drained
	if !a.good.IsZero() {
		r.SampleAgeMS = max(now.Sub(a.good), 0).Milliseconds()
	}
	switch age := now.Sub(a.scanned); {
	case a.scanned.IsZero():
		r.Problem = "the application has not been looked at yet"
	case age > staleAfter:
		r.Known, r.WorkersKnown, r.BusyKnown = false, false, false
		r.Problem = fmt.Sprintf("the last scan is %v old", age.Round(time.Second))
	}
	a.use.fill(&r)
	return r
}

// order accepts a target, or says why not.
func (a *app) order(workers int, epoch uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if low, high := a.bounds(); workers < low || workers > high {
		return badOrder("workers is %d, allowed for %s are %d to %d", workers, a.cfg.Name, low, high)
	}
	if a.target != adapter.NoTarget && epoch < a.epoch {
		return staleOrder("epoch %d is older than %d, the last one accepted for %s", epoch, a.epoch, a.cfg.Name)
	}
	a.target, a.epoch = workers, epoch
	return nil
}

// bounds are the limits of a target: those of the configuration, and what the server can do. The caller holds the lock.
func (a *app) bounds() (low, high int) {
	low, high = a.cfg.Min, a.cfg.Max
	if m := a.limits.Max; m > 0 {
		high = min(high, m*a.cfg.Threads)
	}
	return min(low, high), high
}

// drain takes the application out of service on this node, or back in, for everyone who asks the agent.
func (a *app) drain(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drained = on
}

// looked tells whether the first scan is over.
func (a *app) looked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.scanned.IsZero()
}
