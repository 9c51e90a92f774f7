package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/proc"
	"github.com/tidegate/tidegate/internal/unixsock"
)

// bind opens a listening socket at "ADDRESS:PORT" or "unix:/path". It blocks, as workers expect (O_NONBLOCK is shared by
// all who have the socket). A socket file that nobody serves is replaced, any other file is not.
func bind(listen string, mode os.FileMode) (int, error) {
	path, isUnix := strings.CutPrefix(listen, "unix:")
	addr, family, err := sockaddr(listen)
	if err != nil {
		return -1, err
	}
	if isUnix {
		err := unixsock.MayReplace(path)
		if err == nil {
			if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		if err != nil {
			return -1, fmt.Errorf("listen on %s: %w", listen, err)
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket for %s: %w", listen, err)
	}
	if !isUnix {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err == nil && isUnix {
		// Nobody can connect before listen(2), so the mode is right in time.
		err = os.Chmod(path, mode)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", listen, err)
	}
	return fd, nil
}

func sockaddr(listen string) (unix.Sockaddr, int, error) {
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		return &unix.SockaddrUnix{Name: path}, unix.AF_UNIX, nil
	}
	ap, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, 0, fmt.Errorf("listen on %.120q: wanted is an IP address and a port, or unix:/path", listen)
	}
	if a := ap.Addr().Unmap(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}, unix.AF_INET, nil
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, unix.AF_INET6, nil
}

// listensOn tells whether fd is a listening socket at that address, and for a unix socket whether its file is there.
func listensOn(fd int, listen string) bool {
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on != 1 {
		return false
	}
	want, _, err := sockaddr(listen)
	if err != nil {
		return false
	}
	have, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch h := have.(type) {
	case *unix.SockaddrInet4:
		w, ok := want.(*unix.SockaddrInet4)
		return ok && w.Port == h.Port && w.Addr == h.Addr
	case *unix.SockaddrInet6:
		w, ok := want.(*unix.SockaddrInet6)
		return ok && w.Port == h.Port && w.Addr == h.Addr
	case *unix.SockaddrUnix:
		w, ok := want.(*unix.SockaddrUnix)
		if !ok || w.Name != h.Name {
			return false
		}
		info, err := os.Lstat(h.Name)
		return err == nil && info.Mode()&fs.ModeSocket != 0
	}
	return false
}

// fromWorker takes the listener out of a living worker. It needs the right to trace it (root, or the same user where the
// kernel allows that).
func fromWorker(pidfd int, listen string) (int, error) {
	fd, err := unix.PidfdGetfd(pidfd, listenFD, 0)
	if err != nil {
		return -1, err
	}
	if !listensOn(fd, listen) {
		_ = unix.Close(fd)
		return -1, errors.New("its file descriptor 3 is another one")
	}
	return fd, nil
}

// openPidfd returns a descriptor for p; ErrGone when p has ended.
func openPidfd(r *proc.Reader, p proc.ID) (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, proc.ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	if !r.Alive(p) {
		_ = unix.Close(fd)
		return -1, proc.ErrGone
	}
	return fd, nil
}
