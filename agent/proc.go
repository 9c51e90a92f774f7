package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Proc names one process for all time: the kernel gives a pid to others later, but not with the same start time.
type Proc struct {
	PID int
	// Start is the start time in clock ticks since boot, field 22 of /proc/PID/stat.
	Start uint64
}

// String is "pid:start".
func (p Proc) String() string { return fmt.Sprintf("%d:%d", p.PID, p.Start) }

// maxPID is the kernel's own limit on 64-bit machines (PID_MAX_LIMIT).
const maxPID = 4 << 20

// ticksPerSecond is USER_HZ, which is 100 in every Linux ABI that Go supports.
const ticksPerSecond = 100

// errGone says that no such process exists any more.
var errGone = errors.New("no such process")

// procStat is the part of /proc/PID/stat that the agent needs.
type procStat struct {
	pid   int
	comm  string
	state byte
	ppid  int
	start uint64
}

// dead tells whether the process has ended and only its entry is left.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// parseStat reads a line of /proc/PID/stat (proc(5)): "pid (comm) state ppid ... starttime ...". The name may hold spaces,
// parentheses and newlines, so fields are counted from the last ')'.
func parseStat(b []byte) (procStat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return procStat{}, errors.New("parse a process's stat line: it has no name in parentheses")
	}
	fields := bytes.Fields(b[end+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("parse a process's stat line: %d fields after the name, want at least 20", len(fields))
	}
	pid, ok1 := number(bytes.TrimSpace(b[:open]), maxPID)
	ppid, ok2 := number(fields[1], maxPID)
	start, ok3 := number(fields[19], 1<<62)
	if !ok1 || !ok2 || !ok3 || pid == 0 || len(fields[0]) != 1 {
		return procStat{}, errors.New("parse a process's stat line: pid, state, parent or start time is not what proc(5) says")
	}
	return procStat{pid: int(pid), comm: string(b[open+1 : end]), state: fields[0][0], ppid: int(ppid), start: start}, nil
}

// number reads a decimal number without sign or leading zeros, up to and including most.
func number(b []byte, most uint64) (uint64, bool) {
	if len(b) == 0 || len(b) > 19 || (len(b) > 1 && b[0] == '0') {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= most
}

// signals holds the signal masks of /proc/PID/status.
type signals struct{ pending, caught uint64 }

func (s signals) catches(sig unix.Signal) bool { return s.caught&(1<<(uint(sig)-1)) != 0 }
func (s signals) waits(sig unix.Signal) bool   { return s.pending&(1<<(uint(sig)-1)) != 0 }

// parseSignals reads SigPnd, ShdPnd and SigCgt from /proc/PID/status.
func parseSignals(b []byte) (signals, error) {
	var s signals
	found := 0
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch string(key) {
		case "SigPnd", "ShdPnd", "SigCgt":
		default:
			continue
		}
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			return signals{}, fmt.Errorf("parse %s of a process's status: it is not a mask", key)
		}
		found++
		if string(key) == "SigCgt" {
			s.caught = mask
		} else {
			s.pending |= mask
		}
	}
	if found != 3 {
		return signals{}, fmt.Errorf("parse a process's status: %d signal masks, want 3", found)
	}
	return s, nil
}

// parsePIDs reads a list of pids separated by white space, at most maxChildren of them.
func parsePIDs(b []byte) ([]int, error) {
	fields := bytes.Fields(b)
	if len(fields) > maxChildren {
		return nil, fmt.Errorf("parse a list of children: %d of them, at most %d are allowed", len(fields), maxChildren)
	}
	pids := make([]int, 0, len(fields))
	for _, f := range fields {
		pid, ok := number(f, maxPID)
		if !ok || pid == 0 {
			return nil, errors.New("parse a list of children: an entry is not a pid")
		}
		pids = append(pids, int(pid))
	}
	return pids, nil
}

// maxChildren bounds the children of one master that the agent follows.
const maxChildren = 4096

// procReader reads /proc with one buffer. It is not safe for concurrent use.
type procReader struct{ buf []byte }

// file returns the content of /proc/NAME, valid until the next call; errGone when the process has ended.
func (r *procReader) file(name string) ([]byte, error) {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	f, err := os.Open("/proc/" + name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return nil, errGone
		}
		return nil, err
	}
	defer f.Close()
	n := 0
	for n < len(r.buf) {
		m, err := f.Read(r.buf[n:])
		n += m
		if err == io.EOF {
			return r.buf[:n], nil
		}
		if errors.Is(err, unix.ESRCH) {
			return nil, errGone
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("read %s: longer than %d bytes", name, len(r.buf))
}

func (r *procReader) stat(pid int) (procStat, error) {
	b, err := r.file(strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

func (r *procReader) signals(pid int) (signals, error) {
	b, err := r.file(strconv.Itoa(pid) + "/status")
	if err != nil {
		return signals{}, err
	}
	return parseSignals(b)
}

// children lists what the main thread of pid has forked, in the order of forking. The kernel may leave entries out while
// others end (proc(5)), so a missing one must be looked at before it is believed gone.
func (r *procReader) children(pid int) ([]int, error) {
	id := strconv.Itoa(pid)
	b, err := r.file(id + "/task/" + id + "/children")
	if err != nil {
		return nil, err
	}
	return parsePIDs(b)
}

// alive tells whether p runs and is no zombie. Where /proc hides other users' processes (hidepid), kill(2) decides: a
// process that cannot be looked at is not believed dead.
func (r *procReader) alive(p Proc) bool {
	s, err := r.stat(p.PID)
	switch {
	case err == nil:
		return s.start == p.Start && !s.dead()
	case errors.Is(err, errGone):
		return !errors.Is(unix.Kill(p.PID, 0), unix.ESRCH)
	}
	return true
}

// sinceBoot is the clock in which start times count.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// age is how long p has been running, 0 when that cannot be told.
func (p Proc) age(boot time.Duration) time.Duration {
	seconds := p.Start / ticksPerSecond
	if seconds > uint64(boot/time.Second) {
		return 0
	}
	started := time.Duration(seconds)*time.Second + time.Duration(p.Start%ticksPerSecond)*(time.Second/ticksPerSecond)
	return max(boot-started, 0)
}
