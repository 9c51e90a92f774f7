package uwsgi

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maxStep bounds the orders of one writing: a pipe takes up to 4096 bytes whole.
const maxStep = 64

// order writes so many "+" or "-" (step below 0) to the master's FIFO. It opens and closes it: the master makes the FIFO
// anew after each writer. It never waits: without a master that reads it is an error.
func order(path string, step int) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("no uWSGI master reads the FIFO %s", path)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the FIFO %s does not exist; is master-fifo set?", path)
	case err != nil:
		return fmt.Errorf("open the FIFO %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at the FIFO %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return fmt.Errorf("%s is no FIFO", path)
	}
	what := strings.Repeat("+", max(step, 0)) + strings.Repeat("-", max(-step, 0))
	if _, err := unix.Write(fd, []byte(what)); err != nil {
		return fmt.Errorf("write to the FIFO %s: %w", path, err)
	}
	return nil
}
