package nginxgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"syscall"
	"time"
)

// change is one way from the live file's bytes (nil: no file) to the wanted ones.
type change struct {
	text, before []byte
	drift        bool
}

// change takes the lock, proves the file, swaps it in and reloads. Until the swap every error leaves all as it was.
func (m *Manager) change(ctx context.Context, now time.Time, c change, out Outcome) (Outcome, error) {
	fail := func(r Result, err error) (Outcome, error) {
		out.Result, out.Why = r, err.Error()
		return out, err
	}
	set, err := m.ngx.settings(ctx)
	if err != nil {
		return fail(Failed, err)
	}
	pid, err := master(set.pidFile)
	if err != nil {
		return fail(Failed, err)
	}
	release, err := m.files.hold()
	if err != nil {
		return fail(Failed, err)
	}
	defer release()
	if err := m.files.write(m.files.stage, c.text); err != nil {
		return fail(Failed, err)
	}
	// After a swap there is no staged file, and this does nothing.
	defer os.Remove(m.files.stage)
	m.lastTry = now
	p, err := m.prove(ctx, set, c)
	if err != nil {
		p.undo()
		return fail(Failed, err)
	}
	if !p.v.ok {
		p.undo()
		m.failures++
		return fail(m.blame(ctx, set, p))
	}
	if err := m.swapIn(c, &p); err != nil {
		p.undo()
		return fail(Failed, err)
	}
	return m.load(ctx, set, pid, c, out)
}

// proof is what `nginx -t` says of the staged file in the user's configuration. When swapped, the staged file is live
// already and undo puts the former state back; otherwise undo removes at most an empty file made to mount over.
type proof struct {
	v       verdict
	alone   bool // refused on its own, the user's configuration was not even asked
	swapped bool
	undo    func()
}

// prove tests the staged file alone, then in context: in a private mount namespace, or by a swap where that is not allowed.
func (m *Manager) prove(ctx context.Context, set settings, c change) (proof, error) {
	p := proof{undo: func() {}}
	v, err := m.ngx.testAlone(ctx, set.built, m.files.stage)
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
	p.undo = func() {
		if err := m.putBack(c); err != nil {
			m.o.Log.Error("nginx: the include file could not be put back", "file", m.o.File, "error", err)
		}
	}
	p.v, err = m.ngx.test(ctx, set.pidFile, m.files.live)
	return p, err
}

// swapIn makes the staged file the live one, once, and keeps what somebody wrote into the live one by hand.
func (m *Manager) swapIn(c change, p *proof) error {
	if p.swapped {
		return nil
	}
	if c.drift {
		if err := m.files.keepEdited(); err != nil {
			m.quiet.Warn("edited", "nginx: the edited include could not be kept", "error", err)
		}
	}
	p.swapped = true
	return m.files.swap()
}

// proveOver runs the test where the staged file lies over the live one.
func (m *Manager) proveOver(ctx context.Context, set settings, c change, p *proof) error {
	if c.before == nil {
		// There must be something to mount over. A file with nothing but our first line changes nothing for anybody.
		if err := m.files.create(m.files.live, []byte(marker+"\n")); err != nil {
			return err
		}
		p.undo = func() { os.Remove(m.files.live) }
	}
	var testErr error
	err := withFileOver(m.files.stage, m.files.live, func() {
		p.v, testErr = m.ngx.test(ctx, set.pidFile, m.files.live)
	})
	return errors.Join(err, testErr)
}

// blame finds out whose fault a refusal is. When nginx refuses the user's configuration with the former file as well,
// and does not name that file, the user's own part is broken.
func (m *Manager) blame(ctx context.Context, set settings, p proof) (Result, error) {
	if p.alone {
		return Refused, fmt.Errorf("nginx refuses the new include: %s", p.v.text)
	}
	plain, err := m.ngx.test(ctx, set.pidFile, m.files.live)
	if err != nil {
		return Failed, err
	}
	if !plain.ok && !plain.names(m.files.live) {
		return Failed, fmt.Errorf("nginx's own configuration is broken, nothing is changed until it is repaired: %s", plain.text)
	}
	return Refused, fmt.Errorf("nginx refuses the new include together with its configuration: %s", p.v.text)
}

// putBack restores what was before a swap.
func (m *Manager) putBack(c change) error {
	switch {
	case c.before == nil:
		if err := os.Remove(m.files.live); err != nil {
			return fmt.Errorf("remove the new include file: %w", err)
		}
		return m.files.sync()
	case m.good != nil && bytes.Equal(c.before, m.good):
		return m.restoreGood()
	default:
		if err := m.files.write(m.files.stage, c.before); err != nil {
			return err
		}
		return m.files.swap()
	}
}

// restoreGood puts the last good file back. The first step works on a full disk; the second parts the two inodes again.
func (m *Manager) restoreGood() error {
	have, err := readFile(m.files.good)
	if err != nil || !bytes.Equal(have, m.good) {
		// Somebody removed or changed our copy; write what we remember.
		if err := m.files.write(m.files.stage, m.good); err != nil {
			return err
		}
		return m.files.swap()
	}
	if err := m.files.restore(); err != nil {
		return err
	}
	if err := m.files.keepGood(m.good); err != nil {
		m.quiet.Warn("good", "nginx: the last good file shares its inode with the live one", "error", err)
	}
	return nil
}

// load makes nginx take the file that was just swapped in, and rolls back when it does not.
func (m *Manager) load(ctx context.Context, set settings, pid int, c change, out Outcome) (Outcome, error) {
	began := time.Now()
	out.Reloaded = true
	untouched, err := m.hup(ctx, pid, set.errorLog)
	took := time.Since(began)
	if err == nil {
		m.m.reload("ok", took)
		m.lastTook, m.failures, m.since = took, 0, time.Time{}
		m.good, m.model, m.modelOK = c.text, m.wantMod, true
		m.setLive(true)
		m.drifted = [32]byte{}
		m.m.generation.Inc()
		if err := m.files.keepGood(c.text); err != nil {
			// The reload is a fact; without the copy the next start reloads once more.
			m.quiet.Warn("good", "nginx: the last good file could not be kept", "error", err)
		}
		out.Result = Applied
		return out, nil
	}
	if ctx.Err() != nil {
		out.Result = Failed
		return out, fmt.Errorf("stopped before the reload was verified, the next start reloads again: %w", ctx.Err())
	}
	m.m.reload("failed", took)
	m.failures++
	return m.rollBack(ctx, set, pid, c, out, untouched, err)
}

// rollBack puts the last good file back. When the old workers all go on, nginx never left its old configuration and a
// second SIGHUP would only fail the same way; else nginx is asked to load the old file again.
func (m *Manager) rollBack(ctx context.Context, set settings, pid int, c change, out Outcome, untouched bool, cause error) (Outcome, error) {
	if m.good != nil {
		// The former file may have been an edit or never verified; the last good one is better.
		c.before = m.good
	}
	if err := m.putBack(c); err != nil {
		out.Result = Failed
		return out, fmt.Errorf("the reload failed (%w), and the last good file could not be put back: %w", cause, err)
	}
	m.setLive(m.good != nil)
	if !untouched {
		if _, err := m.hup(ctx, pid, set.errorLog); err != nil {
			out.Result = Failed
			return out, fmt.Errorf("the reload failed (%w), the last good file is back, but nginx did not load it: %w", cause, err)
		}
	}
	out.Result = RolledBack
	err := fmt.Errorf("the reload failed and the last good file is back: %w", cause)
	out.Why = err.Error()
	return out, err
}

// pollEvery is the distance of looks at nginx's processes.
const pollEvery = 10 * time.Millisecond

// hup sends SIGHUP and waits until every worker that is not leaving is new, and there is one. untouched is true when the
// master said [emerg] and all the workers from before go on: then the old configuration is still the running one.
func (m *Manager) hup(ctx context.Context, pid int, errorLog string) (untouched bool, err error) {
	tail := openTail(errorLog)
	defer tail.close()
	before, err := workersOf(pid)
	if err != nil {
		return false, err
	}
	old := maps.Clone(before.serving)
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return false, fmt.Errorf("signal the nginx master %d: %w", pid, err)
	}
	timeout := time.NewTimer(m.o.VerifyTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	taken := false
	for {
		now, err := workersOf(pid)
		if err != nil {
			return false, err
		}
		switch {
		case !taken && hupPending(pid):
			// Somebody else's reload is under way. These workers were there before the master took our signal, so
			// they are not the proof of ours.
			for w := range now.serving {
				old[w] = true
			}
		case !taken:
			// Taken by now, but perhaps after the look at the workers: only the next look counts.
			taken = true
		case len(now.serving) > 0 && !anyIn(now.serving, old):
			return false, nil
		default:
			if msg, final := tail.emerg(pid); final {
				return subset(before.serving, now.serving), fmt.Errorf("nginx did not take the configuration: %s", msg)
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-timeout.C:
			msg, _ := tail.emerg(pid)
			if msg == "" {
				msg = "its error log says nothing"
			}
			return false, fmt.Errorf("no new nginx workers within %v: %s", m.o.VerifyTimeout, msg)
		case <-tick.C:
		}
	}
}

func anyIn(a, b map[int]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

func subset(a, b map[int]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
