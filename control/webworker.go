package control

import (
	"context"
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
}

func newWebWorker(l *Loop) *webWorker { return &webWorker{loop: l, kick: make(chan struct{}, 1)} }

// want leaves the newest wish; it never waits.
func (w *webWorker) want(web Web, upstreams []WebUpstream) {
	w.mu.Lock()
	w.web, w.upstreams = web, upstreams
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// live is what the nginx room said after its last update.
func (w *webWorker) live() (map[string]map[string]int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.weights, w.known
}

// look asks nginx's room what is live before anything is wanted, at the start and after a reload of the configuration.
func (w *webWorker) look(web Web) {
	if web == nil {
		return
	}
	weights, known := web.Live()
	w.mu.Lock()
	w.weights, w.known = weights, known
	w.mu.Unlock()
}

// problem is the last update's error, with the number of reloads so far.
func (w *webWorker) problem() (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reloads, w.err
}

func (w *webWorker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
			w.apply(ctx)
		}
	}
}

func (w *webWorker) apply(ctx context.Context) {
	w.mu.Lock()
	web, upstreams := w.web, w.upstreams
	w.mu.Unlock()
	now := time.Now()
	out, err := web.Apply(ctx, now, upstreams)
	if ctx.Err() != nil {
		return
	}
	weights, known := web.Live()
	w.mu.Lock()
	w.weights, w.known, w.err = weights, known, err
	if out.Reloaded {
		w.reloads++
	}
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
	code := "nginx_reload"
	if !out.Reloaded {
		code = "nginx_weights"
	}
	e := Entry{Time: now, Kind: "outcome", Detail: "nginx: " + out.Why}
	ev := api.Event{Time: now, Code: code, Sentence: "nginx: " + out.Why, Step: true}
	if err != nil {
		e.Error, ev.Error = err.Error(), err.Error()
	}
	l.record(e)
	l.events.add(ev)
	l.meters.action(code, err)
	l.log.Info("step", "step", code, "why", out.Why)
}
