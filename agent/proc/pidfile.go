package proc

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// FileID tells one version of a file from the next: a master such as gunicorn makes its pid file anew on HUP, with the same content. The
// inode number alone may be used again at once.
type FileID struct {
	Dev, Ino uint64
	// MTime is in nanoseconds since 1970.
	MTime int64
}

// ReadPIDFile reads one decimal pid, and which version of the file holds it. The error is one sentence.
func ReadPIDFile(path string) (int, FileID, error) {
	// O_NONBLOCK: a FIFO in the file's place must not hang the agent. Bare system calls, as in Reader.file.
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if errors.Is(err, unix.ENOENT) {
		return 0, FileID{}, fmt.Errorf("the pid file %s does not exist", path)
	}
	if err != nil {
		return 0, FileID{}, fmt.Errorf("open the pid file %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, FileID{}, fmt.Errorf("look at the pid file %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, FileID{}, fmt.Errorf("the pid file %s is not a regular file", path)
	}
	b := make([]byte, 64)
	size, err := again(func() (int, error) { return unix.Read(fd, b) })
	if err != nil {
		return 0, FileID{}, fmt.Errorf("read the pid file %s: %w", path, err)
	}
	b = b[:size]
	n, ok := Number(bytes.TrimSpace(b), MaxPID)
	if !ok || n < 2 {
		return 0, FileID{}, fmt.Errorf("the pid file %s holds %.20q, not a pid", path, b)
	}
	return int(n), FileID{Dev: st.Dev, Ino: st.Ino, MTime: st.Mtim.Nano()}, nil
}
