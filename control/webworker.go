package control

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api"
)

// webWorker updates nginx beside the loop, because proving and reloading may take seconds. It keeps the newest wish and asks
// the nginx room with it every turn until the wish is live; that room keeps its own reload budget.
type webWorker struct {
	loop *Loop
	kick chan struct{}

	mu        sync.Mutex
	web       Web
	upstreams []WebUpstream
	weights   map[string]map[string]int
	known     bool
	err       error
	reloads   uint64
	state     api.Nginx
}

func newWebWorker(l *Loop) *webWorker { return &webWorker{loop: l, kick: make(chan struct{}, 1)} }

// want leaves the newest wish; it never waits.
func (w *webWorker) want(web Web, upstreams []WebUpstream) {
	w.mu.Lock()
	w.web, w.upstreams = web, upstreams
	w.mu.Unlock()
	w.wake()
}

// live is what the nginx room said after its last update.
func (w *webWorker) live() (map[string]map[string]int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.weights, w.known
}

// look asks nginx's room what is live before anything is wanted, at the start and after a reload of the configuration. What
// was wanted before is over.
func (w *webWorker) look(web Web) {
	defer w.wake()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.web, w.upstreams = nil, nil; web != nil {
		w.weights, w.known = web.Live()
	}
}

// report is what the last update left: the number of reloads so far, the state for the status, and what is wrong.
func (w *webWorker) report() (reloads uint64, state api.Nginx, wrong error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.state.Drift != "" && w.state.Held != "" {
		return w.reloads, w.state, errors.New(w.state.Why)
	}
	return w.reloads, w.state, w.err
}

// run applies the newest wish when there is one, and again when somebody else changes nginx's files.
func (w *webWorker) run(ctx context.Context) {
	var watched Web
	unwatch := func() {}
	defer func() { unwatch() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		}
		w.mu.Lock()
		web := w.web
		w.mu.Unlock()
		if web != watched {
			unwatch()
			watched, unwatch = web, w.watch(ctx, web)
		}
		w.apply(ctx)
	}
}

// watch has the worker woken when somebody else changes the files, until the function it returns is called.
func (w *webWorker) watch(ctx context.Context, web Web) (stop func()) {
	watcher, ok := web.(Watcher)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { watcher.Watch(ctx, w.wake) })
	return func() { cancel(); wg.Wait() }
}

func (w *webWorker) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// note keeps what an update says about nginx for the status.
func (w *webWorker) note(now time.Time, out WebOutcome, err error) {
	s := &w.state
	if out.Reloaded {
		w.reloads++
		s.LastReload = &api.NginxReload{Time: now.UTC(), Reason: out.Reason, TookMS: ms(out.Took), Why: out.Why}
		if err != nil {
			s.LastReload.Error = err.Error()
		}
	}
	s.Drift, s.OldGenerations = out.Drift, out.OldGenerations
	if out.Held != s.Held {
		s.HeldSince = now.UTC()
	}
	if s.Held, s.HeldReason, s.Why = out.Held, out.Reason, out.Why; out.Held == "" {
		s.HeldReason, s.Why, s.HeldSince = "", "", time.Time{}
	}
}

func (w *webWorker) apply(ctx context.Context) {
	w.mu.Lock()
	web, upstreams := w.web, w.upstreams
	w.mu.Unlock()
	if web == nil {
		return
	}
	now := time.Now()
	out, err := web.Apply(ctx, now, upstreams)
	if ctx.Err() != nil {
		return
	}
	weights, known := web.Live()
	w.mu.Lock()
	if w.err = err; w.web == web {
		// Else the configuration was reloaded meanwhile, and look has asked the new one.
		w.weights, w.known = weights, known
	}
	w.note(now, out, err)
	w.mu.Unlock()
	l := w.loop
	if err != nil {
		l.quiet.Warn("nginx", "nginx was not updated; it is tried again", "error", err)
	} else {
		l.quiet.Clear("nginx", "nginx is updated again")
	}
	if !out.Changed && !out.Reloaded {
		return
	}
	code, why := "nginx_reload", out.Why
	if !out.Reloaded {
		code, why = "nginx_weights", cmp.Or(out.Told, out.Why)
	}
	e := Entry{Time: now, Kind: "outcome", Detail: "nginx: " + why}
	ev := api.Event{Time: now, Code: code, Sentence: "nginx: " + why, Step: true}
	if err != nil {
		e.Error, ev.Error = err.Error(), err.Error()
	}
	l.record(e)
	l.events.add(ev)
	l.meters.action(code, err)
	l.log.Info("step", "step", code, "why", why)
}
