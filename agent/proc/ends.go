package proc

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Ends notices the ends of processes: it holds a pidfd of each, and one system call tells about all of them, zombies
// included, where reading /proc costs that much for each. A process of which no pidfd can be had is looked at in /proc. It is not
// safe for concurrent use; the zero value watches nobody.
type Ends struct {
	reader Reader
	fds    *pidfds
	poll   []unix.PollFd
	ids    []ID
	// plain are watched without a pidfd.
	plain map[ID]bool
}

// pidfds is what has to be closed; the collector does it for an Ends that nobody has closed.
type pidfds struct{ of map[ID]int }

func (p *pidfds) close() {
	for id, fd := range p.of {
		_ = unix.Close(fd) // nothing was written
		delete(p.of, id)
	}
}

// Watch begins to watch p, once, and tells whether it is alive.
func (e *Ends) Watch(p ID) bool {
	if e.fds == nil {
		e.fds, e.plain = &pidfds{map[ID]int{}}, map[ID]bool{}
		runtime.AddCleanup(e, (*pidfds).close, e.fds)
	}
	if _, ok := e.fds.of[p]; ok || e.plain[p] {
		return true
	}
	// The pidfd holds the process while its start time is checked.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if !e.reader.Alive(p) {
		if err == nil {
			_ = unix.Close(fd)
		}
		return false
	}
	if err != nil {
		e.plain[p] = true
		return true
	}
	e.fds.of[p] = fd
	e.poll = append(e.poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	e.ids = append(e.ids, p)
	return true
}

// Look calls ended with each process that has ended since, and watches it no longer. It says false when nothing was learned.
func (e *Ends) Look(ended func(ID)) bool {
	n := 0
	if len(e.poll) > 0 {
		var err error
		for {
			if n, err = unix.Poll(e.poll, 0); err != unix.EINTR {
				break
			}
		}
		if err != nil {
			return false
		}
	}
	for i := len(e.poll) - 1; i >= 0 && n > 0; i-- {
		if e.poll[i].Revents != 0 {
			n--
			p := e.ids[i]
			e.forget(i)
			ended(p)
		}
	}
	for p := range e.plain {
		if !e.reader.Alive(p) {
			delete(e.plain, p)
			ended(p)
		}
	}
	return true
}

// Keep ends the watch of every process that keep is false for.
func (e *Ends) Keep(keep func(ID) bool) {
	for i := len(e.ids) - 1; i >= 0; i-- {
		if !keep(e.ids[i]) {
			e.forget(i)
		}
	}
	for p := range e.plain {
		if !keep(p) {
			delete(e.plain, p)
		}
	}
}

// forget closes the pidfd at i; the last one takes its place.
func (e *Ends) forget(i int) {
	p, last := e.ids[i], len(e.ids)-1
	_ = unix.Close(e.fds.of[p]) // nothing was written
	delete(e.fds.of, p)
	e.ids[i], e.poll[i] = e.ids[last], e.poll[last]
	e.ids, e.poll = e.ids[:last], e.poll[:last]
}

// Close ends all watches; the Ends may be used again.
func (e *Ends) Close() { e.Keep(func(ID) bool { return false }) }
