package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ID names one process for all time: the kernel gives a pid to others later, but not with the same start time.
type ID struct {
	PID int
	// Start is the start time in clock ticks since boot, field 22 of /proc/PID/stat.
	Start uint64
}

// String is "pid:start".
func (p ID) String() string { return fmt.Sprintf("%d:%d", p.PID, p.Start) }

// MaxPID is the kernel's own limit on 64-bit machines (PID_MAX_LIMIT).
const MaxPID = 4 << 20

// TicksPerSecond is the clock of start times and of processor time, USER_HZ, which is 100 in every Linux ABI that Go supports.
const TicksPerSecond = 100

// ErrGone says that no such process exists any more.
var ErrGone = errors.New("no such process")

// Stat is the part of /proc/PID/stat that the agent needs.
type Stat struct {
	PID   int
	Comm  string
	State byte
	PPID  int
	// Start is as in ID.
	Start uint64
	// Used is the processor time, user and system, in clock ticks; Reaped that of the children it has waited for, and of theirs.
	Used, Reaped uint64
}

// Dead tells whether the process has ended and only its entry is left.
func (s Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// ParseStat reads a line of /proc/PID/stat (proc(5)): "pid (comm) state ppid ... starttime ...". The name may hold spaces,
// parentheses and newlines, so fields are counted from the last ')'.
func ParseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Stat{}, errors.New("parse a process's stat line: it has no name in parentheses")
	}
	fields := bytes.Fields(b[end+1:])
	if len(fields) < 20 {
		return Stat{}, fmt.Errorf("parse a process's stat line: %d fields after the name, want at least 20", len(fields))
	}
	pid, ok1 := Number(bytes.TrimSpace(b[:open]), MaxPID)
	ppid, ok2 := Number(fields[1], MaxPID)
	start, ok3 := Number(fields[19], 1<<62)
	if !ok1 || !ok2 || !ok3 || pid == 0 || len(fields[0]) != 1 {
		return Stat{}, errors.New("parse a process's stat line: pid, state, parent or start time is not what proc(5) says")
	}
	times := [4]uint64{} // utime, stime, cutime, cstime
	for i := range times {
		var ok bool
		if times[i], ok = Number(fields[11+i], 1<<60); !ok {
			return Stat{}, errors.New("parse a process's stat line: its processor time is not what proc(5) says")
		}
	}
	return Stat{PID: int(pid), Comm: string(b[open+1 : end]), State: fields[0][0], PPID: int(ppid), Start: start,
		Used: times[0] + times[1], Reaped: times[2] + times[3]}, nil
}

// Number reads a decimal number without sign or leading zeros, up to and including most.
func Number(b []byte, most uint64) (uint64, bool) {
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

// Signals holds the signal masks of /proc/PID/status.
type Signals struct{ pending, caught uint64 }

// Catches tells whether the process has a handler for sig.
func (s Signals) Catches(sig unix.Signal) bool { return s.caught&(1<<(uint(sig)-1)) != 0 }

// Waits tells whether sig was sent and is not delivered yet.
func (s Signals) Waits(sig unix.Signal) bool { return s.pending&(1<<(uint(sig)-1)) != 0 }

// ParseSignals reads SigPnd, ShdPnd and SigCgt from /proc/PID/status.
func ParseSignals(b []byte) (Signals, error) {
	var s Signals
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
			return Signals{}, fmt.Errorf("parse %s of a process's status: it is not a mask", key)
		}
		found++
		if string(key) == "SigCgt" {
			s.caught = mask
		} else {
			s.pending |= mask
		}
	}
	if found != 3 {
		return Signals{}, fmt.Errorf("parse a process's status: %d signal masks, want 3", found)
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
		pid, ok := Number(f, MaxPID)
		if !ok || pid == 0 {
			return nil, errors.New("parse a list of children: an entry is not a pid")
		}
		pids = append(pids, int(pid))
	}
	return pids, nil
}

// maxChildren bounds the children of one master that the agent follows.
const maxChildren = 4096

// wholeRead is what a first read returns less of only when there is no more.
const wholeRead = 2048

// Reader reads /proc with one buffer. It is not safe for concurrent use.
type Reader struct{ buf []byte }

// file returns the content of /proc/NAME, valid until the next call; ErrGone when the process has ended. Bare system calls:
// an os.File costs as many again.
func (r *Reader) file(name string) ([]byte, error) {
	fd, err := again(func() (int, error) { return unix.Open("/proc/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("open /proc/%s: %w", name, err)
	}
	defer unix.Close(fd)
	b, err := r.all(fd)
	if err != nil && !errors.Is(err, ErrGone) {
		return nil, fmt.Errorf("read /proc/%s: %w", name, err)
	}
	return b, err
}

// all returns the content of an open file from its beginning, valid until the next call.
func (r *Reader) all(fd int) ([]byte, error) {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	n := 0
	for n < len(r.buf) {
		m, err := again(func() (int, error) { return unix.Pread(fd, r.buf[n:], int64(n)) })
		if errors.Is(err, unix.ESRCH) {
			return nil, ErrGone
		}
		if err != nil {
			return nil, err
		}
		n += m
		// The kernel fills a page if it can, and no record of these files is longer than half of one: what is short is all.
		if m == 0 || n < wholeRead {
			return r.buf[:n], nil
		}
	}
	return nil, fmt.Errorf("longer than %d bytes", len(r.buf))
}

func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// Stat reads /proc/PID/stat; ErrGone when there is no such process.
func (r *Reader) Stat(pid int) (Stat, error) {
	b, err := r.file(strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(b)
}

// Signals reads the signal masks; ErrGone when there is no such process.
func (r *Reader) Signals(pid int) (Signals, error) {
	b, err := r.file(strconv.Itoa(pid) + "/status")
	if err != nil {
		return Signals{}, err
	}
	return ParseSignals(b)
}

// Title is the command line of pid with spaces between its arguments, which a server may have written anew to tell what the
// process is; ErrGone when there is no such process, empty for a zombie.
func (r *Reader) Title(pid int) (string, error) {
	b, err := r.file(strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")), nil
}

// Children lists what the main thread of pid has forked, in the order of forking. The kernel may leave entries out while
// others end (proc(5)), so a missing one must be looked at before it is believed gone.
func (r *Reader) Children(pid int) ([]int, error) {
	id := strconv.Itoa(pid)
	b, err := r.file(id + "/task/" + id + "/children")
	if err != nil {
		return nil, err
	}
	return parsePIDs(b)
}

// Alive tells whether p runs and is no zombie. Where /proc hides other users' processes (hidepid), kill(2) decides: a
// process that cannot be looked at is not believed dead.
func (r *Reader) Alive(p ID) bool {
	s, err := r.Stat(p.PID)
	switch {
	case err == nil:
		return s.Start == p.Start && !s.Dead()
	case errors.Is(err, ErrGone):
		return !errors.Is(unix.Kill(p.PID, 0), unix.ESRCH)
	}
	return true
}

// SinceBoot is the clock in which start times count.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Age is how long p has been running, 0 when that cannot be told.
func (p ID) Age(boot time.Duration) time.Duration {
	seconds := p.Start / TicksPerSecond
	if seconds > uint64(boot/time.Second) {
		return 0
	}
	started := time.Duration(seconds)*time.Second + time.Duration(p.Start%TicksPerSecond)*(time.Second/TicksPerSecond)
	return max(boot-started, 0)
}
