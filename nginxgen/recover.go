package nginxgen

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Recover is for the start of a process. When `nginx -t` fails because of our files, and passes with the last good ones,
// those are put back; else the live files are adopted as they are. Nothing is reloaded: the first Apply finds out whether
// the live files were loaded. With ReportOnly, what somebody else changed is left. An error leaves everything as it was.
func (m *Manager) Recover(ctx context.Context) error {
	if err := m.start(); err != nil {
		return err
	}
	empty, err := Render(Model{})
	if err != nil {
		return err
	}
	var parts []part
	for path, good := range m.good {
		if good == nil {
			good = empty
		}
		parts = append(parts, part{files: filesFor(path), text: good, stream: path == m.o.StreamFile})
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.live, b.live) })
	c, _, err := m.compare(parts)
	if err != nil {
		return err
	}
	m.setLive(m.journal == nil && c.verified())
	// Without a last good file there is nothing to go back to, unless it was new in a change that was cut short.
	c.parts = slices.DeleteFunc(c.parts, func(l look) bool { return l.good == nil && !m.journal.has(l.live, l.before) })
	c.markEdits(m.journal)
	if len(c.parts) == 0 || c.asWanted() {
		return nil
	}
	release, err := hold(m.o.anchors())
	if err != nil {
		return err
	}
	defer release()
	set, err := m.ngx.settings(ctx)
	if err != nil {
		return err
	}
	v, err := m.ngx.test(ctx, set.pidFile, c.paths()...)
	if err != nil || v.ok {
		return err
	}
	if drift := m.noteDrift(time.Now(), c.parts); drift != "" && m.o.ReportOnly {
		return fmt.Errorf("%s by somebody else and is left so (on_drift: report), and nginx refuses its configuration: %s", drift, v.text)
	}
	return m.recoverGood(ctx, set, c, v)
}

// markEdits notes which files are neither as verified nor what a change that was cut short was about to write.
func (c change) markEdits(j journal) {
	for i, l := range c.parts {
		if l.drift == "" && l.before != nil && !same(l.before, l.good) && !j.has(l.live, l.before) {
			c.parts[i].drift = "edited"
		}
	}
}

// recoverGood puts the last good files back when that makes the configuration pass.
func (m *Manager) recoverGood(ctx context.Context, set settings, c change, without verdict) error {
	defer c.unstage()
	prior := m.journal
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
		p.undo()
		return err
	}
	if prior == nil {
		// nginx cannot have loaded what it refuses, so it still runs with these.
		if err := m.forget(m.o.anchors()[0], nil); err != nil {
			return err
		}
		m.setLive(true)
	}
	m.o.Log.Warn("nginx refused the include; the last good one is back", "nginx", without.text)
	return nil
}

// countGenerations counts the generations of old workers that still have connections, 0 when nginx does not run.
func (m *Manager) countGenerations(ctx context.Context, now time.Time) int {
	if past, known := elapsed(now, m.pidLooked); m.pidFile == "" && (!known || past >= time.Minute) {
		m.pidLooked = now
		if set, err := m.ngx.settings(ctx); err == nil {
			m.pidFile = set.pidFile
		}
	}
	n := 0
	if pid, err := m.ngx.master(m.pidFile); m.pidFile != "" && err == nil {
		if w, err := workersOf(pid); err == nil {
			n = w.generations()
		}
	}
	m.m.oldGenerations.Set(float64(n))
	return n
}
