package proc

import (
	"bytes"
	"strconv"
)

// Title is what ps shows as the command of a process: its arguments with spaces between them, or what the process has
// written over them. It is empty for a kernel thread and for a zombie; ErrGone when there is no such process.
func (r *Reader) Title(pid int) (string, error) {
	b, err := r.file(strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))), nil
}
