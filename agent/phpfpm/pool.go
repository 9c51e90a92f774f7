package phpfpm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// pidFileGrace is how long a missing pid file is overlooked while its master lives: a master that starts anew removes it.
	pidFileGrace = time.Second
	// tryAgain is the pause after a change that php-fpm refused or that could not be made.
	tryAgain = 30 * time.Second
	// reloadSpan is how long after process_control_timeout a master that was told to start anew must have done it.
	reloadSpan = 30 * time.Second
)

// Options say where a pool is.
type Options struct {
	// PIDFile is the absolute path of the master's `pid`. Pool is the name of the pool's section.
	PIDFile, Pool string
	// Status is the address of pm.status_listen, "HOST:PORT" or "unix:/path", StatusPath is pm.status_path.
	Status, StatusPath string
	// CeilingFile is the absolute path of the file that the pool's section includes after its own pm.max_children. Without
	// one, nothing is changed.
	CeilingFile string
	// MinDistance is the least time between two changes of the ceiling.
	MinDistance time.Duration
}

// Pool is the source, the queue and the actuator of one pool. It is for one goroutine.
type Pool struct {
	opt    Options
	proc   proc.Reader
	family proc.Children

	master  proc.ID
	title   string
	lastOK  time.Time
	ours    map[proc.ID]bool // children with a title: whether they are the pool's
	workers []proc.ID
	changes uint64

	// last is the last status page; lastErr is nil while it is right. seen: Observe has read it for the Count of this scan.
	last    status
	lastErr error
	seen    bool

	// set is what is in force, as read after the start that inspected tells.
	set       settings
	setErr    error
	inspected time.Time

	// told is when the master was told to start anew, zero when that is done; until then old are the children before.
	told time.Time
	old  map[proc.ID]bool
	// refused is why the last change did not come about, until the time of the next try or another target.
	refused       error
	refusedTarget int
	nextTry       time.Time
	lastTold      time.Time
}

// New returns the adapters of a pool; nothing is opened.
func New(o Options) *Pool {
	return &Pool{opt: o, lastErr: errors.New("the status page has not been read yet")}
}

// Owns is the pool of this master and, where the ceiling is changed, the master too: a change replaces all its children.
func (p *Pool) Owns() []string {
	master := filepath.Clean(p.opt.PIDFile)
	owns := []string{"the pool " + p.opt.Pool + " of " + master}
	if p.opt.CeilingFile != "" {
		owns = append(owns, "the php-fpm master of "+master, filepath.Clean(p.opt.CeilingFile))
	}
	return owns
}

// Limits: every change is costly, and but for a static pool the target is a ceiling.
func (p *Pool) Limits() adapter.Limits {
	return adapter.Limits{Ceiling: p.set.manager != "static", Costly: true}
}

// Observe finds the master by its pid file and lists the pool's children.
func (p *Pool) Observe(now time.Time) (adapter.Workers, error) {
	if err := p.findMaster(now); err != nil {
		return adapter.Workers{}, err
	}
	children, err := p.family.Look(p.master)
	if err != nil {
		return adapter.Workers{}, err
	}
	p.lastOK = now
	p.read()
	p.seen = true
	p.workers = p.workers[:0]
	ours := make(map[proc.ID]bool, len(children))
	for _, c := range children {
		mine, known := p.ours[c]
		if !known {
			// A child that has just been forked still has the master's title.
			title, err := p.proc.Title(c.PID)
			pool, ok := strings.CutPrefix(title, "php-fpm: pool ")
			if err != nil || !ok {
				continue
			}
			mine = pool == p.opt.Pool
		}
		if ours[c] = mine; mine {
			p.workers = append(p.workers, c)
		}
	}
	p.ours = ours
	// A child of php-fpm can serve as soon as it is there.
	w := adapter.Workers{Master: p.master, Children: p.workers, Starting: map[proc.ID]bool{}, Changes: p.changes}
	if p.set.manager != "static" {
		w.Ceiling = p.set.maxChildren
	}
	return w, nil
}

// findMaster reads the pid file and makes sure that it names a php-fpm master.
func (p *Pool) findMaster(now time.Time) error {
	pid, _, err := proc.ReadPIDFile(p.opt.PIDFile)
	if err != nil {
		if now.Sub(p.lastOK) < pidFileGrace && p.proc.Alive(p.master) {
			return nil
		}
		return err
	}
	st, err := p.proc.Stat(pid)
	if errors.Is(err, proc.ErrGone) || (err == nil && st.Dead()) {
		return fmt.Errorf("the process %d named by %s does not run", pid, p.opt.PIDFile)
	}
	if err != nil {
		return fmt.Errorf("look at the process %d named by %s: %w", pid, p.opt.PIDFile, err)
	}
	master := proc.ID{PID: pid, Start: st.Start}
	if master == p.master {
		return nil
	}
	title, err := p.proc.Title(pid)
	if err != nil {
		return fmt.Errorf("look at the title of the process %d named by %s: %w", pid, p.opt.PIDFile, err)
	}
	if !strings.HasPrefix(title, masterTitle) {
		return fmt.Errorf("the process %d (%.60q) named by %s is no php-fpm master", pid, title, p.opt.PIDFile)
	}
	p.master, p.title, p.inspected = master, title, time.Time{}
	return nil
}

// Count is the number of active processes.
func (p *Pool) Count(*adapter.Family) (adapter.Count, error) {
	if !p.seen {
		p.read()
	}
	p.seen = false
	if p.lastErr != nil {
		return adapter.Count{}, p.lastErr
	}
	return adapter.Count{Busy: p.last.Active, Trust: adapter.Exact}, nil
}

// read asks for the status page, and for the settings after each start.
func (p *Pool) read() {
	s, err := p.ask()
	if p.lastErr = err; err != nil {
		return
	}
	if s.StartTime != p.last.StartTime {
		p.changes++
	}
	p.last = s
	p.inspect()
	if p.setErr == nil {
		p.lastErr = p.set.badStatusAddress(p.opt.Pool, p.opt.Status)
	}
}

func (p *Pool) ask() (status, error) {
	b, err := get(p.opt.Status, p.opt.StatusPath, "json")
	var s status
	if err == nil {
		s, err = parseStatus(b)
	}
	switch {
	case err != nil && !p.told.IsZero():
		return status{}, fmt.Errorf("php-fpm starts anew since %s with another pm.max_children", p.told.Format(time.TimeOnly))
	case err != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return status{}, fmt.Errorf("the status page %s at %s does not come; is that the pool's own pm.status_listen?", p.opt.StatusPath, p.opt.Status)
	case err != nil:
		return status{}, fmt.Errorf("ask for the status page %s at %s: %w", p.opt.StatusPath, p.opt.Status, err)
	case s.Pool != p.opt.Pool:
		return status{}, fmt.Errorf("the status page %s at %s is that of the pool %.60q, not of %s", p.opt.StatusPath, p.opt.Status, s.Pool, p.opt.Pool)
	}
	return s, nil
}

// Queued is what the master saw in the application's listener, up to a second ago. It can look at a TCP listener only: a
// unix socket's queue and its length are 0 to it, whatever waits.
func (p *Pool) Queued() (adapter.Waiting, error) {
	if p.lastErr != nil {
		return adapter.Waiting{}, p.lastErr
	}
	if p.last.QueueLen == 0 {
		return adapter.Waiting{}, adapter.ErrNoQueue
	}
	return adapter.Waiting{Queued: p.last.Queue, Limit: p.last.QueueLen}, nil
}

// inspect reads the settings once after each start of the pool.
func (p *Pool) inspect() {
	if p.master == (proc.ID{}) || p.inspected.Equal(p.last.started()) {
		return
	}
	p.inspected = p.last.started()
	prog, err := programOf(p.master, p.title)
	if err == nil {
		p.set, err = prog.settings(p.opt.Pool, 0)
	}
	p.setErr = err
}

// Draining tells whether p is one of the children that a change of the ceiling replaces.
func (p *Pool) Draining(c proc.ID) bool { return p.old[c] }

// Steer makes target the pool's ceiling, at most once in MinDistance.
func (p *Pool) Steer(now time.Time, target int, _ func(proc.ID) adapter.Work) (int, error) {
	if !p.told.IsZero() {
		return 0, p.reloading(now)
	}
	if target < 0 || p.lastErr != nil {
		return 0, nil
	}
	if p.opt.CeilingFile == "" {
		return 0, errors.New("there is a target, but no ceiling_file in which to write it")
	}
	before, err := readCeiling(p.opt.CeilingFile, p.opt.Pool)
	if err != nil {
		return 0, err
	}
	current := p.set.maxChildren
	if p.setErr == nil && current == target && (before.n == 0 || p.loaded(before)) {
		p.refused = nil
		return 0, nil
	}
	if now.Sub(before.changed) < p.opt.MinDistance || now.Sub(p.lastTold) < p.opt.MinDistance {
		return 0, nil
	}
	if p.refused != nil && p.refusedTarget == target && now.Before(p.nextTry) {
		return 0, p.refused
	}
	if err := p.change(now, before, target); err != nil {
		p.refused, p.refusedTarget, p.nextTry = err, target, now.Add(tryAgain)
		return 0, err
	}
	p.refused = nil
	if target < current {
		return -1, nil
	}
	return 1, nil
}

// loaded tells whether the master has started since the file was written; the status page tells whole seconds.
func (p *Pool) loaded(c ceiling) bool { return p.last.StartTime >= c.changed.Unix() }

// reloading ends the wait for a master that was told to start anew.
func (p *Pool) reloading(now time.Time) error {
	left := 0
	for _, c := range p.workers {
		if p.old[c] {
			left++
		}
	}
	if left == 0 && p.lastErr == nil && p.last.StartTime >= p.told.Unix() {
		// Two starts within a second have the same time on the status page.
		p.told, p.old, p.inspected = time.Time{}, nil, time.Time{}
		return nil
	}
	if limit := p.set.controlTimeout + reloadSpan; now.Sub(p.told) > limit {
		p.told, p.old = time.Time{}, nil
		return fmt.Errorf("the php-fpm master %d was told to start anew %v ago and has not", p.master.PID, limit)
	}
	return nil
}

// change proves, writes, reads back and signals; with an error the live configuration is what it was.
func (p *Pool) change(now time.Time, before ceiling, target int) error {
	prog, err := programOf(p.master, p.title)
	if err != nil {
		return err
	}
	info, err := os.Stat(prog.config)
	if err != nil {
		return fmt.Errorf("look at php-fpm's configuration: %w", err)
	}
	if info.ModTime().Unix() > p.last.StartTime {
		// It may have another process_control_timeout than the one in force.
		return fmt.Errorf("pm.max_children of the pool %s stays: %s has changed since php-fpm has read it; reload php-fpm first",
			p.opt.Pool, prog.config)
	}
	s, err := prog.settings(p.opt.Pool, target)
	if err != nil {
		return fmt.Errorf("pm.max_children of the pool %s stays: with %d, %w", p.opt.Pool, target, err)
	}
	if s.controlTimeout <= 0 {
		return fmt.Errorf("pm.max_children of the pool %s stays: process_control_timeout is 0, so that a change would cut off the requests in progress; set it in %s",
			p.opt.Pool, prog.config)
	}
	if err := p.put(prog, before, target); err != nil {
		return err
	}
	sigs, err := p.proc.Signals(p.master.PID)
	if err == nil && !sigs.Catches(unix.SIGUSR2) {
		err = errors.New("it does not catch it")
	}
	if err == nil {
		err = p.proc.Send(p.master, unix.SIGUSR2)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("send USR2 to the php-fpm master %d: %w", p.master.PID, err), before.restore(p.opt.CeilingFile))
	}
	p.told, p.lastTold, p.old = now, now, make(map[proc.ID]bool, len(p.workers))
	p.set.controlTimeout = s.controlTimeout
	for _, c := range p.workers {
		p.old[c] = true
	}
	return nil
}

// put writes the ceiling and makes sure that php-fpm takes it from there.
func (p *Pool) put(prog program, before ceiling, target int) error {
	if err := replace(p.opt.CeilingFile, ceilingText(p.opt.Pool, target)); err != nil {
		return err
	}
	s, err := prog.settings(p.opt.Pool, 0)
	if err == nil && s.maxChildren != target {
		err = fmt.Errorf("pm.max_children of the pool %s is %d although %s says %d: its section must have  include = %s  after its own pm.max_children",
			p.opt.Pool, s.maxChildren, p.opt.CeilingFile, target, p.opt.CeilingFile)
	}
	if err != nil {
		return errors.Join(err, before.restore(p.opt.CeilingFile))
	}
	return nil
}
