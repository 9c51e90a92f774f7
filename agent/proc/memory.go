package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// PSS is the proportional set size of a process in bytes: each page counts by the share of the processes that have it. It takes
// the kernel a walk over all pages. ErrGone when there is no such process; another error where the kernel refuses it (a process
// of another user) or does not keep it (before Linux 4.14).
func (r *Reader) PSS(pid int) (uint64, error) {
	b, err := r.file(strconv.Itoa(pid) + "/smaps_rollup")
	if errors.Is(err, ErrGone) {
		if _, serr := r.Stat(pid); serr == nil {
			return 0, fmt.Errorf("read the memory of process %d: the kernel has no smaps_rollup", pid)
		}
	}
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		value, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		f := bytes.Fields(value)
		if len(f) == 2 && string(f[1]) == "kB" {
			if n, ok := Number(f[0], 1<<50); ok {
				return n << 10, nil
			}
		}
		break
	}
	return 0, errors.New("parse a process's smaps_rollup: no Pss in kB")
}

// RSS is the resident set size of a process in bytes (proc(5), statm). ErrGone when there is no such process.
func (r *Reader) RSS(pid int) (uint64, error) {
	b, err := r.file(strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, errors.New("parse a process's statm: fewer than two numbers")
	}
	pages, ok := Number(f[1], 1<<40)
	if !ok {
		return 0, errors.New("parse a process's statm: the resident size is no number")
	}
	return pages * uint64(os.Getpagesize()), nil
}
