package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	mode      = 0o660
	newSuffix = ".new"
	// MaxPath is what a unix socket address holds (sun_path, 108 bytes with the final zero), less the suffix of the name the
	// socket is first made under.
	MaxPath = 107 - len(newSuffix)
)

// Listen opens an absolute path, mode 0660. Closing the listener removes the file, unless it is no longer ours.
func Listen(path string) (net.Listener, error) {
	if !strings.HasPrefix(path, "/") || len(path) > MaxPath {
		return nil, fmt.Errorf("listen on %.120q: a unix socket needs an absolute path of at most %d bytes", path, MaxPath)
	}
	if err := MayReplace(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// The socket is made under another name and moved into place once its mode is right: nobody ever sees it with a wrong
	// one, and a stale file is replaced in one step.
	temp := path + newSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an unfinished socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	info, err := place(temp, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), ln.Close(), os.Remove(temp))
	}
	return &listener{UnixListener: ln, path: path, info: info}, nil
}

func place(temp, path string) (os.FileInfo, error) {
	if err := os.Chmod(temp, mode); err != nil {
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

// MayReplace tells whether path is free or a socket that nobody serves; the error is one sentence that says what is there.
func MayReplace(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the path: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("there is a file that is not a socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return errors.New("another process serves this socket")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("find out whether the socket is served: %w", err)
}

// listener removes its socket file when closed, but never that of a successor.
type listener struct {
	*net.UnixListener
	path string
	info os.FileInfo
	once sync.Once
}

// Addr is the path the socket can be reached under.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening.
func (l *listener) Close() error {
	// Once: after the first time the inode may belong to a successor's socket.
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}
