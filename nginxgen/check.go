package nginxgen

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Check tells what stands in the way of managing the include files, for `tidegate check`: nginx is there, its configuration
// passes, the files are ours or missing, their folders exist, and the main configuration includes them. It changes nothing
// and needs no running nginx, but the right to run `nginx -T`.
func Check(ctx context.Context, o Options) error {
	m, err := New(o)
	if err != nil {
		return err
	}
	if _, err := m.ngx.find(); err != nil {
		return err
	}
	set, err := m.ngx.settings(ctx)
	if err != nil {
		return err
	}
	for _, dir := range m.o.watched() {
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return fmt.Errorf("the folder %s of the nginx include file does not exist", dir)
		}
	}
	if err := m.start(); err != nil {
		return err
	}
	var parts []part
	for path := range m.good {
		parts = append(parts, part{files: filesFor(path)})
	}
	c, _, err := m.compare(parts)
	if err != nil {
		return err
	}
	return m.checkIncluded(ctx, set, c)
}

func (m *Manager) checkIncluded(ctx context.Context, set settings, c change) error {
	defer guardPidFile(set.pidFile)()
	out, err := m.ngx.run(ctx, maxUserTotal, m.ngx.args("-T")...)
	if broken(err) {
		return fmt.Errorf("run nginx -T: %w", err)
	}
	if v := judge(out[:strings.Index(out+"# configuration file ", "# configuration file ")], err, c.paths()...); !v.ok {
		for _, l := range c.parts {
			if l.before == nil && v.names(l.live) {
				return fmt.Errorf("the nginx include file %s does not exist yet, `tidegate init` writes it: %s", l.live, v.text)
			}
		}
		return fmt.Errorf("nginx refuses its configuration: %s", v.text)
	}
	for _, l := range c.parts {
		if err := m.isIncluded(out, l.live, l.before != nil); err != nil {
			return fmt.Errorf("%w: add the line `include %s;` to its %s block", err, l.live, map[bool]string{false: "http", true: "stream"}[l.live == m.o.StreamFile])
		}
	}
	if m.o.Folder == "" {
		return nil
	}
	if err := m.isIncluded(out, m.o.pathOf("any"), false); err != nil {
		return fmt.Errorf("%w: add the line `include %s/*.conf;` to its http block", err, m.o.Folder)
	}
	return nil
}

// isIncluded wants a file among those that `nginx -T` printed or, when it does not exist, an include that matches it.
func (m *Manager) isIncluded(out, path string, exists bool) error {
	missing := fmt.Errorf("%s does not include %s", m.o.Main, path)
	if !exists {
		ok, err := includes(m.o.Main, path)
		if err == nil && !ok {
			err = missing
		}
		return err
	}
	mine, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the include file: %w", err)
	}
	for line := range strings.Lines(out) {
		printed, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimRight(line, "\r\n"), ":"), "# configuration file ")
		if !ok {
			continue
		}
		if fi, err := os.Stat(printed); err == nil && os.SameFile(fi, mine) {
			return nil
		}
	}
	return missing
}
