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

// Gunicorn is the actuator for a gunicorn master (20.1 and later): workers are the master's children, TTIN adds one, TTOU
// lets the oldest one finish and go. It is for one goroutine.
type Gunicorn struct {
	pidFile string
	proc    proc.Reader
	family  proc.Children
	steer   steer

	master proc.ID
	file   proc.FileID
	lastOK time.Time
	// children are the workers of the last Observe, oldest first.
	children []proc.ID
}

// NewGunicorn returns the actuator for the master named by pidFile, an absolute path. It keeps least to most workers,
// whatever the target; at least 1 stays in any case. Nothing is opened.
func NewGunicorn(pidFile string, least, most int) *Gunicorn {
	return &Gunicorn{pidFile: pidFile, steer: steer{min: least, max: most}}
}

// Owns is the pid file.
func (g *Gunicorn) Owns() []string { return []string{filepath.Clean(g.pidFile)} }

// Limits has no bounds but one worker, which gunicorn always keeps.
func (g *Gunicorn) Limits() adapter.Limits { return adapter.Limits{} }

// Observe finds the master by its pid file and lists its workers.
func (g *Gunicorn) Observe(now time.Time) (adapter.Workers, error) {
	for range 3 {
		if err := g.look(now); err != nil {
			g.steer.blind()
			return adapter.Workers{}, err
		}
		// Children forked by a reload must not be taken for those before it.
		if _, id, err := proc.ReadPIDFile(g.pidFile); err != nil || id == g.file {
			break
		}
	}
	if len(g.children) == 0 {
		g.steer.blind()
		return adapter.Workers{}, fmt.Errorf("the master %d of %s has no worker process", g.master.PID, g.pidFile)
	}
	g.lastOK = now
	return adapter.Workers{Master: g.master, Children: g.children, Changes: g.steer.resets}, nil
}

// look finds the master and its workers: its children but for a successor master, which gunicorn forks on USR2 and which
// names itself in a second pid file.
func (g *Gunicorn) look(now time.Time) error {
	if err := g.findMaster(now); err != nil {
		return err
	}
	children, err := g.family.Look(g.master)
	if err != nil {
		return err
	}
	if successor, _, err := proc.ReadPIDFile(g.pidFile + ".2"); err == nil {
		children = slices.DeleteFunc(children, func(p proc.ID) bool { return p.PID == successor })
	}
	g.children = children
	return nil
}

// findMaster reads the pid file and makes sure that the process takes the signals: the default action of TTIN and TTOU is
// to stop, and a gunicorn that has just written its pid file does not catch them yet.
func (g *Gunicorn) findMaster(now time.Time) error {
	pid, id, err := proc.ReadPIDFile(g.pidFile)
	if err != nil {
		if now.Sub(g.lastOK) < pidFileGrace && g.proc.Alive(g.master) {
			return nil
		}
		return err
	}
	st, err := g.proc.Stat(pid)
	if errors.Is(err, proc.ErrGone) || (err == nil && st.Dead()) {
		return fmt.Errorf("the process %d named by %s does not run", pid, g.pidFile)
	}
	if err != nil {
		return fmt.Errorf("look at the process %d named by %s: %w", pid, g.pidFile, err)
	}
	master := proc.ID{PID: pid, Start: st.Start}
	if master != g.master {
		sigs, err := g.proc.Signals(pid)
		if err != nil {
			return fmt.Errorf("look at the signals of the process %d named by %s: %w", pid, g.pidFile, err)
		}
		if !sigs.Catches(unix.SIGTTIN) || !sigs.Catches(unix.SIGTTOU) || !sigs.Catches(unix.SIGCHLD) {
			return fmt.Errorf("the process %d (%q) named by %s is no gunicorn master: it does not catch TTIN, TTOU and CHLD",
				pid, st.Comm, g.pidFile)
		}
		g.master = master
	}
	g.file = id
	return nil
}

// Steer sends at most one signal.
func (g *Gunicorn) Steer(now time.Time, target int, work func(proc.ID) adapter.Work) (int, error) {
	v := view{master: g.master, file: g.file, children: g.children, work: work}
	if g.steer.unproven {
		sigs, err := g.proc.Signals(g.master.PID)
		// When it cannot be read, the signal counts as pending: no further one is sent.
		v.pending = err != nil || sigs.Waits(unix.SIGTTIN) || sigs.Waits(unix.SIGTTOU)
	}
	g.steer.observe(now, v)
	step := g.steer.next(now, target)
	if step == 0 {
		return 0, nil
	}
	sig := unix.SIGTTIN
	if step < 0 {
		sig = unix.SIGTTOU
	}
	if err := g.proc.Send(g.master, sig); err != nil {
		return 0, fmt.Errorf("send %s to the master %d of %s: %w", unix.SignalName(sig), g.master.PID, g.pidFile, err)
	}
	g.steer.sent(now, step)
	return step, nil
}

// Draining tells whether p was told to leave.
func (g *Gunicorn) Draining(p proc.ID) bool { return g.steer.drains(p) }
