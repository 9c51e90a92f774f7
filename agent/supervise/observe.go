package supervise

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// Observe sees to everything but the number of workers: who has ended, who has said that it is ready, who is late, whether
// somebody waits, and the holder.
func (s *Processes) Observe(time.Time) (adapter.Workers, error) {
	s.boot = proc.SinceBoot()
	if !s.opened {
		if err := s.open(); err != nil {
			return adapter.Workers{}, err
		}
	}
	s.problem = ""
	if err := s.look(); err != nil {
		return adapter.Workers{}, err
	}
	s.hurry()
	s.keepHolder()
	s.back.calm(s.boot, s.workers)
	out := adapter.Workers{Groups: true, Problem: s.problem}
	if s.problem == "" {
		out.Problem = cmp.Or(s.back.problem(s.boot), s.holder.problem)
	}
	if s.opt.Ready.Notify || s.opt.Ready.After > 0 {
		out.Starting = map[proc.ID]bool{}
	}
	slices.SortStableFunc(s.workers, func(a, b *worker) int { return cmp.Compare(a.id.Start, b.id.Start) })
	for _, w := range s.workers {
		out.Children = append(out.Children, w.id)
		if out.Starting != nil && !w.ready {
			out.Starting[w.id] = true
		}
	}
	return out, nil
}

// note keeps the first error of this look for the report.
func (s *Processes) note(err error) {
	if err != nil && s.problem == "" {
		s.problem = err.Error()
	}
}

// look asks the kernel, in one call, who has ended, whether somebody waits and whether a worker has something to say.
func (s *Processes) look() error {
	fds := []unix.PollFd{
		{Fd: int32(s.listener), Events: unix.POLLIN},
		{Fd: int32(s.notify.fd), Events: unix.POLLIN}, // -1 is left out by the kernel
		{Fd: int32(s.holder.pidfd), Events: unix.POLLIN},
	}
	for _, w := range s.workers {
		fds = append(fds, unix.PollFd{Fd: int32(w.pidfd), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(fds, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("look at the workers: %w", err)
		}
	}
	s.waiting = fds[0].Revents&unix.POLLIN != 0
	changed := false
	if fds[1].Revents != 0 {
		changed = s.hear()
	}
	if fds[2].Revents != 0 {
		_, _ = unix.Wait4(s.holder.id.PID, nil, unix.WNOHANG, nil)
		s.holder.close()
	}
	kept := s.workers[:0]
	for i, w := range s.workers {
		if fds[3+i].Revents == 0 {
			kept = append(kept, w)
			continue
		}
		s.bury(w)
		changed = true
	}
	clear(s.workers[len(kept):])
	s.workers = kept
	if changed {
		s.note(s.save())
	}
	return nil
}

// hear takes what workers have said and tells whether one has become ready.
func (s *Processes) hear() (changed bool) {
	for _, pid := range s.notify.read() {
		group, err := unix.Getpgid(pid)
		if err != nil {
			group = pid // it has ended since
		}
		for _, w := range s.workers {
			if w.id.PID == group && !w.ready {
				w.ready, changed = true, true
			}
		}
	}
	return changed
}

// bury takes note of a worker's end.
func (s *Processes) bury(w *worker) {
	how := "its exit status is not known, an earlier agent had started it"
	if w.ours {
		// As long as the process is not waited for, nobody else can have its number: what is left of its group is asked to go.
		_ = unix.Kill(-w.id.PID, s.opt.StopSignal)
		var status unix.WaitStatus
		if pid, err := unix.Wait4(w.id.PID, &status, unix.WNOHANG, nil); err == nil && pid == w.id.PID {
			how = describe(status)
		}
	}
	_ = unix.Close(w.pidfd)
	if w.told > 0 {
		return
	}
	s.exits.Add(1)
	s.back.ended(s.boot, w, how)
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return "ended by " + unix.SignalName(status.Signal())
	}
	if status.ExitStatus() == 127 {
		return "exit status 127: the command was not found"
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// hurry makes workers ready that are old enough, and ends those that are late with starting or leaving.
func (s *Processes) hurry() {
	for _, w := range s.workers {
		age := w.id.Age(s.boot)
		switch {
		case w.told > 0 && s.boot-w.told > s.opt.StopDeadline && !w.killed:
			s.kills.Add(1)
			s.kill(w)
		case w.ready || w.told > 0:
		case s.opt.Ready.After > 0:
			w.ready = age > s.opt.Ready.After
		case s.opt.Ready.Notify && age > s.opt.StartDeadline && w.adopted:
			w.ready = true // it may have said so while no agent listened
		case s.opt.Ready.Notify && age > s.opt.StartDeadline && !w.killed:
			s.kill(w)
		}
	}
}

// kill ends a worker with its process group, whose number is taken as long as the worker is there.
func (s *Processes) kill(w *worker) {
	w.killed = true
	if s.proc.Alive(w.id) {
		_ = unix.Kill(-w.id.PID, unix.SIGKILL)
	}
}

// tell asks a worker to finish and go.
func (s *Processes) tell(w *worker) {
	w.told = s.boot
	if err := s.proc.Send(w.id, s.opt.StopSignal); err != nil && !errors.Is(err, proc.ErrGone) {
		s.note(fmt.Errorf("send %s to worker %d (%d): %w", unix.SignalName(s.opt.StopSignal), w.n, w.id.PID, err))
	}
}
