package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// notifier hears READY=1 (sd_notify(3)). Nobody listens while there is no agent, so that no worker ever waits for one: its
// message is refused then.
type notifier struct{ fd int }

func (n *notifier) open(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the notify socket of an earlier agent: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make the notify socket: %w", err)
	}
	// With credentials the kernel tells who sends.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		// Any user's worker may speak; what counts is who it is.
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open the notify socket %s: %w", path, err)
	}
	n.fd = fd
	return nil
}

func (n *notifier) close() {
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
	}
	n.fd = -1
}

// maxNotes bounds what is read at one look, so that a worker that talks without end holds up nobody.
const maxNotes = 256

// read returns the pids of those who say READY=1. Messages without a sender's pid are dropped.
func (n *notifier) read() (pids []int) {
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(unix.SizeofUcred)+256)
	for range maxNotes {
		k, m, _, _, err := unix.Recvmsg(n.fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return pids
		}
		pid := sender(oob[:m])
		if pid > 0 && slices.Contains(strings.Split(string(buf[:k]), "\n"), "READY=1") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sender is the pid in the credentials, 0 when there is none. Descriptors that somebody sends along are closed.
func sender(oob []byte) (pid int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for i := range msgs {
		if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	return pid
}
