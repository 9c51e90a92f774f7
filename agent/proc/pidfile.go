package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

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
	// O_NONBLOCK: a FIFO in the file's place must not hang the agent.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, FileID{}, fmt.Errorf("the pid file %s does not exist", path)
	}
	if err != nil {
		return 0, FileID{}, fmt.Errorf("open the pid file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, FileID{}, fmt.Errorf("look at the pid file: %w", err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0, FileID{}, fmt.Errorf("the pid file %s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, FileID{}, fmt.Errorf("read the pid file: %w", err)
	}
	n, ok := Number(bytes.TrimSpace(b), MaxPID)
	if !ok || n < 2 {
		return 0, FileID{}, fmt.Errorf("the pid file %s holds %.20q, not a pid", path, b)
	}
	return int(n), FileID{Dev: sys.Dev, Ino: sys.Ino, MTime: sys.Mtim.Nano()}, nil
}
