package signals

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// pidFileGrace is how long a missing pid file is overlooked while its master lives: gunicorn removes and makes it anew
// during a reload.
const pidFileGrace = time.Second

// Master is the actuator for a master that takes TTIN and TTOU. It is for one goroutine.
type Master struct {
	kind    kind
	pidFile string
	proc    proc.Reader
	family  proc.Children
	steer   steer

	master proc.ID
	file   proc.FileID
	lastOK time.Time
	// numbers are those of the children known to be workers.
	numbers map[proc.ID]int
	// children are the workers of the last Observe, oldest first; leaving are the same, who would leave first before the
	// others.
	children, leaving []proc.ID
}

// NewGunicorn returns the actuator for the gunicorn master (20.1 and later) named by pidFile, an absolute path: workers are
// its children, TTOU lets the oldest one finish and go. It keeps least to most workers, whatever the target; at least 1
// stays in any case. Nothing is opened.
func NewGunicorn(pidFile string, least, most int) *Master {
	return newMaster(gunicornKind, pidFile, least, most)
}

// NewUnicorn returns the actuator for the Unicorn master named by pidFile, as NewGunicorn does: TTOU lets the worker with the
// highest number finish and go, also the last one; no workers is a number like any other.
func NewUnicorn(pidFile string, least, most int) *Master {
	return newMaster(unicornKind, pidFile, least, most)
}

// NewPuma returns the actuator for the master of a Puma cluster named by pidFile, as NewGunicorn does: TTOU lets the
// youngest worker finish and go; at least 1 stays.
func NewPuma(pidFile string, least, most int) *Master {
	return newMaster(pumaKind, pidFile, least, most)
}

func newMaster(k kind, pidFile string, least, most int) *Master {
	return &Master{kind: k, pidFile: pidFile, numbers: map[proc.ID]int{}, steer: steer{min: least, max: most, floor: k.floor}}
}

// Owns is the pid file.
func (m *Master) Owns() []string { return []string{filepath.Clean(m.pidFile)} }

// Limits tells whether the server can do with no worker, and who leaves first; there is no other bound.
func (m *Master) Limits() adapter.Limits {
	return adapter.Limits{Zero: m.kind.floor == 0, OldFirst: m.kind.oldFirst}
}

// Observe finds the master by its pid file and lists its workers.
func (m *Master) Observe(now time.Time) (adapter.Workers, error) {
	for range 3 {
		if err := m.look(now); err != nil {
			m.steer.blind()
			return adapter.Workers{}, err
		}
		// Children forked by a reload must not be taken for those before it.
		if _, id, err := proc.ReadPIDFile(m.pidFile); err != nil || id == m.file {
			break
		}
	}
	if len(m.children) == 0 && m.kind.floor > 0 {
		m.steer.blind()
		return adapter.Workers{}, fmt.Errorf("the master %d of %s has no worker process", m.master.PID, m.pidFile)
	}
	m.lastOK = now
	return adapter.Workers{Master: m.master, Children: m.children, Changes: m.steer.resets}, nil
}

// look finds the master and its workers: its children but for a successor master.
func (m *Master) look(now time.Time) error {
	if err := m.findMaster(now); err != nil {
		return err
	}
	children, err := m.family.Look(m.master)
	if err != nil {
		return err
	}
	if m.kind.successor != "" {
		if successor, _, err := proc.ReadPIDFile(m.pidFile + m.kind.successor); err == nil {
			children = slices.DeleteFunc(children, func(p proc.ID) bool { return p.PID == successor })
		}
	}
	m.takeWorkers(children)
	return nil
}

// takeWorkers keeps the children that are workers. A child that has just been forked, or that has begun another program,
// has no worker's title yet.
func (m *Master) takeWorkers(children []proc.ID) {
	workers := make([]worker, 0, len(children))
	numbers := make(map[proc.ID]int, len(children))
	m.children = m.children[:0]
	for _, p := range children {
		n, known := m.numbers[p]
		if !known && m.kind.worker != nil {
			title, err := m.proc.Title(p.PID)
			if n, known = m.kind.worker(title); err != nil || !known {
				continue
			}
		}
		numbers[p] = n
		m.children = append(m.children, p)
		workers = append(workers, worker{p, n})
	}
	m.numbers = numbers
	m.kind.leaving(workers)
	m.leaving = m.leaving[:0]
	for _, w := range workers {
		m.leaving = append(m.leaving, w.id)
	}
}

// findMaster reads the pid file and makes sure that the process takes the signals: the default action of TTIN and TTOU is
// to stop, and a server that has just written its pid file may not catch them yet.
func (m *Master) findMaster(now time.Time) error {
	pid, id, err := proc.ReadPIDFile(m.pidFile)
	if err != nil {
		if m.proc.Alive(m.master) && (now.Sub(m.lastOK) < pidFileGrace || m.hasSuccessor()) {
			return nil
		}
		return err
	}
	st, err := m.proc.Stat(pid)
	if errors.Is(err, proc.ErrGone) || (err == nil && st.Dead()) {
		return fmt.Errorf("the process %d named by %s does not run", pid, m.pidFile)
	}
	if err != nil {
		return fmt.Errorf("look at the process %d named by %s: %w", pid, m.pidFile, err)
	}
	master := proc.ID{PID: pid, Start: st.Start}
	if master != m.master {
		if err := m.takes(pid, st.Comm); err != nil {
			return err
		}
		if !m.hasStarted(pid) {
			if m.hasSuccessor() && m.proc.Alive(m.master) {
				return nil
			}
			return fmt.Errorf("the %s master %d named by %s is still starting", m.kind.name, pid, m.pidFile)
		}
		m.master = master
	}
	m.file = id
	return nil
}

// hasSuccessor tells whether the master that is known has given its place to one that is still starting.
func (m *Master) hasSuccessor() bool {
	if m.kind.predecessor == "" {
		return false
	}
	pid, _, err := proc.ReadPIDFile(m.pidFile + m.kind.predecessor)
	return err == nil && pid == m.master.PID
}

// hasStarted tells whether the master has forked its first workers.
func (m *Master) hasStarted(pid int) bool {
	if m.kind.started == nil {
		return true
	}
	title, err := m.proc.Title(pid)
	return err == nil && m.kind.started(title)
}

// takes is an error unless the process catches the signals of a master.
func (m *Master) takes(pid int, comm string) error {
	sigs, err := m.proc.Signals(pid)
	if err != nil {
		return fmt.Errorf("look at the signals of the process %d named by %s: %w", pid, m.pidFile, err)
	}
	if !sigs.Catches(unix.SIGTTIN) || !sigs.Catches(unix.SIGTTOU) || !sigs.Catches(unix.SIGCHLD) {
		return fmt.Errorf("the process %d (%q) named by %s is no %s master with workers: it does not catch TTIN, TTOU and CHLD",
			pid, comm, m.pidFile, m.kind.name)
	}
	return nil
}

// Steer sends at most one signal.
func (m *Master) Steer(now time.Time, target int, work func(proc.ID) adapter.Work) (int, error) {
	v := view{master: m.master, file: m.file, children: m.leaving, work: work}
	if m.steer.unproven {
		sigs, err := m.proc.Signals(m.master.PID)
		// When it cannot be read, the signal counts as pending: no further one is sent.
		v.pending = err != nil || sigs.Waits(unix.SIGTTIN) || sigs.Waits(unix.SIGTTOU)
	}
	m.steer.observe(now, v)
	if m.family.Zombies() > 0 {
		// A master that does not reap its children is loading the application again: what stands now says nothing.
		m.steer.blind()
		return 0, nil
	}
	step := m.steer.next(now, target)
	if step == 0 {
		return 0, nil
	}
	sig := unix.SIGTTIN
	if step < 0 {
		sig = unix.SIGTTOU
	}
	// A master that restarts by exec (Puma) keeps its pid, and the signals have their default action meanwhile.
	if sigs, err := m.proc.Signals(m.master.PID); err != nil || !sigs.Catches(sig) {
		m.steer.blind()
		return 0, nil
	}
	if err := m.proc.Send(m.master, sig); err != nil {
		return 0, fmt.Errorf("send %s to the master %d of %s: %w", unix.SignalName(sig), m.master.PID, m.pidFile, err)
	}
	m.steer.sent(now, step)
	return step, nil
}

// Draining tells whether p was told to leave.
func (m *Master) Draining(p proc.ID) bool { return m.steer.drains(p) }
