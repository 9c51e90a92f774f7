package nginxgen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// rollBack puts the last good files back. When the old workers all go on, nginx never left its old configuration and a
// second SIGHUP would only fail the same way; else nginx is asked to load the old files again.
func (m *Manager) rollBack(ctx context.Context, set settings, pid int, c change, out Outcome, untouched bool, cause error) (Outcome, error) {
	var back []look
	for _, l := range m.inOrder(c) {
		if l.good != nil {
			// The former file may have been an edit or never verified; the last good one is better.
			l.before = l.good
		}
		back = append(back, l)
	}
	if err := m.putBack(back); err != nil {
		out.Result = Failed
		return out, fmt.Errorf("the reload failed (%w), and the last good file could not be put back: %w", cause, err)
	}
	m.step("all back")
	if !untouched {
		began := time.Now()
		m.bucket = m.bucket.Take(m.budg, m.lastTry)
		_, err := m.hup(ctx, pid, set.errorLog, nil)
		if err != nil {
			m.m.reload(ReasonRollback, "failed", time.Since(began))
			out.Result = Failed
			return out, fmt.Errorf("the reload failed (%w), the last good file is back, but nginx did not load it: %w", cause, err)
		}
		m.m.reload(ReasonRollback, "ok", time.Since(began))
	}
	if known := c.known || !untouched; known {
		if err := m.forget(m.o.anchors()[0], nil); err != nil {
			m.quiet.Warn("good", "nginx: the note of a change that is over could not be removed", "error", err)
		}
		m.setLive(!slices.ContainsFunc(c.parts, func(l look) bool { return l.good == nil && l.before != nil }))
	}
	out.Result = RolledBack
	err := fmt.Errorf("the reload failed and the last good file is back: %w", cause)
	out.Why = err.Error()
	return out, err
}

// putBack restores what was before a swap, the last file first.
func (m *Manager) putBack(swapped []look) error {
	var errs []error
	for _, l := range slices.Backward(swapped) {
		errs = append(errs, m.putOneBack(l))
		m.step("put back " + l.live)
	}
	return errors.Join(errs...)
}

func (m *Manager) putOneBack(l look) error {
	switch {
	case l.drift == "unreadable":
		// What was in it is kept beside it, perhaps; the last good one is sure.
		return m.restoreGood(l)
	case l.before == nil:
		if err := os.Remove(l.live); err != nil {
			return fmt.Errorf("remove the new include file: %w", err)
		}
		return l.sync()
	case l.good != nil && same(l.before, l.good):
		return m.restoreGood(l)
	default:
		if err := l.write(l.stage, l.before); err != nil {
			return err
		}
		return l.swap()
	}
}

// restoreGood puts the last good file back. The first step works on a full disk; the second parts the two inodes again.
func (m *Manager) restoreGood(l look) error {
	have, err := readFile(l.files.good)
	if err != nil || !same(have, l.good) {
		// Somebody removed or changed our copy; write what we remember.
		if err := l.write(l.stage, l.good); err != nil {
			return err
		}
		return l.swap()
	}
	if err := l.restore(); err != nil {
		return err
	}
	if err := l.keepGood(l.good); err != nil {
		m.quiet.Warn("good", "nginx: the last good file shares its inode with the live one", "error", err)
	}
	return nil
}

// forget takes the note of a change away when all is back, or puts the one before in its place.
func (m *Manager) forget(anchor files, prior journal) error {
	m.journal = prior
	if prior != nil {
		return prior.begin(anchor)
	}
	return journal{}.end(anchor)
}
