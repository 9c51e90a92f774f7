package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/proc"
)

// holder is the agent's view of the process that keeps the listener.
type holder struct {
	id    proc.ID
	pidfd int
	// again is when the next one may be started, since boot.
	again time.Duration
	// problem says why there is none.
	problem string
}

func (h *holder) close() {
	if h.pidfd >= 0 {
		_ = unix.Close(h.pidfd)
	}
	h.pidfd, h.id = -1, proc.ID{}
}

// fetchLimit bounds the wait for a holder's answer, in which the application is not looked at. It is asked again.
const fetchLimit = 500 * time.Millisecond

// Hold is all that a holder does: it keeps the listener (fd 3) and sends it to whoever connects to the unix socket that is
// fd 4. It returns only when that socket is broken.
func Hold() error {
	const listener, door = listenFD, listenFD + 1
	signal.Reset()       // it ends at the first word
	debug.FreeOSMemory() // what the program's start has left behind is not needed any more
	for {
		c, _, err := unix.Accept4(door, unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
			time.Sleep(time.Second)
			continue
		case err != nil:
			return fmt.Errorf("wait for an agent: %w", err)
		}
		// Whoever hung up meanwhile gets nothing; so few bytes always fit.
		_ = unix.Sendmsg(c, []byte(strconv.Itoa(os.Getpid())), unix.UnixRights(listener), nil, unix.MSG_NOSIGNAL)
		_ = unix.Close(c)
	}
}

// startHolder starts a holder for the listener. It has nothing of the agent but the two sockets.
func (s *Processes) startHolder() error {
	door, err := bind("unix:"+s.path(".hold"), 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(door)
	null := s.null.Fd()
	argv := append([]string{filepath.Base(os.Args[0])}, s.opt.Holder[1:]...) // what ps shows
	pid, err := syscall.ForkExec(s.opt.Holder[0], argv, &syscall.ProcAttr{Dir: "/", Env: []string{"GOMAXPROCS=1"},
		Files: []uintptr{null, null, null, uintptr(s.listener), uintptr(door)}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return fmt.Errorf("start the holder of the listener: %w", err)
	}
	return s.holdBy(pid)
}

// holdBy notes which process is the holder.
func (s *Processes) holdBy(pid int) error {
	st, err := s.proc.Stat(pid)
	if err != nil {
		return fmt.Errorf("look at the holder of the listener: %w", err)
	}
	s.holder.close()
	s.holder.id = proc.ID{PID: pid, Start: st.Start}
	s.holder.pidfd, err = openPidfd(&s.proc, s.holder.id)
	return err
}

// keepHolder sees to a holder, at most once a second: one that is there but had not answered in time, or a new one.
func (s *Processes) keepHolder() {
	if len(s.opt.Holder) == 0 || s.holder.pidfd >= 0 || s.boot < s.holder.again {
		return
	}
	s.holder.again, s.holder.problem = s.boot+time.Second, ""
	err := s.findHolder()
	if err != nil {
		err = s.startHolder()
	}
	if err == nil {
		err = s.save()
	}
	if err != nil {
		s.holder.close()
		s.holder.problem = err.Error()
	}
}

// findHolder takes the holder that answers and has this listener.
func (s *Processes) findHolder() error {
	fd, pid, err := fetch(s.path(".hold"))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !listensOn(fd, s.opt.Listen) {
		return errors.New("it holds another listener")
	}
	return s.holdBy(pid)
}

// fetch asks the holder behind the door for the listener. The second result is the holder's pid.
func fetch(door string) (fd, pid int, err error) {
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	defer unix.Close(c)
	limit := unix.NsecToTimeval(fetchLimit.Nanoseconds())
	if err := errors.Join(unix.SetsockoptTimeval(c, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(c, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)); err != nil {
		return -1, 0, err
	}
	if err := unix.Connect(c, &unix.SockaddrUnix{Name: door}); err != nil {
		return -1, 0, err
	}
	buf, oob := make([]byte, 32), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := unix.Recvmsg(c, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, 0, err
	}
	var fds []int
	if msgs, err := unix.ParseSocketControlMessage(oob[:m]); err == nil && len(msgs) == 1 {
		fds, _ = unix.ParseUnixRights(&msgs[0])
	}
	number, ok := proc.Number(buf[:n], proc.MaxPID)
	if len(fds) != 1 || !ok {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return -1, 0, errors.New("it sends something else than a listener and its pid")
	}
	return fds[0], int(number), nil
}
