package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

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
	src Source
	act Actuator
	met *appMetrics
	log *quiet.Log

	// Of the loop's goroutine alone.
	bootMarks bool          // the mark clients here say when a worker can serve
	marked    bool          // a mark of this application was seen
	ready     map[Proc]bool // workers once seen ready stay so
	changes   uint64

	foreign atomic.Int64 // names in the mark directory that are not marks

	mu      sync.Mutex
	target  int
	epoch   uint64
	ordered bool
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
	a := &app{cfg: cfg, src: noSource{}, act: noActuator{}, log: log, ready: map[Proc]bool{}}
	if cfg.MarksDir != "" {
		a.src = newMarksSource(cfg.MarksDir)
	}
	if cfg.PIDFile != "" {
		a.act = newGunicorn(cfg)
	}
	a.met = newRegistry(metrics.NewSet()).app(a)
	return a
}

// run scans until ctx ends.
func (a *app) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		begin := time.Now()
		a.scan(begin)
		a.met.scans.UpdateDuration(begin)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// scan observes, counts, makes at most one step, and publishes the report.
func (a *app) scan(now time.Time) {
	var problems []string
	workers, err := a.act.Observe(now)
	workersKnown := err == nil
	if err != nil {
		problems = append(problems, err.Error())
	}
	var family *Family
	if workersKnown {
		family = &Family{Master: workers.Master, Workers: make(map[Proc]bool, len(workers.Children))}
		for _, p := range workers.Children {
			family.Workers[p] = true
		}
	}
	count, err := a.src.Count(family)
	a.foreign.Store(int64(count.Foreign))
	a.met.removed.Add(count.Removed)
	if err == nil && !a.hasMarks(count, family) {
		err = fmt.Errorf("no mark of this application has been seen in %s since the agent started; is the middleware in use?", a.cfg.MarksDir)
	}
	busyKnown := err == nil
	if err != nil {
		problems = append(problems, err.Error())
	}
	if count.Problem != "" {
		problems = append(problems, count.Problem)
	}
	if workersKnown {
		if err := a.steer(now, workers, count, busyKnown); err != nil {
			problems = append(problems, err.Error())
		}
	}
	problem := strings.Join(problems, "; ")
	a.publish(now, workersKnown, busyKnown, problem, workers, count)
	if problem == "" {
		a.log.Clear(a.cfg.Name, "the application is well again", "app", a.cfg.Name)
	} else {
		a.log.Warn(a.cfg.Name, "the application has a problem", "app", a.cfg.Name, "problem", problem)
	}
}

// hasMarks tells whether a mark of the family was ever seen. An empty directory is otherwise the same as a middleware that
// is not installed, and must not pass for an idle application.
func (a *app) hasMarks(c Count, f *Family) bool {
	for p := range c.Booted {
		if f.has(p) {
			a.bootMarks, a.marked = true, true
		}
	}
	a.marked = a.marked || c.Busy > 0
	return a.marked
}

// steer lets the actuator make its step.
func (a *app) steer(now time.Time, w Workers, c Count, busyKnown bool) error {
	if w.Changes != a.changes {
		a.changes = w.Changes
		a.met.changes.Inc()
	}
	var work func(Proc) Work
	if busyKnown {
		work = func(p Proc) Work { return c.ByProc[p] }
	}
	a.mu.Lock()
	target := a.target
	a.mu.Unlock()
	step, err := a.act.Steer(now, target, work)
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

// publish makes the report of this scan the current one. What is not known keeps its last good number.
func (a *app) publish(now time.Time, workersKnown, busyKnown bool, problem string, w Workers, c Count) {
	var ready, starting, draining int
	if workersKnown {
		ready, starting, draining = a.classify(w, c)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &a.last
	r.WorkersKnown, r.BusyKnown, r.Problem, a.scanned = workersKnown, busyKnown, problem, now
	r.Known = workersKnown && busyKnown
	r.Master = ""
	if workersKnown {
		r.Total, r.Ready, r.Starting, r.Draining = len(w.Children), ready, starting, draining
		r.Master = w.Master.String()
	}
	if busyKnown {
		r.Busy = c.Busy
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
// forking, or when it has begun a request; where no client says so, when it is a second old.
func (a *app) classify(w Workers, c Count) (ready, starting, draining int) {
	preloaded := c.Booted[w.Master]
	boot := sinceBoot()
	now := make(map[Proc]bool, len(w.Children))
	for _, p := range w.Children {
		if a.ready[p] || c.Booted[p] || preloaded || c.ByProc[p].Busy > 0 || (!a.bootMarks && p.age(boot) > bootAge) {
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
	return ready, starting, draining
}

// report is the current report.
func (a *app) report(now time.Time) AppReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.last
	r.Target, r.Epoch, r.Min, r.Max, r.SampleAgeMS = a.target, a.epoch, a.cfg.Min, a.cfg.Max, -1
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
	return r
}

// order accepts a target, or says why not.
func (a *app) order(workers int, epoch uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if workers < a.cfg.Min || workers > a.cfg.Max {
		return badOrder("workers is %d, allowed for %s are %d to %d", workers, a.cfg.Name, a.cfg.Min, a.cfg.Max)
	}
	if a.ordered && epoch < a.epoch {
		return staleOrder("epoch %d is older than %d, the last one accepted for %s", epoch, a.epoch, a.cfg.Name)
	}
	a.target, a.epoch, a.ordered = workers, epoch, true
	return nil
}

// looked tells whether the first scan is over.
func (a *app) looked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.scanned.IsZero()
}
