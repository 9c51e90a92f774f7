package nginxgen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/internal/quiet"
)

// Options say what to manage. File and Main are required.
type Options struct {
	// File is the include file to write: absolute, of letters, digits and `. _ @ + - /`. Its folder must be writable and lie
	// on a disk that survives a reboot: without the file nginx may not start.
	File string
	// Main is the absolute path of nginx's main configuration, which includes File in its http block.
	Main string
	// Binary is nginx's name or path, "nginx" when empty. Prefix is its -p, none when empty.
	Binary, Prefix string
	// PIDFile is the master's pid file; empty: from Main's pid directive, else as nginx was compiled.
	PIDFile string
	// Log gets reloads, drift and, throttled, failures; nil for none. Callers need not log an Outcome again.
	Log *slog.Logger
	// Metrics is where tidegate_nginx_* are registered; nil for a private set.
	Metrics *metrics.Set
	// MinMembership (2 s), MinWeights (10 s) and Quiet (1 s) are the Budget; 0 takes the default, below 0 means none.
	MinMembership, MinWeights, Quiet time.Duration
	// VerifyTimeout is how long new workers may take after SIGHUP, 10 s by default. nginx itself gives up on a port in use
	// after 2.6 s.
	VerifyTimeout time.Duration
}

// Result is what became of one Apply.
type Result int

// The results, in the order of the picture in the package comment.
const (
	Unchanged  Result = iota // the verified live file is what is wanted
	Deferred                 // the budget says later
	Applied                  // nginx runs with the new file
	Refused                  // the model, the live file's owner or nginx said no; nothing changed
	RolledBack               // the reload failed; the last good file is back
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
	// Reloaded is true when nginx got a SIGHUP.
	Reloaded bool
	// Took is the time of the whole Apply.
	Took time.Duration
	// Why is one sentence: the reason of the change, of the wait, or of the failure.
	Why string
	// Membership is true when servers come or go, false when only numbers change.
	Membership bool
}

// Manager keeps one include file. Apply and Recover are for one goroutine; Live may be called from any.
type Manager struct {
	o     Options
	files files
	ngx   nginx
	budg  Budget
	quiet *quiet.Log
	m     *meters

	// noNamespace is set for good once a mount namespace was refused; tests set it to force the unprivileged way.
	noNamespace bool

	// What the one goroutine remembers.
	started  bool
	good     []byte // the last verified bytes, nil when unknown
	model    Model  // what good says, when known
	modelOK  bool
	wantMod  Model // the last wish, and its bytes, so that a steady state renders nothing
	wantText []byte
	since    time.Time
	changed  time.Time
	lastTry  time.Time
	lastTook time.Duration
	failures int
	drifted  [sha256.Size]byte // the edit that was reported last

	mu     sync.Mutex
	live   Model
	liveOK bool
}

var fileRE = regexp.MustCompile(`^/[A-Za-z0-9._@+/-]+$`)

// New checks the options. It touches nothing: nginx may be installed and started later.
func New(o Options) (*Manager, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Manager{
		o: o, files: filesFor(o.File), ngx: o.nginx(), quiet: quiet.New(o.Log, time.Minute), m: newMeters(o.Metrics),
		budg: Budget{MinMembership: o.MinMembership, MinWeights: o.MinWeights, Quiet: o.Quiet},
	}, nil
}

func (o Options) nginx() nginx {
	return nginx{binary: o.Binary, main: o.Main, prefix: o.Prefix, pidFile: o.PIDFile}
}

func (o Options) withDefaults() (Options, error) {
	for _, p := range []struct{ name, path string }{{"include file", o.File}, {"main configuration", o.Main}} {
		if !fileRE.MatchString(p.path) || filepath.Clean(p.path) != p.path {
			return o, fmt.Errorf("the nginx %s %s is not allowed: an absolute path of letters, digits and '. _ @ + - /'", p.name, shown(p.path))
		}
	}
	if o.File == o.Main {
		return o, fmt.Errorf("the nginx include file and the main configuration are both %s", o.File)
	}
	if filepath.Base(o.File)[0] == '.' {
		return o, fmt.Errorf("the nginx include file %s is not allowed: a hidden file escapes `include *`", shown(o.File))
	}
	if o.Binary == "" {
		o.Binary = "nginx"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		at  *time.Duration
		def time.Duration
	}{{&o.MinMembership, 2 * time.Second}, {&o.MinWeights, 10 * time.Second}, {&o.Quiet, time.Second}} {
		switch {
		case *d.at == 0:
			*d.at = d.def
		case *d.at < 0:
			*d.at = 0
		}
	}
	if o.VerifyTimeout <= 0 {
		o.VerifyTimeout = 10 * time.Second
	}
	return o, nil
}

// Live returns what the live file says when its bytes are those whose reload was verified last, as of the last Apply or
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

// start learns what a former process knew.
func (m *Manager) start() error {
	if m.started {
		return nil
	}
	good, err := readFile(m.files.good)
	if err != nil {
		return fmt.Errorf("read the last good file: %w", err)
	}
	if good != nil && ours(good) {
		m.setGood(good)
	}
	m.started = true
	return nil
}

func (m *Manager) setGood(text []byte) {
	m.good = text
	// An older version's file may not read back; then the next change counts as one of membership.
	model, err := Parse(text)
	m.model, m.modelOK = model, err == nil
}

// Apply brings the live file and nginx to what is wanted, or says why not. It is called every tick by one goroutine with
// the tick's time; equal wishes cost a comparison. The error goes with Refused, RolledBack and Failed. It blocks for the
// time of one to three `nginx -t` and a reload: 0.2 s as a rule, VerifyTimeout twice at worst.
func (m *Manager) Apply(ctx context.Context, now time.Time, want Model) (Outcome, error) {
	began := time.Now()
	out, err := m.apply(ctx, now, want)
	out.Took = time.Since(began)
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
	text, err := m.render(now, want)
	if err != nil {
		return Outcome{Result: Refused}, err
	}
	live, err := m.files.read()
	if err != nil {
		m.setLive(false)
		return Outcome{Result: Failed}, err
	}
	if err := m.stranger(live); err != nil {
		m.setLive(false)
		return Outcome{Result: Refused}, err
	}
	known := m.good != nil && live != nil && bytes.Equal(live, m.good)
	drift := m.good != nil && live != nil && !known && !bytes.Equal(live, text)
	m.setLive(known)
	m.noteDrift(live, drift)
	if known && bytes.Equal(live, text) {
		m.since = time.Time{}
		m.failures = 0
		return Outcome{Result: Unchanged}, nil
	}
	if m.since.IsZero() {
		m.since = now
	}
	out := Outcome{Membership: !known || !m.modelOK || !m.model.sameMembers(want.normal()), Why: want.Why}
	wait, why := m.budg.Decide(Pending{Now: now, LastTry: m.lastTry, LastTook: m.lastTook, Since: m.since,
		Changed: m.changed, Membership: out.Membership, Failures: m.failures})
	if wait > 0 {
		out.Result, out.Why = Deferred, why
		return out, nil
	}
	return m.change(ctx, now, change{text: text, before: live, drift: drift}, out)
}

// render returns the bytes of a wish and notes when it changes.
func (m *Manager) render(now time.Time, want Model) ([]byte, error) {
	n := want.normal()
	if m.wantText != nil && n.equal(m.wantMod) {
		return m.wantText, nil
	}
	text, err := Render(want)
	if err != nil {
		return nil, err
	}
	m.wantMod, m.wantText, m.changed = n, text, now
	return text, nil
}

// stranger returns an error when the live file is not ours to write: it has something in it, not our first line, and we
// have never written here.
func (m *Manager) stranger(live []byte) error {
	if len(bytes.TrimSpace(live)) == 0 || ours(live) || m.good != nil {
		return nil
	}
	return fmt.Errorf("the include file %s was not written by tidegate and is left alone: name another file, or move it away", m.o.File)
}

// noteDrift reports an edit once.
func (m *Manager) noteDrift(live []byte, drift bool) {
	if !drift {
		m.drifted = [sha256.Size]byte{}
		return
	}
	if sum := sha256.Sum256(live); sum != m.drifted {
		m.drifted = sum
		m.m.drift.Inc()
		m.o.Log.Warn("the nginx include is not what was last verified (edited by hand, or a run was cut short); it will be overwritten", "file", m.o.File, "kept", m.files.edited)
	}
}

// report logs and counts an outcome; this is the edge where failures are logged.
func (m *Manager) report(now time.Time, out Outcome, err error) {
	m.m.applied(out.Result)
	pending, _ := elapsed(now, m.since)
	m.m.pending.Set(pending.Seconds())
	switch {
	case err != nil && ctxEnded(err):
	case err != nil:
		m.quiet.Warn(out.Result.String(), "nginx: the change was not applied", "result", out.Result.String(), "file", m.o.File, "error", err)
	case out.Result == Applied || out.Result == Unchanged:
		for _, r := range []Result{Refused, RolledBack, Failed} {
			m.quiet.Clear(r.String(), "nginx: the trouble is over", "result", r.String(), "file", m.o.File)
		}
	}
	if out.Result == Applied {
		m.o.Log.Info("nginx reloaded", "file", m.o.File, "membership", out.Membership, "took", out.Took, "why", out.Why)
	}
}

func ctxEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Recover is for the start of a process. When `nginx -t` fails because of our file, and passes with the last good file,
// that one is put back; else the live file is adopted as it is. Nothing is reloaded: the first Apply finds out whether
// the live file was loaded. An error leaves everything as it was.
func (m *Manager) Recover(ctx context.Context) error {
	if err := m.start(); err != nil {
		return err
	}
	live, err := m.files.read()
	if err != nil {
		return err
	}
	if err := m.stranger(live); err != nil {
		return err
	}
	m.setLive(m.good != nil && live != nil && bytes.Equal(live, m.good))
	if m.good == nil || bytes.Equal(live, m.good) {
		return nil
	}
	release, err := m.files.hold()
	if err != nil {
		return err
	}
	defer release()
	set, err := m.ngx.settings(ctx)
	if err != nil {
		return err
	}
	v, err := m.ngx.test(ctx, set.pidFile, m.files.live)
	if err != nil || v.ok {
		return err
	}
	return m.recoverGood(ctx, set, live, v)
}

// recoverGood puts the last good file back when that makes the configuration pass.
func (m *Manager) recoverGood(ctx context.Context, set settings, live []byte, without verdict) error {
	if err := m.files.write(m.files.stage, m.good); err != nil {
		return err
	}
	defer os.Remove(m.files.stage)
	c := change{text: m.good, before: live, drift: live != nil}
	p, err := m.prove(ctx, set, c)
	if err != nil {
		p.undo()
		return err
	}
	if !p.v.ok {
		p.undo()
		return fmt.Errorf("nginx's own configuration is broken, the last good include does not help: %s", without.text)
	}
	if err := m.swapIn(c, &p); err != nil {
		return err
	}
	m.setLive(true)
	m.o.Log.Warn("nginx refused the include file; the last good one is back", "file", m.o.File, "nginx", without.text)
	return nil
}
