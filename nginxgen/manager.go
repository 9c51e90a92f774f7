package nginxgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/internal/quiet"
	"github.com/tidegate/tidegate/internal/watch"
)

// Result is what became of one Apply.
type Result int

// The results, in the order of the picture in the package comment.
const (
	Unchanged  Result = iota // the verified live files are what is wanted
	Deferred                 // held, see Outcome.Held
	Applied                  // nginx runs with the new files
	Refused                  // the model, a live file's owner or nginx said no; nothing changed
	RolledBack               // the reload failed; the last good files are back
	Failed                   // could not try, or do not know; see the error
)

var resultNames = [...]string{"unchanged", "deferred", "applied", "refused", "rolled_back", "failed"}

func (r Result) String() string {
	if r < 0 || int(r) >= len(resultNames) {
		return fmt.Sprintf("result(%d)", int(r))
	}
	return resultNames[r]
}

// Outcome tells what Apply did.
type Outcome struct {
	Result Result
	// Reason is why there is a change at all, "" for none. Held is what keeps it back, with Deferred.
	Reason Reason
	Held   Hold
	// Reloaded is true when nginx got a SIGHUP. ReloadTook is how long it took until its new workers were there.
	Reloaded   bool
	ReloadTook time.Duration
	// Took is the time of the whole Apply.
	Took time.Duration
	// Why is one sentence: the reason of the change, of the wait, or of the failure.
	Why string
	// Drift says what somebody else did to the files, "" for nothing. OldGenerations counts those of old workers that linger.
	Drift          string
	OldGenerations int
}

// Manager keeps the include files. Apply and Recover are for one goroutine; Live and Watch may be called from any.
type Manager struct {
	o     Options
	ngx   nginx
	budg  Budget
	quiet *quiet.Log
	m     *meters

	// noNamespace is set for good once a mount namespace was refused; tests set it to force the unprivileged way.
	noNamespace bool
	// at, when set by a test, is told each step of a change.
	at func(step string)

	// What the one goroutine remembers. good are the last verified bytes by path, nil for none; model is what they say, when
	// that is known. journal is not nil while it is not known what nginx runs with.
	started bool
	good    map[string][]byte
	model   Model
	modelOK bool
	journal journal
	wish    wish
	inUse   inUse
	since   time.Time
	lastTry time.Time
	// lastTook and bucket are of reloads, failures of tries.
	lastTook  time.Duration
	bucket    Bucket
	failures  int
	truce     truce
	held      Hold
	pidFile   string
	pidLooked time.Time

	mu     sync.Mutex
	live   Model
	liveOK bool
}

// wish is the last wanted model with its files, so that a steady state renders nothing.
type wish struct {
	model   Model
	parts   []part
	changed time.Time
}

// New checks the options. It touches nothing: nginx may be installed and started later.
func New(o Options) (*Manager, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{
		o: o, ngx: o.nginx(), quiet: quiet.New(o.Log, time.Minute), m: newMeters(o.Metrics), budg: o.budget(),
		good: map[string][]byte{}, noNamespace: len(o.TestCommand) > 0,
	}, nil
}

// Live returns what the live files say when their bytes are those whose reload was verified last, as of the last Apply or
// Recover; false when that is not known.
func (m *Manager) Live() (Model, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live, m.liveOK
}

func (m *Manager) setLive(known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live, m.liveOK = Model{}, known && m.modelOK
	if m.liveOK {
		m.live = m.model
	}
}

// Watch calls changed from a goroutine of its own whenever a file may have been changed, by whomever, and every 30 s; the
// caller then calls Apply with its last wish. It returns when ctx ends.
func (m *Manager) Watch(ctx context.Context, changed func()) {
	watch.Dirs(ctx, m.o.watched(), changed, func(err error) {
		m.o.Log.Warn("the folder of the nginx include cannot be watched; it is looked at every few seconds", "error", err)
	})
}

// start learns what a former process knew.
func (m *Manager) start() error {
	if m.started {
		return nil
	}
	j, err := readJournal(m.o.anchors()[0])
	if err != nil {
		return fmt.Errorf("read what a former change left: %w", err)
	}
	paths := []string{m.o.File, m.o.StreamFile}
	if m.o.Folder != "" {
		if paths, err = m.o.inFolder(); err != nil {
			return err
		}
		paths = append(paths, m.o.StreamFile)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		if _, err := m.goodOf(path); err != nil {
			return err
		}
	}
	m.journal, m.started = j, true
	m.readBack()
	return nil
}

// goodOf returns a file's last verified bytes, from disk when it is asked for the first time.
func (m *Manager) goodOf(path string) ([]byte, error) {
	if good, ok := m.good[path]; ok {
		return good, nil
	}
	good, err := readFile(filesFor(path).good)
	if err != nil {
		return nil, fmt.Errorf("read the last good file: %w", err)
	}
	if good != nil && !ours(good) {
		good = nil
	}
	m.good[path] = good
	return good, nil
}

// readBack finds the model of the last good files. An older version's file may not read back; then the next change is one
// of which it is not known what it changes.
func (m *Manager) readBack() {
	var parts []part
	for path, good := range m.good {
		if good != nil {
			parts = append(parts, part{files: filesFor(path), text: good, stream: path == m.o.StreamFile})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return bytes.Compare([]byte(a.live), []byte(b.live)) })
	m.model, m.modelOK = modelOf(parts)
}

// Apply brings the live files and nginx to what is wanted, or says why not. It is called every tick by one goroutine with
// the tick's time; equal wishes cost a comparison. The error goes with Refused, RolledBack and Failed. It blocks for the
// time of one to four `nginx -t` and a reload: 0.2 s as a rule, VerifyTimeout twice at worst.
func (m *Manager) Apply(ctx context.Context, now time.Time, want Model) (Outcome, error) {
	began := time.Now()
	out, err := m.apply(ctx, now, want)
	out.Took = time.Since(began)
	out.OldGenerations = m.countGenerations(ctx, now)
	if err != nil && out.Why == "" {
		out.Why = err.Error()
	}
	m.report(now, out, err)
	return out, err
}

func (m *Manager) apply(ctx context.Context, now time.Time, want Model) (Outcome, error) {
	if err := m.start(); err != nil {
		return Outcome{Result: Failed}, err
	}
	parts, err := m.render(now, m.withInUse(now, want))
	if err != nil {
		return Outcome{Result: Refused}, err
	}
	c, result, err := m.compare(parts)
	drift := m.noteDrift(now, c.parts)
	known := err == nil && m.journal == nil && c.verified()
	m.setLive(known)
	if err != nil {
		return Outcome{Result: result, Drift: drift}, err
	}
	c.known = known
	if known && c.asWanted() {
		m.since, m.failures = time.Time{}, 0
		return Outcome{Result: Unchanged}, nil
	}
	out := Outcome{Reason: m.reason(known, drift != ""), Why: want.Why, Drift: drift}
	if why := m.leaveDrift(now, drift); why != "" {
		out.Result, out.Held, out.Why = Deferred, HoldDrift, why
		return out, nil
	}
	if d := m.decide(ctx, now, want, out.Reason); d.Held != "" {
		out.Result, out.Held, out.Why = Deferred, d.Held, d.Why
		return out, nil
	}
	return m.change(ctx, now, c, out)
}

// compare looks at every file. The result goes with the error.
func (m *Manager) compare(parts []part) (c change, result Result, err error) {
	for _, p := range parts {
		good, err := m.goodOf(p.live)
		if err != nil {
			return c, Failed, err
		}
		l, wrong := lookAt(p, good, m.journal)
		c.parts = append(c.parts, l)
		switch {
		case wrong != nil:
			result, err = Failed, wrong
		case len(bytes.TrimSpace(l.before)) > 0 && !ours(l.before) && good == nil:
			// It has something in it, not our first line, and we have never written here.
			result, err = Refused, fmt.Errorf("the include file %s was not written by tidegate and is left alone: name another file, or move it away", p.live)
		}
		if err != nil {
			return c, result, err
		}
	}
	return c, result, nil
}

// reason tells what kind of change it is from what nginx runs with to what is wanted.
func (m *Manager) reason(known, drift bool) Reason {
	switch {
	case drift:
		return ReasonDrift
	case known && m.modelOK:
		return reasonFor(m.model, m.wish.model)
	default:
		return ReasonRecover
	}
}

// decide asks the budget.
func (m *Manager) decide(ctx context.Context, now time.Time, want Model, reason Reason) Decision {
	since := m.since
	if since.IsZero() {
		since = now
	}
	p := Pending{Now: now, LastTry: m.lastTry, LastTook: m.lastTook, Since: since, Changed: m.wish.changed, Reason: reason,
		Cycle: want.cycle(), Spent: m.bucket.Spent(m.budg, now), Generations: m.countGenerations(ctx, now), Failures: m.failures}
	if reason == ReasonWeights {
		p.Misrouted, p.Largest = Shift(m.model, m.wish.model)
	}
	d := m.budg.Decide(p)
	if m.since = since; d.Held == HoldSmall {
		m.since = time.Time{}
	}
	return d
}

// render returns the files of a wish and notes when it changes.
func (m *Manager) render(now time.Time, want Model) ([]part, error) {
	n := want.normal()
	if m.wish.parts != nil && n.equal(m.wish.model) {
		return m.wish.parts, nil
	}
	parts, err := m.o.split(want)
	if err != nil {
		return nil, err
	}
	m.wish = wish{n, parts, now}
	return parts, nil
}

// report logs and counts an outcome; this is the edge where failures are logged.
func (m *Manager) report(now time.Time, out Outcome, err error) {
	m.m.results(out.Result).Inc()
	if out.Held != m.held {
		if m.held = out.Held; out.Held != "" {
			m.m.holds(out.Held).Inc()
		}
	}
	pending, _ := elapsed(now, m.since)
	m.m.pending.Set(pending.Seconds())
	switch {
	case err != nil && ctxEnded(err):
	case err != nil:
		m.quiet.Warn(out.Result.String(), "nginx: the change was not applied", "result", out.Result.String(), "error", err)
	case out.Result == Applied || out.Result == Unchanged:
		for _, r := range []Result{Refused, RolledBack, Failed} {
			m.quiet.Clear(r.String(), "nginx: the trouble is over", "result", r.String())
		}
	}
	if out.Result == Applied {
		m.o.Log.Info("nginx reloaded", "reason", out.Reason, "took", out.Took, "why", out.Why)
	}
}

func ctxEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
