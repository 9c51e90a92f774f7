package nginxgen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// change is one way from the live files to the wanted ones. All files of a change are staged, proven together, swapped one
// after the other, loaded by one reload, and go back together.
type change struct {
	parts []look
	// workers served before any file changed. known: nginx was known to run with the last good files.
	workers map[int]bool
	known   bool
}

// verified tells whether every file is as it was when a reload was verified; known, that at least one has been.
func (c change) verified() bool {
	known := false
	for _, p := range c.parts {
		if !p.asGood() {
			return false
		}
		known = known || p.good != nil
	}
	return known
}

func (c change) asWanted() bool {
	return !slices.ContainsFunc(c.parts, func(p look) bool { return !p.asWanted() })
}

func (l look) asWanted() bool { return l.drift == "" && same(l.before, l.text) }

// unstage removes what is left of staged files; after a swap there are none.
func (c change) unstage() {
	for _, p := range c.parts {
		os.Remove(p.stage)
	}
}

// step tells a test where a change is.
func (m *Manager) step(name string) {
	if m.at != nil {
		m.at(name)
	}
}

// change takes the locks, proves the files, swaps them in and reloads. Until the swap every error leaves all as it was.
func (m *Manager) change(ctx context.Context, now time.Time, c change, out Outcome) (Outcome, error) {
	fail := func(r Result, err error) (Outcome, error) {
		out.Result, out.Why = r, err.Error()
		return out, err
	}
	set, err := m.ngx.settings(ctx)
	if err != nil {
		return fail(Failed, err)
	}
	pid, err := m.ngx.master(set.pidFile)
	if err != nil {
		return fail(Failed, err)
	}
	release, err := hold(m.o.anchors())
	if err != nil {
		return fail(Failed, err)
	}
	defer release()
	m.o.sweep()
	workers, err := workersOf(pid)
	if err != nil {
		return fail(Failed, err)
	}
	m.lastTry = now
	p, err := m.prove(ctx, set, c)
	if err == nil && !p.v.ok && !p.alone {
		c, p, err = m.proveInUse(ctx, now, set, c, p)
	}
	defer c.unstage()
	if err != nil {
		p.undo()
		return fail(Failed, err)
	}
	if !p.v.ok {
		p.undo()
		m.failures++
		return fail(m.blame(ctx, set, c, p))
	}
	m.step("proven")
	if m.journal == nil && c.verified() && c.asWanted() {
		// What was to go had to stay, and there was nothing else.
		out.Result = Unchanged
		return out, nil
	}
	if err := m.swapIn(c, &p); err != nil {
		p.undo()
		return fail(Failed, err)
	}
	c.workers = workers.serving
	return m.load(ctx, set, pid, c, out)
}

// proof is what `nginx -t` says of the staged files in the user's configuration. When swapped, the staged files are live
// already. undo puts the former state back.
type proof struct {
	v       verdict
	alone   bool // refused on its own, the user's configuration was not even asked
	swapped bool
	undo    func()
}

// prove stages the files and tests them alone, then in context: in a private mount namespace, or by a swap where that is
// not allowed.
func (m *Manager) prove(ctx context.Context, set settings, c change) (proof, error) {
	p := proof{undo: func() {}}
	for _, l := range c.parts {
		if l.asWanted() {
			continue
		}
		if err := l.write(l.stage, l.text); err != nil {
			c.unstage()
			return p, err
		}
	}
	m.step("staged")
	v, err := m.ngx.testAlone(ctx, set.built, c)
	if err != nil || !v.ok {
		p.v, p.alone = v, true
		return p, err
	}
	if !m.noNamespace {
		err := m.proveOver(ctx, set, c, &p)
		if !errors.Is(err, errNoNamespace) {
			return p, err
		}
		p.undo()
		p.undo = func() {}
		m.noNamespace = true
		m.o.Log.Info("nginx: no private mount namespace here, the include is swapped in for its test", "why", err)
	}
	if err := m.swapIn(c, &p); err != nil {
		return p, err
	}
	p.v, err = m.ngx.test(ctx, set.pidFile, c.paths()...)
	return p, err
}

// proveOver runs the test where the staged files lie over the live ones.
func (m *Manager) proveOver(ctx context.Context, set settings, c change, p *proof) error {
	var covers []cover
	for i := range c.parts {
		l := &c.parts[i]
		if l.asWanted() {
			continue
		}
		if l.before == nil && l.drift != "unreadable" {
			// There must be something to mount over. A file with nothing but our first line changes nothing for anybody.
			if err := l.create(l.live, []byte(marker+"\n")); err != nil {
				return err
			}
			undo := p.undo
			p.undo = func() { os.Remove(l.live); undo() }
		}
		covers = append(covers, cover{l.stage, l.live})
	}
	var testErr error
	err := withFilesOver(covers, func() {
		p.v, testErr = m.ngx.test(ctx, set.pidFile, c.paths()...)
	})
	return errors.Join(err, testErr)
}

func (c change) paths() []string {
	var out []string
	for _, p := range c.parts {
		out = append(out, p.live)
	}
	return out
}

// swapIn makes the staged files the live ones, once, and keeps what somebody wrote into one by hand.
func (m *Manager) swapIn(c change, p *proof) error {
	if p.swapped {
		return nil
	}
	p.swapped = true
	if c.asWanted() {
		return nil
	}
	anchor, prior := m.o.anchors()[0], m.journal
	j := c.journal()
	if err := j.begin(anchor); err != nil {
		return err
	}
	m.journal = j
	m.step("noted")
	var swapped []look
	undo := p.undo
	p.undo = func() {
		err := m.putBack(swapped)
		undo()
		if err == nil {
			err = m.forget(anchor, prior)
		}
		if err != nil {
			m.o.Log.Error("nginx: the include files could not be put back", "error", err)
		}
	}
	for _, l := range m.inOrder(c) {
		if l.drift == "edited" || l.drift == "unreadable" {
			if err := l.keepEdited(); err != nil {
				m.quiet.Warn("edited", "nginx: the edited include could not be kept", "error", err)
			}
		}
		if err := l.swap(); err != nil {
			return err
		}
		swapped = append(swapped, l)
		m.step("swapped " + l.live)
	}
	return nil
}

// inOrder are the files that change, those that lose upstreams first.
func (m *Manager) inOrder(c change) []look {
	out := slices.DeleteFunc(slices.Clone(c.parts), look.asWanted)
	if len(out) > 1 {
		slices.SortStableFunc(out, func(a, b look) int { return boolInt(gains(a.part, a.before)) - boolInt(gains(b.part, b.before)) })
	}
	return out
}

// blame finds out whose fault a refusal is. When nginx refuses the user's configuration with the former files as well,
// and does not name one of them, the user's own part is broken.
func (m *Manager) blame(ctx context.Context, set settings, c change, p proof) (Result, error) {
	if p.alone {
		return Refused, fmt.Errorf("nginx refuses the new include: %s", p.v.text)
	}
	plain, err := m.ngx.test(ctx, set.pidFile, c.paths()...)
	if err != nil {
		return Failed, err
	}
	if !plain.ok && !slices.ContainsFunc(c.paths(), plain.names) {
		return Failed, fmt.Errorf("nginx's own configuration is broken, nothing is changed until it is repaired: %s", plain.text)
	}
	return Refused, fmt.Errorf("nginx refuses the new include together with its configuration: %s", p.v.text)
}

// load makes nginx take the files that were just swapped in, and rolls back when it does not.
func (m *Manager) load(ctx context.Context, set settings, pid int, c change, out Outcome) (Outcome, error) {
	began := time.Now()
	out.Reloaded = true
	m.bucket = m.bucket.Take(m.budg, m.lastTry)
	untouched, err := m.hup(ctx, pid, set.errorLog, c.workers)
	out.ReloadTook = time.Since(began)
	if err == nil {
		m.loaded(c, out)
		out.Result = Applied
		return out, nil
	}
	if ctx.Err() != nil {
		out.Result = Failed
		return out, fmt.Errorf("stopped before the reload was verified, the next start reloads again: %w", ctx.Err())
	}
	m.m.reload(out.Reason, "failed", out.ReloadTook)
	m.failures++
	return m.rollBack(ctx, set, pid, c, out, untouched, err)
}

// loaded remembers what nginx runs with now.
func (m *Manager) loaded(c change, out Outcome) {
	m.step("loaded")
	m.m.reload(out.Reason, "ok", out.ReloadTook)
	m.m.generation.Inc()
	m.lastTook, m.failures, m.since, m.journal = out.ReloadTook, 0, time.Time{}, nil
	if out.Reason == ReasonDrift {
		m.truce.repair(m.lastTry)
	}
	var kept error
	for _, l := range c.parts {
		if l.text == nil {
			continue
		}
		m.good[l.live] = l.text
		if err := l.keepGood(l.text); err != nil {
			kept = err
		}
		m.step("kept " + l.live)
	}
	m.model, m.modelOK = m.wish.model, true
	m.setLive(true)
	if kept == nil {
		kept = journal{}.end(m.o.anchors()[0])
	}
	if kept != nil {
		// The reload is a fact; without the copies the next start reloads once more.
		m.quiet.Warn("good", "nginx: the last good file could not be kept", "error", kept)
	}
	m.step("done")
}
