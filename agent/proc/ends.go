package proc

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Ends notices the ends of processes: it holds a pidfd of each, and one short system call tells which have ended, zombies
// included, where reading /proc costs much more for each of them. A process of which no pidfd can be had is looked at in /proc.
// It is not safe for concurrent use; the zero value watches nobody.
type Ends struct {
	reader Reader
	held   *pidfds
	ids    map[int32]ID
	events [64]unix.EpollEvent
	// plain are watched without a pidfd.
	plain map[ID]bool
}

// pidfds is what has to be closed; the collector does it for an Ends that nobody has closed.
type pidfds struct {
	// epoll watches them all; -1 when there is none.
	epoll int
	of    map[ID]int
}

func (p *pidfds) close() {
	for id, fd := range p.of {
		_ = unix.Close(fd) // nothing was written
		delete(p.of, id)
	}
	if p.epoll >= 0 {
		_ = unix.Close(p.epoll)
		p.epoll = -1
	}
}

// Watch begins to watch p, once, and tells whether it is alive.
func (e *Ends) Watch(p ID) bool {
	if e.held == nil {
		e.held, e.plain, e.ids = &pidfds{epoll: -1, of: map[ID]int{}}, map[ID]bool{}, map[int32]ID{}
		runtime.AddCleanup(e, (*pidfds).close, e.held)
	}
	if _, ok := e.held.of[p]; ok || e.plain[p] {
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
	if err == nil && !e.add(fd) {
		_ = unix.Close(fd)
		err = unix.EMFILE
	}
	if err != nil {
		e.plain[p] = true
		return true
	}
	e.held.of[p], e.ids[int32(fd)] = fd, p
	return true
}

// add puts a pidfd under watch.
func (e *Ends) add(fd int) bool {
	if e.held.epoll < 0 {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return false
		}
		e.held.epoll = epoll
	}
	return unix.EpollCtl(e.held.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) == nil
}

// Look calls ended with each process that has ended since, and watches it no longer. It says false when nothing was learned.
func (e *Ends) Look(ended func(ID)) bool {
	for len(e.ids) > 0 {
		n, err := again(func() (int, error) { return unix.EpollWait(e.held.epoll, e.events[:], 0) })
		if err != nil {
			return false
		}
		for _, ev := range e.events[:n] {
			if p, ok := e.ids[ev.Fd]; ok {
				e.forget(p)
				ended(p)
			}
		}
		if n < len(e.events) {
			break
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
	for _, p := range e.ids {
		if !keep(p) {
			e.forget(p)
		}
	}
	for p := range e.plain {
		if !keep(p) {
			delete(e.plain, p)
		}
	}
}

// forget closes a pidfd, which takes it out of the watch.
func (e *Ends) forget(p ID) {
	fd := e.held.of[p]
	_ = unix.Close(fd) // nothing was written
	delete(e.held.of, p)
	delete(e.ids, int32(fd))
}

// Close ends all watches; the Ends may be used again.
func (e *Ends) Close() {
	if e.held != nil {
		e.held.close()
		clear(e.ids)
		clear(e.plain)
	}
}
