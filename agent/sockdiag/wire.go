package sockdiag

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes and numbers of linux/netlink.h, linux/inet_diag.h and linux/unix_diag.h.
const (
	inetRequestLen = 56
	inetMessageLen = 72
	unixRequestLen = 24
	unixMessageLen = 16

	attrBytecode = 1  // INET_DIAG_REQ_BYTECODE
	attrV6Only   = 11 // INET_DIAG_SKV6ONLY
	attrName     = 0  // UNIX_DIAG_NAME
	attrQueue    = 4  // UNIX_DIAG_RQLEN

	showName, showQueue = 0x01, 0x10 // UDIAG_SHOW_NAME, UDIAG_SHOW_RQLEN

	opJump, opPortGE, opPortLE = 1, 2, 3 // INET_DIAG_BC_JMP, S_GE, S_LE

	stateEstablished = unix.BPF_TCP_ESTABLISHED
	stateCloseWait   = unix.BPF_TCP_CLOSE_WAIT
	stateListen      = unix.BPF_TCP_LISTEN
)

var native = binary.NativeEndian

// message is one netlink message; data is valid until the next read.
type message struct {
	kind, flags uint16
	seq, port   uint32
	data        []byte
}

// messages splits what one read returned (netlink(7)).
func messages(b []byte, each func(message) error) error {
	for len(b) > 0 {
		if len(b) < unix.NLMSG_HDRLEN {
			return errors.New("a netlink message is cut off")
		}
		n := native.Uint32(b)
		if n < unix.NLMSG_HDRLEN || uint64(n) > uint64(len(b)) {
			return fmt.Errorf("a netlink message has the impossible length %d", n)
		}
		m := message{kind: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]),
			port: native.Uint32(b[12:]), data: b[unix.NLMSG_HDRLEN:n]}
		if err := each(m); err != nil {
			return err
		}
		b = b[min(aligned(int(n)), len(b)):]
	}
	return nil
}

// attributes calls each with the attributes (type, value) behind a message's fixed part.
func attributes(b []byte, each func(kind uint16, value []byte)) error {
	const header = 4
	for len(b) > 0 {
		if len(b) < header {
			return errors.New("an attribute is cut off")
		}
		n := int(native.Uint16(b))
		if n < header || n > len(b) {
			return fmt.Errorf("an attribute has the impossible length %d", n)
		}
		each(native.Uint16(b[2:]), b[header:n])
		b = b[min(aligned(n), len(b)):]
	}
	return nil
}

func aligned(n int) int { return (n + 3) &^ 3 }

// endpoint is the local side of TCP sockets. Addresses are unmapped, so v6 tells an IPv4 address of a dual-stack socket from
// one of an IPv4 socket.
type endpoint struct {
	v6   bool
	addr netip.AddrPort
}

// inetSocket is one TCP socket. Of a listener, received is what waits to be accepted and sent how much may.
type inetSocket struct {
	endpoint
	state          byte
	received, sent uint32
	inode          uint32
	v6only         bool
}

// parseInet reads an inet_diag_msg and the attributes behind it.
func parseInet(b []byte) (inetSocket, error) {
	if len(b) < inetMessageLen {
		return inetSocket{}, fmt.Errorf("a TCP socket has %d bytes, want at least %d", len(b), inetMessageLen)
	}
	s := inetSocket{state: b[1], received: native.Uint32(b[56:]), sent: native.Uint32(b[60:]), inode: native.Uint32(b[68:])}
	port, addr := binary.BigEndian.Uint16(b[4:]), netip.Addr{}
	switch b[0] {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(b[8:12]))
	case unix.AF_INET6:
		addr, s.v6 = netip.AddrFrom16([16]byte(b[8:24])).Unmap(), true
	default:
		return inetSocket{}, fmt.Errorf("a TCP socket has the address family %d", b[0])
	}
	s.addr = netip.AddrPortFrom(addr, port)
	err := attributes(b[inetMessageLen:], func(kind uint16, value []byte) {
		if kind == attrV6Only && len(value) > 0 {
			s.v6only = value[0] != 0
		}
	})
	return s, err
}

// unixSocket is one unix socket; accepted ones have the name of their listener.
type unixSocket struct {
	name           string
	state          byte
	stream         bool
	received, sent uint32
	inode          uint32
}

// parseUnix reads a unix_diag_msg and the attributes behind it.
func parseUnix(b []byte) (unixSocket, error) {
	if len(b) < unixMessageLen {
		return unixSocket{}, fmt.Errorf("a unix socket has %d bytes, want at least %d", len(b), unixMessageLen)
	}
	if b[0] != unix.AF_UNIX {
		return unixSocket{}, fmt.Errorf("a unix socket has the address family %d", b[0])
	}
	s := unixSocket{stream: b[1] == unix.SOCK_STREAM, state: b[2], inode: native.Uint32(b[4:])}
	err := attributes(b[unixMessageLen:], func(kind uint16, value []byte) {
		switch {
		case kind == attrName:
			// A path ends with a zero byte; the name of an abstract socket begins with one and is left empty here.
			name, _, _ := bytes.Cut(value, []byte{0})
			s.name = string(name)
		case kind == attrQueue && len(value) >= 8:
			s.received, s.sent = native.Uint32(value), native.Uint32(value[4:])
		}
	})
	return s, err
}

// inetRequest asks for the TCP sockets of one family in some states (a mask), on some local ports or on all of them.
func inetRequest(family byte, states uint32, ports []uint16) []byte {
	b := make([]byte, inetRequestLen, inetRequestLen+4+20*len(ports))
	b[0], b[1] = family, unix.IPPROTO_TCP
	native.PutUint32(b[4:], states)
	if len(ports) == 0 {
		return b
	}
	code := portFilter(ports)
	b = native.AppendUint16(b, uint16(4+len(code)))
	b = native.AppendUint16(b, attrBytecode)
	return append(b, code...)
}

// unixRequest asks for the unix sockets in some states.
func unixRequest(states, show uint32) []byte {
	b := make([]byte, unixRequestLen)
	b[0] = unix.AF_UNIX
	native.PutUint32(b[4:], states)
	native.PutUint32(b[12:], show)
	return b
}

// portFilter is the kernel's byte code (linux/inet_diag.h) for "the local port is one of these". An operation is a code, the
// jump when it is true (which must be its own length) and the jump when it is not; a jump to the end takes the socket, one
// beyond it leaves it out. The equality of a port came with Linux 4.16, so two comparisons stand for it.
func portFilter(ports []uint16) []byte {
	const compare, jump = 8, 4
	const one = 2*compare + jump
	size := one*len(ports) - jump
	b := make([]byte, 0, size)
	op := func(code, yes byte, no int) {
		b = append(b, code, yes)
		b = native.AppendUint16(b, uint16(no))
	}
	port := func(code byte, no int, p uint16) {
		op(code, compare, no)
		op(0, 0, int(p))
	}
	for _, p := range ports {
		// Without a match both go on behind the jump, which is one beyond the end for the last port.
		port(opPortGE, one, p)
		port(opPortLE, one-compare, p)
		if len(b) < size {
			op(opJump, jump, size-len(b))
		}
	}
	return b
}
