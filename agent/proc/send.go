package proc

import "golang.org/x/sys/unix"

// Send sends sig to p and to nobody else: a pidfd holds the process while its start time is checked. ErrGone when p has
// ended.
func (r *Reader) Send(p ID, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == unix.ESRCH {
		return ErrGone
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !r.Alive(p) {
		return ErrGone
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
