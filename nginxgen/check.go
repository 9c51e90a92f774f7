package nginxgen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Check tells what stands in the way of managing o.File, for `tidegate check`: nginx is there, its configuration passes,
// the include file is ours or missing, its folder exists, and the main configuration includes it. It changes nothing and
// needs no running nginx, but the right to run `nginx -T`.
func Check(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	n := o.nginx()
	if _, err := n.find(); err != nil {
		return err
	}
	set, err := n.settings(ctx)
	if err != nil {
		return err
	}
	m, err := New(o)
	if err != nil {
		return err
	}
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
	if fi, err := os.Stat(m.files.dir); err != nil || !fi.IsDir() {
		return fmt.Errorf("the folder %s of the nginx include file does not exist", m.files.dir)
	}
	return checkIncluded(ctx, n, set, o, live)
}

func checkIncluded(ctx context.Context, n nginx, set settings, o Options, live []byte) error {
	defer guardPidFile(set.pidFile)()
	out, err := n.run(ctx, maxUserTotal, n.args("-T")...)
	if broken(err) {
		return fmt.Errorf("run nginx -T: %w", err)
	}
	if v := judge(out[:strings.Index(out+"# configuration file ", "# configuration file ")], err, o.File); !v.ok {
		if live == nil && strings.Contains(v.text, o.File) {
			return fmt.Errorf("the nginx include file %s does not exist yet, `tidegate init` writes it: %s", o.File, v.text)
		}
		return fmt.Errorf("nginx refuses its configuration: %s", v.text)
	}
	if live == nil {
		ok, err := includes(o.Main, o.File)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
	}
	mine, err := os.Stat(o.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look at the include file: %w", err)
	}
	for line := range strings.Lines(out) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimRight(line, "\r\n"), ":"), "# configuration file ")
		if !ok || mine == nil {
			continue
		}
		if fi, err := os.Stat(path); err == nil && os.SameFile(fi, mine) {
			return nil
		}
	}
	return fmt.Errorf("%s does not include %s: add the line `include %s;` to its http block", o.Main, o.File, o.File)
}
