package phpfpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/agent/proc"
)

// testTimeout bounds one `php-fpm -tt`, which takes a few hundredths of a second.
const testTimeout = 5 * time.Second

// masterTitle begins the title of a master; the path of its configuration follows in parentheses.
const masterTitle = "php-fpm: master process ("

// settings are those of the master and of one pool that matter here, as php-fpm itself reads them.
type settings struct {
	// controlTimeout is process_control_timeout, 0 when requests in progress are cut off.
	controlTimeout time.Duration
	// manager is static, dynamic or ondemand.
	manager     string
	maxChildren int
	// listen and statusListen are addresses as php-fpm spells them, empty when there is none.
	listen, statusListen string
}

// program is a php-fpm and the configuration that it runs with.
type program struct{ path, dir, config string }

// programOf reads from /proc which program a master runs and, from its title, which configuration.
func programOf(master proc.ID, title string) (program, error) {
	config, isMaster := strings.CutPrefix(title, masterTitle)
	config, ends := strings.CutSuffix(config, ")")
	if !isMaster || !ends || config == "" {
		return program{}, fmt.Errorf("the title of the master %d does not name its configuration: %.100q", master.PID, title)
	}
	p := fmt.Sprintf("/proc/%d/", master.PID)
	path, err := os.Readlink(p + "exe")
	if err == nil {
		var dir string
		dir, err = os.Readlink(p + "cwd")
		if !filepath.IsAbs(config) {
			config = filepath.Join(dir, config)
		}
		// An upgrade has put another program into the file's place; the master runs that one at its next start.
		path = strings.TrimSuffix(path, " (deleted)")
		if err == nil {
			return program{path, dir, config}, nil
		}
	}
	return program{}, fmt.Errorf("see what program the php-fpm master %d runs: %w", master.PID, err)
}

// settings lets php-fpm test and show its configuration, with ceiling as pm.max_children of the pool when it is above 0.
// It does so from a file of our own that includes the live ones, so that these stay as they are; the log goes nowhere,
// since -tt would write its whole output to the master's, and its level is the one at which -tt prints plain lines.
func (p program) settings(pool string, ceiling int) (settings, error) {
	text := fmt.Sprintf("include = %q\n[global]\nerror_log = /dev/null\nlog_level = notice\n", p.config)
	if ceiling > 0 {
		text += fmt.Sprintf("[%s]\npm.max_children = %d\n", pool, ceiling)
	}
	f, err := os.CreateTemp("", "tidegate-fpm-*.conf")
	if err != nil {
		return settings{}, fmt.Errorf("make a file to test php-fpm's configuration: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return settings{}, fmt.Errorf("write a file to test php-fpm's configuration: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, "--fpm-config", f.Name(), "-tt")
	cmd.Dir, cmd.WaitDelay = p.dir, time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return settings{}, fmt.Errorf("%s refuses %s: %s", p.path, p.config, complaint(out, err))
	}
	return parseSettings(out, pool)
}

// complaint is what php-fpm says is wrong, on one line.
func complaint(out []byte, err error) string {
	for line := range bytes.Lines(out) {
		for _, level := range []string{"ERROR: ", "ALERT: "} {
			if _, text, ok := bytes.Cut(line, []byte(level)); ok {
				return fmt.Sprintf("%.300s", bytes.TrimSpace(text))
			}
		}
	}
	return err.Error()
}

// parseSettings reads the output of `php-fpm -tt`: lines "[date] NOTICE: [section]" and "[date] NOTICE: \tkey = value".
func parseSettings(out []byte, pool string) (settings, error) {
	var s settings
	section, found := "", false
	for line := range bytes.Lines(out) {
		_, text, ok := strings.Cut(string(line), "NOTICE: ")
		text = strings.TrimSpace(text)
		if !ok || text == "" {
			continue
		}
		if name, ok := strings.CutPrefix(text, "["); ok {
			section = strings.TrimSuffix(name, "]")
			found = found || section == pool
			continue
		}
		key, value, _ := strings.Cut(text, " = ")
		if err := s.set(section == "global", section == pool, key, value); err != nil {
			return settings{}, err
		}
	}
	if !found {
		return settings{}, fmt.Errorf("php-fpm's configuration has no pool %s", pool)
	}
	return s, nil
}

// set takes one line of the global section or of the pool's.
func (s *settings) set(global, pool bool, key, value string) (err error) {
	if value == "undefined" {
		value = ""
	}
	switch {
	case global && key == "process_control_timeout":
		s.controlTimeout, err = time.ParseDuration(value)
	case pool && key == "pm":
		s.manager = value
	case pool && key == "pm.max_children":
		s.maxChildren, err = strconv.Atoi(value)
	case pool && key == "listen":
		s.listen = value
	case pool && key == "pm.status_listen":
		s.statusListen = value
	}
	if err != nil {
		return fmt.Errorf("php-fpm -tt shows %s = %.80q, which is not understood", key, value)
	}
	return nil
}

// badStatusAddress says why addr, "unix:/path" or "HOST:PORT", is not where the status is to be asked; nil when it may be.
func (s settings) badStatusAddress(pool, addr string) error {
	switch {
	case s.statusListen == "":
		return fmt.Errorf("the pool %s has no pm.status_listen, so its status would wait behind the busy workers: give it one of its own", pool)
	case reaches(addr, s.listen) && !reaches(addr, s.statusListen):
		return fmt.Errorf("%s is where the pool %s takes its requests, and its status waits behind the busy workers there: ask at its pm.status_listen, %s",
			addr, pool, s.statusListen)
	}
	return nil
}

// reaches tells whether addr leads to a listener that php-fpm spells listen: a path, a port, or ADDRESS:PORT.
func reaches(addr, listen string) bool {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return filepath.Clean(path) == filepath.Clean(listen)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	at, listenPort, err := net.SplitHostPort(listen)
	if err != nil {
		at, listenPort = "", listen
	}
	return port == listenPort && (at == host || at == "" || net.ParseIP(at).IsUnspecified())
}
