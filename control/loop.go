package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/internal/quiet"
)

// Options are what a Loop needs besides its Setup.
type Options struct {
	Version string
	Setup   Setup
	Store   *Store
	Journal *Journal
	Log     *slog.Logger
	Metrics *metrics.Set
	// Load reads the configuration again for Reload; it must not change anything that is live when it fails.
	Load func() (Setup, error)
}

// Loop is the controller. It implements api.Backend.
type Loop struct {
	version string
	store   *Store
	journal *Journal
	log     *slog.Logger
	quiet   *quiet.Log
	set     *metrics.Set
	load    func() (Setup, error)
	warmer  *warmer
	web     *webWorker
	started time.Time
	epoch   uint64

	reloads  sync.Mutex
	pending  atomic.Pointer[Setup]
	status   atomic.Pointer[api.Status]
	lastTurn atomic.Int64
	config   atomic.Pointer[api.Config]
	// current is the setup in force, for those who do not turn.
	current atomic.Pointer[Setup]
	orders  *orderBook

	// Below: only touched by the goroutine in Run.
	setup    Setup
	memory   core.Memory
	saveErr  error
	turn     uint64
	nodes    map[string]nodeState
	lost     map[string]bool
	sources  map[string]sourceState
	account  map[string]*account
	changes  map[string]api.Sizing
	backlogs map[string]backlogState
	watches  map[string]*watch
	asking   sync.WaitGroup
	unixTurn time.Time

	turns  turnLog
	events eventLog
	meters *meters
}

// New makes a loop and reads the memory of the last run.
func New(o Options) (*Loop, error) {
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	l := &Loop{
		version: o.Version, store: o.Store, journal: o.Journal, log: o.Log, quiet: quiet.New(o.Log, time.Minute), set: o.Metrics, load: o.Load,
		started: time.Now(), setup: o.Setup, nodes: map[string]nodeState{}, lost: map[string]bool{}, sources: map[string]sourceState{}, account: map[string]*account{}, changes: map[string]api.Sizing{}, backlogs: map[string]backlogState{}, watches: map[string]*watch{},
	}
	// An agent refuses orders older than one it has had; the clock makes a restarted controller's orders newer.
	l.epoch = uint64(l.started.UnixMilli())
	l.meters = newMeters(l.set)
	l.web = newWebWorker(l)
	l.warmer = newWarmer(l.warmed, func(address string) string { return l.current.Load().resolved(address) })
	l.config.Store(&api.Config{File: o.Setup.File, Loaded: l.started})
	m, err := o.Store.Load()
	if err != nil {
		l.log.Error("the memory of the last run cannot be used; starting from what is seen now", "error", err)
	}
	l.memory = m
	l.current.Store(&o.Setup)
	l.orders, err = openOrders(o.Store.dir())
	if err != nil {
		l.log.Error("the orders of the last run cannot be used; none are in force", "error", err)
	}
	return l, nil
}

// Run turns the loop until ctx ends, then waits for what is under way. It leaves traffic, weights and workers as they are.
func (l *Loop) Run(ctx context.Context) error {
	l.web.look(l.setup.Web)
	var wg sync.WaitGroup
	wg.Go(func() { l.web.run(ctx) })
	defer func() {
		wg.Wait()
		l.warmer.wait()
		l.asking.Wait()
		if err := l.journal.Close(); err != nil {
			l.log.Error("close the journal", "error", err)
		}
	}()
	tick := l.setup.Tick
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		l.oneTurn(ctx, time.Now())
		if l.setup.Tick != tick {
			tick = l.setup.Tick
			ticker.Reset(tick)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// oneTurn observes, decides, remembers and acts.
func (l *Loop) oneTurn(ctx context.Context, now time.Time) {
	if next := l.pending.Swap(nil); next != nil {
		l.adopt(*next)
	}
	l.turn++
	seen := l.observe(ctx, now)
	if ctx.Err() != nil {
		// A turn cut off in the middle has not seen everything: it must not decide.
		return
	}
	obs := l.observation(seen, now)
	policy := l.setup.policy(now)
	l.recordTurn(policy, obs)
	plan, memory := core.Decide(policy, l.memory, obs)
	l.memory = memory
	l.remember(obs, plan, now)
	l.act(ctx, seen, plan, now)
	l.endOrders(plan, now)
	l.publish(seen, plan, now)
	l.lastTurn.Store(now.UnixNano())
}

// remember saves the memory and journals what was decided, before anything is done about it.
func (l *Loop) remember(obs core.Observation, plan core.Plan, now time.Time) {
	important := false
	for i, p := range plan.Apps {
		if len(p.Reasons)+len(p.Actions) == 0 {
			continue
		}
		important = true
		l.record(Entry{Time: now, Kind: "decision", App: p.Name, Observation: findObs(obs, p.Name), Plan: &plan.Apps[i]})
		for _, r := range p.Reasons {
			l.log.Info("decision", "app", r.App, "server", r.Server, "code", r.Code, "why", r.Sentence)
			l.events.add(api.Event{Time: now, App: r.App, Server: r.Server, Code: string(r.Code), Sentence: r.Sentence, Numbers: r.Numbers})
			l.meters.decision(r.App, string(r.Code))
		}
	}
	l.saveErr = l.store.Save(l.memory, important)
	if l.saveErr != nil {
		l.meters.storeErrors.Inc()
		l.quiet.Warn("store", "the state cannot be saved; nothing shrinks until it can", "error", l.saveErr)
		return
	}
	l.quiet.Clear("store", "the state is saved again")
}

// record appends to the journal; a full disk is reported once and costs entries, never the loop.
func (l *Loop) record(e Entry) {
	if err := l.journal.Append(e); err != nil {
		l.turns.broken.Store(true)
		l.meters.journalErrors.Inc()
		l.quiet.Warn("journal", "the journal cannot be written", "error", err)
		return
	}
	l.quiet.Clear("journal", "the journal is written again")
}

func findObs(o core.Observation, name string) *core.AppObs {
	for i := range o.Apps {
		if o.Apps[i].Name == name {
			return &o.Apps[i]
		}
	}
	return nil
}

// Reload reads the configuration again and puts it into force with the next turn, or changes nothing.
func (l *Loop) Reload() error {
	l.reloads.Lock()
	defer l.reloads.Unlock()
	next, err := l.load()
	old := *l.config.Load()
	if err != nil {
		old.Problem = err.Error()
		l.config.Store(&old)
		l.meters.reload(false)
		l.log.Error("the configuration was not loaded; the one before stays in force", "file", old.File, "error", err)
		return err
	}
	l.pending.Store(&next)
	l.config.Store(&api.Config{File: next.File, Loaded: time.Now()})
	l.meters.reload(true)
	l.log.Info("the configuration was loaded", "file", next.File)
	return nil
}

// adopt puts a new setup into force between two turns. What is remembered of apps that stay is kept.
func (l *Loop) adopt(next Setup) {
	for _, a := range l.setup.Apps {
		if next.app(a.Policy.Name) == nil {
			l.meters.forget(a.Policy.Name)
			delete(l.account, a.Policy.Name)
			delete(l.changes, a.Policy.Name)
			delete(l.backlogs, a.Policy.Name)
		}
	}
	for name := range l.nodes {
		if next.Nodes[name] == nil {
			delete(l.nodes, name)
			delete(l.lost, name)
		}
	}
	l.sources, l.watches = map[string]sourceState{}, map[string]*watch{}
	l.setup = next
	l.turns.broken.Store(true)
	l.current.Store(&next)
	l.web.look(next.Web)
}

// Status implements api.Backend.
func (l *Loop) Status() (api.Status, bool) {
	s := l.status.Load()
	if s == nil {
		return api.Status{}, false
	}
	out := *s
	out.Config = *l.config.Load()
	out.Events = l.events.newest()
	return out, true
}

// Alive is nil while turns follow each other in time.
func (l *Loop) Alive() error {
	last := l.lastTurn.Load()
	since := time.Since(l.started)
	if last != 0 {
		since = time.Since(time.Unix(0, last))
	}
	if limit := 30 * time.Second; since > limit {
		return fmt.Errorf("the last turn was %v ago", since.Round(time.Second))
	}
	return nil
}

// Ready is nil when every source answered in the last turn.
func (l *Loop) Ready() error {
	s := l.status.Load()
	if s == nil {
		return errors.New("the first turn is not over yet")
	}
	var errs []error
	for _, src := range s.Sources {
		if !src.OK {
			errs = append(errs, fmt.Errorf("%s: %s", src.Name, src.Problem))
		}
	}
	return errors.Join(errs...)
}

// WriteMetrics implements api.Backend.
func (l *Loop) WriteMetrics(w io.Writer) {
	l.set.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
}
