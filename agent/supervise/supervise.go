package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Options configure the workers of one application.
type Options struct {
	// Name is the application's; it names files in StateDir.
	Name string
	// StateDir is a folder that lasts as long as the processes do, best below /run. It is made when missing.
	StateDir string
	// Listen is "ADDRESS:PORT" with an IP address, or "unix:/path".
	Listen string
	// SocketMode is the mode of a unix socket; 0 means 0660.
	SocketMode os.FileMode
	// Command is the program of one worker and its arguments; no shell looks at it.
	Command []string
	// Directory is where a worker starts, "/" when empty.
	Directory string
	// User and Group are names or numbers; only root may name others. Empty: as the agent.
	User, Group string
	// EnvFile holds NAME=VALUE lines, read at each start.
	EnvFile string
	// Umask is a worker's, 022 usually.
	Umask int
	// Log is a file for what a worker prints, with %d for its number; empty: the agent's standard error.
	Log string
	// StopSignal asks a worker to finish and go; 0 means SIGTERM. After StopDeadline it is killed; 0 means 30 s.
	StopSignal   unix.Signal
	StopDeadline time.Duration
	// IdleZero is how long a woken worker must be idle before the target 0 counts again; 0 means 60 s.
	IdleZero time.Duration
	// Ready says how a worker is known to be ready.
	Ready Readiness
	// StartDeadline is how long a worker may take to say READY=1; 0 means 60 s.
	StartDeadline time.Duration
	// Min and Max bound the workers; Min may be 0.
	Min, Max int
	// Holder is the command that runs Hold; without it the listener is lost when agent and workers are gone at once.
	Holder []string
}

// Readiness says how a worker is known to be ready. The zero value leaves it to marks, and to the worker's age (1 s) where
// the application makes none.
type Readiness struct {
	// Notify: by READY=1 to NOTIFY_SOCKET (sd_notify(3)).
	Notify bool
	// After: by its age, when above 0.
	After time.Duration
}

const (
	// stable is the age at which a worker's end is no early end any more.
	stable = 10 * time.Second
	// firstPause and longestPause bound the pause after early ends, which doubles each time.
	firstPause, longestPause = 500 * time.Millisecond, 30 * time.Second
	// backlog is how many connections may wait; the kernel lowers it to net.core.somaxconn.
	backlog = 4096
	// listenFD is where a worker finds the listener (SD_LISTEN_FDS_START).
	listenFD = 3
)

// Processes is the actuator for supervised workers. It is for one goroutine.
type Processes struct {
	opt  Options
	proc proc.Reader

	opened   bool
	lock     *os.File
	null     *os.File
	listener int
	holder   holder
	notify   notifier

	workers []*worker
	// wanted is the last target, NoTarget before the first.
	wanted int
	wake   wake
	back   backoff
	// boot is the time of the last Observe since boot.
	boot    time.Duration
	waiting bool
	problem string

	exits, starts, wakes, kills atomic.Uint64
}

// worker is one supervised process.
type worker struct {
	n  int
	id proc.ID
	// pidfd becomes readable when the process has ended.
	pidfd int
	// ours: it is a child of this process. Otherwise init reaps it, and its exit status is not known.
	ours bool
	// adopted: an earlier agent started it.
	adopted bool
	ready   bool
	// told is when it was told to leave, since boot; 0 when it was not.
	told   time.Duration
	killed bool
}

// New returns the actuator; nothing is opened or started.
func New(o Options) *Processes {
	if o.SocketMode == 0 {
		o.SocketMode = 0o660
	}
	if o.Directory == "" {
		o.Directory = "/"
	}
	if o.StopSignal == 0 {
		o.StopSignal = unix.SIGTERM
	}
	for d, def := range map[*time.Duration]time.Duration{&o.StopDeadline: 30 * time.Second, &o.IdleZero: time.Minute, &o.StartDeadline: time.Minute} {
		if *d == 0 {
			*d = def
		}
	}
	return &Processes{opt: o, wanted: adapter.NoTarget, listener: -1, holder: holder{pidfd: -1}, notify: notifier{fd: -1},
		wake: wake{idle: o.IdleZero}}
}

// Owns is the listening address and the state file.
func (s *Processes) Owns() []string { return []string{s.opt.Listen, s.path(".json")} }

// Limits: it can do with no worker.
func (s *Processes) Limits() adapter.Limits { return adapter.Limits{Zero: true} }

// Draining tells whether p was told to leave.
func (s *Processes) Draining(p proc.ID) bool {
	for _, w := range s.workers {
		if w.id == p {
			return w.told > 0
		}
	}
	return false
}

// Counters are the starts, the ends that nobody asked for, the kills after the stop deadline, and the wakes.
func (s *Processes) Counters() []adapter.Counter {
	return []adapter.Counter{
		{Name: "worker_starts_total", Value: s.starts.Load}, {Name: "worker_exits_total", Value: s.exits.Load},
		{Name: "worker_kills_total", Value: s.kills.Load}, {Name: "worker_wakes_total", Value: s.wakes.Load},
	}
}

// Queue tells what waits in front of the workers; nil where the listener cannot tell (a unix socket).
func (s *Processes) Queue() adapter.Queue {
	if strings.HasPrefix(s.opt.Listen, "unix:") {
		return nil
	}
	return tcpQueue{s}
}

// tcpQueue asks a listening TCP socket for its accept queue.
type tcpQueue struct{ s *Processes }

// Queued reads the accept queue and its limit: a listening socket tells them in these two fields (tcp_diag(7) does too).
func (q tcpQueue) Queued() (adapter.Waiting, error) {
	if !q.s.opened {
		return adapter.Waiting{}, fmt.Errorf("the listener %s is not open", q.s.opt.Listen)
	}
	info, err := unix.GetsockoptTCPInfo(q.s.listener, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil {
		return adapter.Waiting{}, fmt.Errorf("ask the listener %s for its queue: %w", q.s.opt.Listen, err)
	}
	return adapter.Waiting{Queued: int(info.Unacked), Limit: int(info.Sacked)}, nil
}

// Close lets go of everything and ends nothing: workers, listener and holder stay.
func (s *Processes) Close() error {
	for _, w := range s.workers {
		_ = unix.Close(w.pidfd)
	}
	s.workers = nil
	s.shut()
	return nil
}

// shut closes what open has opened.
func (s *Processes) shut() {
	s.opened = false
	s.holder.close()
	s.notify.close()
	if s.listener >= 0 {
		_ = unix.Close(s.listener)
		s.listener = -1
	}
	if s.lock != nil {
		// Closing is not enough: a process that is being forked just now may still have the file.
		_ = unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
	}
	for _, f := range []**os.File{&s.null, &s.lock} {
		if *f != nil {
			_ = (*f).Close()
			*f = nil
		}
	}
}

// path is a file of this application in the state folder.
func (s *Processes) path(suffix string) string {
	return filepath.Join(s.opt.StateDir, s.opt.Name+suffix)
}
