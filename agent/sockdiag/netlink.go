package sockdiag

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// patience bounds one read, in seconds. The kernel makes its answer while it is read, so that nothing is waited for.
	patience = 1
	// attempts are how often a question is asked whose answer the kernel interrupts.
	attempts = 5
	// readSize holds more than the kernel puts into one read (32 KiB).
	readSize = 64 << 10
)

// errInterrupted says that the kernel's table changed so that its answer is not consistent.
var errInterrupted = errors.New("the kernel was interrupted")

// link is a netlink socket, or a false one in tests.
type link interface {
	send(b []byte) error
	// receive reads one datagram into b; from is the sender's port, 0 for the kernel.
	receive(b []byte) (n int, from uint32, err error)
	close() error
}

// conn asks the kernel for sockets. It is not safe for concurrent use.
type conn struct {
	link link
	seq  uint32
	buf  []byte
}

// ask sends one request and calls each with the data of every message of the answer. begin is called before each attempt: an
// interrupted answer is asked for again.
func (c *conn) ask(request []byte, begin func(), each func([]byte) error) error {
	for range attempts {
		begin()
		if err := c.once(request, each); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return fmt.Errorf("%w in each of %d answers", errInterrupted, attempts)
}

func (c *conn) once(request []byte, each func([]byte) error) error {
	if c.buf == nil {
		c.buf = make([]byte, readSize)
	}
	c.seq++
	b := make([]byte, 0, unix.NLMSG_HDRLEN+len(request))
	b = native.AppendUint32(b, uint32(cap(b)))
	b = native.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = native.AppendUint32(b, c.seq)
	b = native.AppendUint32(b, 0)
	if err := c.link.send(append(b, request...)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	interrupted := false
	for {
		n, from, err := c.link.receive(c.buf)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if from != 0 {
			continue // any process may write to a netlink socket; only the kernel is believed
		}
		done := false
		err = messages(c.buf[:n], func(m message) error {
			if m.seq != c.seq || done {
				return nil // the rest of an answer that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				done = true
				return outcome(m.data)
			case unix.NLMSG_ERROR:
				if err := outcome(m.data); err != nil {
					return err
				}
				return errors.New("the kernel answers with an error that is none")
			case unix.SOCK_DIAG_BY_FAMILY:
				return each(m.data)
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case done && interrupted:
			return errInterrupted
		case done:
			return nil
		}
	}
}

// outcome is the error number that ends an answer, negative or 0.
func outcome(b []byte) error {
	if len(b) < 4 {
		return nil // NLMSG_DONE without a number
	}
	if n := int32(native.Uint32(b)); n < 0 {
		return os.NewSyscallError("sock_diag", unix.Errno(-n))
	}
	return nil
}

// socket is the real link.
type socket struct{ fd int }

func open() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), s.close())
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), s.close())
	}
	return s, nil
}

func (s *socket) send(b []byte) error {
	return again(func() error {
		return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	})
}

func (s *socket) receive(b []byte) (n int, from uint32, err error) {
	var flags int
	var sender unix.Sockaddr
	err = again(func() error {
		var err error
		n, _, flags, sender, err = unix.Recvmsg(s.fd, b, nil, 0)
		return os.NewSyscallError("recvmsg", err)
	})
	if err != nil {
		return 0, 0, err
	}
	if flags&unix.MSG_TRUNC != 0 {
		return 0, 0, errors.New("a netlink message is longer than the buffer")
	}
	peer, ok := sender.(*unix.SockaddrNetlink)
	if !ok {
		return 0, 0, errors.New("a message did not come by netlink")
	}
	return n, peer.Pid, nil
}

func (s *socket) close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
