package nginxgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The titles that nginx gives its processes (ngx_setproctitle).
const (
	titleMaster = "nginx: master process"
	titleWorker = "nginx: worker process"
	titleLeaves = "nginx: worker process is shutting down"
)

// errNoMaster marks every way in which there is no master to signal.
var errNoMaster = errors.New("nginx is not running")

// master reads the pid file and makes sure that a living nginx master that we may signal stands behind it. A signal to
// what a stale pid file names would hit a stranger, and `nginx -t` leaves an empty pid file where there was none.
func (n nginx) master(pidFile string) (int, error) {
	text, err := readSmall(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w: there is no pid file %s", errNoMaster, pidFile)
	}
	if err != nil {
		return 0, fmt.Errorf("read the pid file: %w", err)
	}
	word := strings.TrimSpace(string(text))
	if word == "" {
		return 0, fmt.Errorf("%w: the pid file %s is empty (`nginx -t` makes an empty one when nginx is down)", errNoMaster, pidFile)
	}
	pid, err := strconv.Atoi(word)
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%w: the pid file %s holds %s, not a process id", errNoMaster, pidFile, shown(word))
	}
	title, err := cmdline(pid)
	if err != nil || !strings.HasPrefix(title, titleMaster) {
		return 0, fmt.Errorf("%w: the pid file %s names process %d, which is no nginx master", errNoMaster, pidFile, pid)
	}
	if err := syscall.Kill(pid, 0); err != nil && len(n.reloadCommand) == 0 {
		return 0, fmt.Errorf("signal the nginx master %d: %w (run tidegate as root or as the master's user, or set nginx.reload_command)", pid, err)
	}
	return pid, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}

// cmdline returns a process's title; nginx writes its own over the arguments.
func cmdline(pid int) (string, error) {
	text, err := readSmall(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(bytes.ReplaceAll(bytes.TrimRight(text, "\x00 "), []byte{0}, []byte{' '})), err
}

// workers are the worker processes of a master.
type workers struct {
	serving, leaving map[int]bool
}

func workersOf(master int) (workers, error) {
	w := workers{serving: map[int]bool{}, leaving: map[int]bool{}}
	pids, err := childrenOf(master)
	if err != nil {
		return w, err
	}
	for _, pid := range pids {
		title, err := cmdline(pid)
		switch {
		case err != nil:
			// It ended between the two looks.
		case strings.HasPrefix(title, titleLeaves):
			w.leaving[pid] = true
		case strings.HasPrefix(title, titleWorker), strings.HasPrefix(title, titleMaster):
			// A child that still bears the master's title has just been forked and will be a worker.
			w.serving[pid] = true
		}
	}
	return w, nil
}

// generations counts the reloads that leaving workers are from. The workers of one are started one right after the other,
// those of two at least a tenth of a second apart, as the master waits that long before it tells the old ones to go.
func (w workers) generations() int {
	var starts []int
	for pid := range w.leaving {
		if at, err := startOf(pid); err == nil {
			starts = append(starts, at)
		}
	}
	slices.Sort(starts)
	n := 0
	for i, at := range starts {
		if i == 0 || at-starts[i-1] >= ticksPerSecond/10 {
			n++
		}
	}
	return n
}

// ticksPerSecond is the unit of times in /proc/PID/stat, which Linux has fixed for user space.
const ticksPerSecond = 100

// startOf returns when a process started, in ticks since the machine did.
func startOf(pid int) (int, error) {
	text, err := readSmall(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything. After it come fields 3 and on; the start is field 22.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	return strconv.Atoi(f[19])
}

// childrenOf reads /proc/PID/task/PID/children, or looks through all processes on a kernel without that file.
func childrenOf(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err == nil {
		return numbers(strings.Fields(string(text))), nil
	}
	if _, gone := os.Stat(fmt.Sprintf("/proc/%d/stat", pid)); gone != nil {
		return nil, fmt.Errorf("%w: master %d has ended", errNoMaster, pid)
	}
	return childrenByParent(pid)
}

func childrenByParent(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("look through /proc: %w", err)
	}
	var out []int
	for _, path := range stats {
		text, err := readSmall(path)
		// The name in parentheses may hold anything; the state and the parent follow its last parenthesis.
		i := bytes.LastIndexByte(text, ')')
		if err != nil || i < 0 {
			continue
		}
		if f := strings.Fields(string(text[i+1:])); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, numbers([]string{filepath.Base(filepath.Dir(path))})...)
		}
	}
	return out, nil
}

func numbers(words []string) []int {
	var out []int
	for _, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// hupPending tells whether a SIGHUP waits for the master: it blocks signals while it reconfigures, so a HUP that comes
// during somebody else's reload stays pending until that one is over.
func hupPending(master int) bool {
	text, err := readSmall(fmt.Sprintf("/proc/%d/status", master))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		key, val, _ := strings.Cut(line, ":")
		if key != "ShdPnd" && key != "SigPnd" {
			continue
		}
		if mask, err := strconv.ParseUint(strings.TrimSpace(val), 16, 64); err == nil && mask&(1<<(syscall.SIGHUP-1)) != 0 {
			return true
		}
	}
	return false
}

// logTail reads what is added to a log after it was opened.
type logTail struct {
	f   *os.File
	off int64
}

// openTail returns nil when the log cannot be read (stderr, syslog, no right): then only the time-out tells of a failure.
func openTail(path string) *logTail {
	if path == "" {
		return nil
	}
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	off, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil
	}
	return &logTail{f: f, off: off}
}

func (t *logTail) close() {
	if t != nil {
		t.f.Close()
	}
}

// emerg returns the last [emerg] message that this master wrote and whether it is final. A port in use is tried five
// times, half a second apart, before nginx gives up with "still could not bind()".
func (t *logTail) emerg(master int) (msg string, final bool) {
	if t == nil {
		return "", false
	}
	if fi, err := t.f.Stat(); err == nil && fi.Size() < t.off {
		t.off = 0
	}
	text, err := io.ReadAll(io.NewSectionReader(t.f, t.off, 1<<20))
	if err != nil {
		return "", false
	}
	tag := fmt.Sprintf("[emerg] %d#", master)
	for line := range strings.Lines(string(text)) {
		_, rest, ok := strings.Cut(line, tag)
		if !ok || !strings.HasSuffix(line, "\n") {
			continue
		}
		_, said, _ := strings.Cut(strings.TrimSpace(rest), ": ")
		if strings.HasPrefix(said, "still could not bind()") {
			final = true
			continue
		}
		msg = said
		final = final || !strings.HasPrefix(said, "bind() to ")
	}
	return msg, final
}
