package agent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidFileGrace is how long a missing pid file is overlooked while its master lives: gunicorn removes and makes it anew
// during a reload.
const pidFileGrace = time.Second

// gunicorn is the actuator for a gunicorn master (20.1 and later): workers are the master's children, TTIN adds one, TTOU
// lets the oldest one finish and go.
type gunicorn struct {
	pidFile string
	proc    procReader
	steer   steer

	master Proc
	file   fileID
	lastOK time.Time
	scans  uint64
	orders uint64
	known  map[int]*childInfo
	// children are the workers of the last Observe, oldest first.
	children []Proc
}

// childInfo is what was read of a child; order is that of being first seen.
type childInfo struct {
	proc  Proc
	order uint64
}

func newGunicorn(a App) *gunicorn {
	return &gunicorn{pidFile: a.PIDFile, steer: steer{min: a.Min, max: a.Max}, known: map[int]*childInfo{}}
}

// Observe finds the master by its pid file and lists its workers.
func (g *gunicorn) Observe(now time.Time) (Workers, error) {
	g.scans++
	for range 3 {
		if err := g.findMaster(now); err != nil {
			g.steer.blind()
			return Workers{}, err
		}
		if err := g.listChildren(); err != nil {
			g.steer.blind()
			return Workers{}, err
		}
		// Children forked by a reload must not be taken for those before it.
		if _, id, err := readPIDFile(g.pidFile); err != nil || id == g.file {
			break
		}
	}
	g.children = g.workers()
	if len(g.children) == 0 {
		g.steer.blind()
		return Workers{}, fmt.Errorf("the master %d of %s has no worker process", g.master.PID, g.pidFile)
	}
	g.lastOK = now
	return Workers{Master: g.master, Children: g.children, Changes: g.steer.resets}, nil
}

// findMaster reads the pid file and makes sure that the process takes the signals: the default action of TTIN and TTOU is
// to stop, and a gunicorn that has just written its pid file does not catch them yet.
func (g *gunicorn) findMaster(now time.Time) error {
	pid, id, err := readPIDFile(g.pidFile)
	if err != nil {
		if now.Sub(g.lastOK) < pidFileGrace && g.proc.alive(g.master) {
			return nil
		}
		return err
	}
	st, err := g.proc.stat(pid)
	if errors.Is(err, errGone) || (err == nil && st.dead()) {
		return fmt.Errorf("the process %d named by %s does not run", pid, g.pidFile)
	}
	if err != nil {
		return fmt.Errorf("look at the process %d named by %s: %w", pid, g.pidFile, err)
	}
	master := Proc{PID: pid, Start: st.start}
	if master != g.master {
		sigs, err := g.proc.signals(pid)
		if err != nil {
			return fmt.Errorf("look at the signals of the process %d named by %s: %w", pid, g.pidFile, err)
		}
		if !sigs.catches(unix.SIGTTIN) || !sigs.catches(unix.SIGTTOU) || !sigs.catches(unix.SIGCHLD) {
			return fmt.Errorf("the process %d (%q) named by %s is no gunicorn master: it does not catch TTIN, TTOU and CHLD",
				pid, st.comm, g.pidFile)
		}
		g.master = master
		clear(g.known)
	}
	g.file = id
	return nil
}

// readPIDFile reads one decimal pid, and which version of the file holds it.
func readPIDFile(path string) (int, fileID, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hang the agent.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fileID{}, fmt.Errorf("the pid file %s does not exist", path)
	}
	if err != nil {
		return 0, fileID{}, fmt.Errorf("open the pid file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fileID{}, fmt.Errorf("look at the pid file: %w", err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0, fileID{}, fmt.Errorf("the pid file %s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, fileID{}, fmt.Errorf("read the pid file: %w", err)
	}
	n, ok := number(bytes.TrimSpace(b), maxPID)
	if !ok || n < 2 {
		return 0, fileID{}, fmt.Errorf("the pid file %s holds %.20q, not a pid", path, b)
	}
	return int(n), fileID{dev: sys.Dev, ino: sys.Ino, mtime: sys.Mtim.Nano()}, nil
}

// listChildren brings known up to date. A child is read when it is new, when it is missing from the list (the kernel may
// leave live ones out), and now and then to find a zombie that nobody reaps.
func (g *gunicorn) listChildren() error {
	pids, err := g.proc.children(g.master.PID)
	if err != nil {
		return fmt.Errorf("list the children of the master %d: %w", g.master.PID, err)
	}
	listed := make(map[int]bool, len(pids))
	for _, pid := range pids {
		listed[pid] = true
		if c := g.known[pid]; c == nil || (g.scans+uint64(pid))%recheck == 0 {
			g.look(pid)
		}
	}
	for pid := range g.known {
		if !listed[pid] {
			g.look(pid)
		}
	}
	return nil
}

// look reads one child and keeps it, or forgets it when it is none (any more).
func (g *gunicorn) look(pid int) {
	st, err := g.proc.stat(pid)
	if err != nil || st.dead() || st.ppid != g.master.PID {
		delete(g.known, pid)
		return
	}
	p := Proc{PID: pid, Start: st.start}
	if c := g.known[pid]; c == nil || c.proc != p {
		g.orders++
		g.known[pid] = &childInfo{proc: p, order: g.orders}
	}
}

// workers returns the children, oldest first, but for a successor master: on USR2 gunicorn forks one, which names itself
// in a second pid file.
func (g *gunicorn) workers() []Proc {
	successor, _, err := readPIDFile(g.pidFile + ".2")
	if err != nil {
		successor = 0
	}
	children := make([]*childInfo, 0, len(g.known))
	for pid, c := range g.known {
		if pid != successor {
			children = append(children, c)
		}
	}
	slices.SortFunc(children, func(a, b *childInfo) int {
		return cmp.Or(cmp.Compare(a.proc.Start, b.proc.Start), cmp.Compare(a.order, b.order))
	})
	procs := make([]Proc, len(children))
	for i, c := range children {
		procs[i] = c.proc
	}
	return procs
}

// Steer sends at most one signal.
func (g *gunicorn) Steer(now time.Time, target int, work func(Proc) Work) (int, error) {
	v := view{master: g.master, file: g.file, children: g.children, work: work}
	if g.steer.unproven {
		sigs, err := g.proc.signals(g.master.PID)
		// When it cannot be read, the signal counts as pending: no further one is sent.
		v.pending = err != nil || sigs.waits(unix.SIGTTIN) || sigs.waits(unix.SIGTTOU)
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
	if err := g.signal(sig); err != nil {
		return 0, fmt.Errorf("send %s to the master %d of %s: %w", unix.SignalName(sig), g.master.PID, g.pidFile, err)
	}
	g.steer.sent(now, step)
	return step, nil
}

// signal reaches the master and nobody else: the pidfd holds the process that the start time was checked for.
func (g *gunicorn) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(g.master.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !g.proc.alive(g.master) {
		return errGone
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// Draining tells whether p was told to leave.
func (g *gunicorn) Draining(p Proc) bool { return g.steer.drains(p) }
