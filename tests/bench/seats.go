package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// seats shares the processors out: own are those of the process that is compared, rest those of everything else, which begin with this
// process. Left to the kernel, two processes that wake each other have one processor now and one each then, which with one connection
// makes a factor of three from round to round; docs/benchmarks.md has figures of both.
type seats struct {
	own, rest, all unix.CPUSet
	// free leaves it to the kernel.
	free bool
}

// shareOut gives as many as own of the processors, at least one and all but one at most, to what is compared. It gives none where there is only
// one, or where the run is to be free.
func shareOut(free bool, own int) (*seats, error) {
	s := &seats{free: free}
	if err := unix.SchedGetaffinity(0, &s.all); err != nil {
		return nil, fmt.Errorf("ask for the processors: %w", err)
	}
	n := s.all.Count()
	if n < 2 {
		s.free = true
	}
	own = max(1, min(own, n-1))
	for cpu := 0; n > 0; cpu++ {
		if !s.all.IsSet(cpu) {
			continue
		}
		if own > 0 {
			s.own.Set(cpu)
		} else {
			s.rest.Set(cpu)
		}
		n, own = n-1, own-1
	}
	return s, nil
}

// take seats this process, and what it starts otherwise than by start; leave ends that.
func (s *seats) take() error {
	if s.free {
		return nil
	}
	return confine(&s.rest)
}

func (s *seats) leave() error {
	if s.free {
		return nil
	}
	return confine(&s.all)
}

// start starts what is compared.
func (s *seats) start(cmd *exec.Cmd) error {
	if s == nil || s.free {
		return cmd.Start()
	}
	// A process inherits the processors of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &s.own); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &s.rest))
}

// told says who is where.
func (s *seats) told(whose, others string) string {
	if s == nil || s.free {
		return "all processes on the same processors"
	}
	return fmt.Sprintf("%s on %d of %d processors, %s on the others", whose, s.own.Count(), s.all.Count(), others)
}

// confine puts every thread of this process on those processors. New threads inherit them, so it is over when nothing has changed.
func confine(set *unix.CPUSet) error {
	for changed := true; changed; {
		changed = false
		dir, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, entry := range dir {
			tid, err := strconv.Atoi(entry.Name())
			if err != nil {
				return err
			}
			var is unix.CPUSet
			if err = unix.SchedGetaffinity(tid, &is); err == nil && is != *set {
				changed, err = true, unix.SchedSetaffinity(tid, set)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("choose the processors of thread %d: %w", tid, err)
			}
		}
	}
	runtime.GOMAXPROCS(set.Count())
	return nil
}
