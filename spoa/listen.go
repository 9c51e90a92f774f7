package spoa

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	socketMode = 0o660
	// maxSocketPath is what a unix socket address holds, less the suffix of the name it is first made under.
	maxSocketPath = 107 - len(newSuffix)
	newSuffix     = ".new"
)

// Listen opens addr: "unix:/absolute/path" or "IP:port" with a loopback IP.
//
// A unix socket gets mode 0660 before it can be reached under its name. The file a dead agent left is replaced; one that
// an agent still serves, and a path that is no socket, are refused. Closing the listener removes the file, unless it is
// no longer ours. The group, where HAProxy runs as another user, is the caller's to set.
//
// SPOP has no authentication, hence no other address.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path)
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SPOP on %.80q: it is neither unix:/path nor a loopback IP:port", addr)
	}
	if !ap.Addr().Unmap().IsLoopback() {
		return nil, fmt.Errorf("listen for SPOP on %s: only loopback addresses and unix sockets are allowed, because SPOP has no authentication", addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for SPOP: %w", err)
	}
	return ln, nil
}

func listenUnix(path string) (net.Listener, error) {
	if !strings.HasPrefix(path, "/") || len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen for SPOP on %.120q: a unix socket needs an absolute path of at most %d bytes", path, maxSocketPath)
	}
	if err := mayReplace(path); err != nil {
		return nil, fmt.Errorf("listen for SPOP on %s: %w", path, err)
	}
	// The socket is made under another name and moved into place once its mode is right: nobody ever sees it with a wrong
	// one, and a stale file is replaced in one step.
	temp := path + newSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an unfinished socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for SPOP: %w", err)
	}
	ln.SetUnlinkOnClose(false)
	info, err := place(temp, path)
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(temp)
		return nil, fmt.Errorf("listen for SPOP on %s: %w", path, err)
	}
	return &unixListener{UnixListener: ln, path: path, info: info}, nil
}

func place(temp, path string) (os.FileInfo, error) {
	if err := os.Chmod(temp, socketMode); err != nil {
		return nil, fmt.Errorf("set the socket's mode: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, fmt.Errorf("move the socket into place: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("look at the socket: %w", err)
	}
	return info, nil
}

// mayReplace tells whether path is free or a socket that nobody serves.
func mayReplace(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the path: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("the path exists and is not a socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return errors.New("another agent serves this socket")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("find out whether the socket is served: %w", err)
}

// unixListener removes its socket file when closed, but never that of a successor.
type unixListener struct {
	*net.UnixListener
	path string
	info os.FileInfo
	once sync.Once
}

func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	// Once: after the first time the inode may belong to a successor's socket.
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
