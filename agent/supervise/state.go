package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// state is what NAME.json holds, for the next agent. Times are in nanoseconds since boot.
type state struct {
	Version int    `json:"version"`
	Listen  string `json:"listen"`
	// Wanted is the last target, -1 before the first; Woken says that one worker stays although the target is 0.
	Wanted  int        `json:"wanted"`
	Woken   bool       `json:"woken,omitempty"`
	Holder  savedID    `json:"holder"`
	Workers []savedOne `json:"workers"`
}

type savedID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

type savedOne struct {
	Number int `json:"number"`
	savedID
	Ready bool `json:"ready,omitempty"`
	// Told is when it was told to leave, 0 when it was not.
	Told time.Duration `json:"told,omitempty"`
}

const stateVersion = 1

// maxState bounds the state file, in bytes.
const maxState = 1 << 20

// save replaces the state file. It need not outlive the machine, so it is not flushed.
func (s *Processes) save() error {
	st := state{Version: stateVersion, Listen: s.opt.Listen, Wanted: s.wanted, Woken: s.wake.woken,
		Holder: savedID{s.holder.id.PID, s.holder.id.Start}, Workers: []savedOne{}}
	for _, w := range s.workers {
		st.Workers = append(st.Workers, savedOne{Number: w.n, savedID: savedID{w.id.PID, w.id.Start}, Ready: w.ready, Told: w.told})
	}
	text, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return fmt.Errorf("write the state of the workers: %w", err)
	}
	temp := s.path(".json.new")
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the state of the workers: %w", err)
	}
	if err := os.Rename(temp, s.path(".json")); err != nil {
		return fmt.Errorf("write the state of the workers: %w", err)
	}
	return nil
}

// load reads the state file; a missing one is an empty state.
func (s *Processes) load() (state, error) {
	st := state{Wanted: adapter.NoTarget}
	path := s.path(".json")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil && info.Size() > maxState {
		err = fmt.Errorf("it has %d bytes", info.Size())
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err == nil && st.Version != stateVersion {
		err = fmt.Errorf("its version is %d, this agent knows %d", st.Version, stateVersion)
	}
	for _, w := range st.Workers {
		if err == nil && (w.PID < 2 || w.PID > proc.MaxPID || w.Number < 1) {
			err = fmt.Errorf("it names a worker %d with pid %d", w.Number, w.PID)
		}
	}
	if err != nil {
		return state{}, fmt.Errorf("the state of the workers in %s cannot be read, so they are left alone: %w", path, err)
	}
	return st, nil
}

// open takes the lock, finds the workers of an earlier agent, gets their listener or opens one, and sees to a holder.
func (s *Processes) open() (err error) {
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := os.MkdirAll(s.opt.StateDir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the workers' state: %w", err)
	}
	if s.lock, err = os.OpenFile(s.path(".lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("open the lock of the workers: %w", err)
	}
	err = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another agent looks after these workers: it holds %s", s.path(".lock"))
	}
	if err != nil {
		return fmt.Errorf("lock the workers: %w", err)
	}
	if s.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	st, err := s.load()
	if err != nil {
		return err
	}
	s.wanted, s.wake.woken, s.wake.active = st.Wanted, st.Woken, s.boot
	s.adopt(st)
	if err := s.findListener(st); err != nil {
		return err
	}
	if s.opt.Ready.Notify {
		if err := s.notify.open(s.path(".notify")); err != nil {
			return err
		}
	}
	s.opened = true
	s.keepHolder()
	return s.save()
}

// adopt takes over the workers that live.
func (s *Processes) adopt(st state) {
	for _, saved := range st.Workers {
		w := &worker{n: saved.Number, id: proc.ID{PID: saved.PID, Start: saved.Start}, adopted: true, ready: saved.Ready, told: saved.Told}
		var err error
		if w.pidfd, err = openPidfd(&s.proc, w.id); err != nil {
			continue // it ended while nobody looked
		}
		// After a reload of the configuration they are this process's own children.
		stat, err := s.proc.Stat(saved.PID)
		w.ours = err == nil && stat.PPID == os.Getpid()
		s.workers = append(s.workers, w)
	}
}

// findListener gets the listener from the holder or a worker, or opens a new one. Workers of another address are told to
// leave, and its holder ends.
func (s *Processes) findListener(st state) error {
	fd, pid, err := fetch(s.path(".hold"))
	if err == nil && listensOn(fd, s.opt.Listen) {
		s.listener = fd
		return s.holdBy(pid)
	}
	if err == nil {
		_ = unix.Close(fd)
		if st, err := s.proc.Stat(pid); err == nil {
			_ = s.proc.Send(proc.ID{PID: pid, Start: st.Start}, unix.SIGTERM)
		}
		_ = os.Remove(s.path(".hold"))
	}
	same := st.Listen == s.opt.Listen
	for _, w := range s.workers {
		if same && s.listener < 0 {
			if fd, err := fromWorker(w.pidfd, s.opt.Listen); err == nil {
				s.listener = fd
			}
		}
		if !same && w.told == 0 {
			s.tell(w)
		}
	}
	if s.listener >= 0 {
		return nil
	}
	s.listener, err = bind(s.opt.Listen, s.opt.SocketMode)
	if errors.Is(err, unix.EADDRINUSE) && same && len(s.workers) > 0 {
		return fmt.Errorf("%w; the workers of an earlier agent have it, and neither their holder nor they give it back: end them (%s names them)", err, s.path(".json"))
	}
	return err
}
