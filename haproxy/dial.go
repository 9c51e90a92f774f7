package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxReply bounds what is read in one turn; 10,000 servers make 3 MB.
const maxReply = 64 << 20

// abnsLen is how long an abstract socket's name is on the wire: HAProxy pads it with zeroes to the whole of sun_path.
const abnsLen = 108

// maxUnixPath is the longest path that sun_path holds with its final zero.
const maxUnixPath = 107

// target is where a stats socket listens.
type target struct {
	name    string // as the user wrote it
	network string
	address string
}

// parseAddr understands "unix:/path", "abns@name" (as HAProxy writes abstract sockets; "unix:abns@name" too) and "127.0.0.1:port".
func parseAddr(addr string) (target, error) { return parseTarget(addr, false) }

// parseTarget also understands "10.0.0.2:port" when another machine's socket is allowed.
func parseTarget(addr string, remote bool) (target, error) {
	t := target{name: addr}
	if strings.ContainsFunc(addr, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return t, fmt.Errorf("the address %q of the stats socket has control characters", addr)
	}
	rest, isUnix := strings.CutPrefix(addr, "unix:")
	if name, ok := strings.CutPrefix(rest, "abns@"); ok {
		if name == "" || len(name) > abnsLen-1 {
			return t, fmt.Errorf("the address %.140q of the stats socket: an abstract name has 1 to %d characters", addr, abnsLen-1)
		}
		t.network, t.address = "unix", "@"+name+strings.Repeat("\x00", abnsLen-1-len(name))
		return t, nil
	}
	if isUnix {
		if !filepath.IsAbs(rest) || len(rest) > maxUnixPath {
			return t, fmt.Errorf("the address %.140q of the stats socket: after unix: comes an absolute path of at most %d characters", addr, maxUnixPath)
		}
		t.network, t.address = "unix", rest
		return t, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return t, fmt.Errorf("the address %.140q of the stats socket is neither unix:/path nor abns@name nor 127.0.0.1:port", addr)
	}
	// The runtime API asks for no password, so over TCP it is for this machine only.
	if ip := net.ParseIP(host); ip == nil || !remote && !ip.IsLoopback() {
		return t, fmt.Errorf("the address %.140q of the stats socket: over TCP it has no authentication, so only loopback addresses (127.0.0.1, ::1) are allowed", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return t, fmt.Errorf("the address %.140q of the stats socket: the port is 1 to 65535", addr)
	}
	t.network, t.address = "tcp", addr
	return t, nil
}

// exchange sends one line over a fresh connection and reads to the end of the stream, all of it within the time-out. An
// error that is ErrUnreachable means that nothing was sent.
func (t target) exchange(ctx context.Context, line string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, t.unreachable(err, timeout)
	}
	defer conn.Close()
	// A time in the past wakes a blocked read or write when the context ends, by deadline or by the caller.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return nil, t.unknown(ctx, "write to", err, timeout)
	}
	// The writing side stays open: HAProxy takes a half-closed connection for a client that is gone.
	reply, err := io.ReadAll(io.LimitReader(conn, maxReply+1))
	if err != nil {
		return nil, t.unknown(ctx, "read from", err, timeout)
	}
	if len(reply) > maxReply {
		return nil, fail(ErrUnknown, nil, "read from %s: the answer is longer than %d bytes", t.name, maxReply)
	}
	if len(reply) == 0 {
		return nil, fail(ErrUnknown, io.ErrUnexpectedEOF, "read from %s: the connection was closed without an answer", t.name)
	}
	return reply, nil
}

func (t target) unreachable(err error, timeout time.Duration) error {
	why := err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = `the socket does not exist; is HAProxy running, and does its global section have this "stats socket"?`
	case errors.Is(err, fs.ErrPermission):
		why = `this user may not open it; give the "stats socket" line a mode, user or group that lets tidegate in`
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody listens there; is HAProxy running?"
	case errors.Is(err, syscall.EAGAIN):
		why = `its backlog is full: all connection slots are busy ("stats maxconn", 10 by default)`
	case errors.Is(err, context.Canceled):
		why = "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		why = fmt.Sprintf("no connection within %v", timeout)
	}
	return fail(ErrUnreachable, err, "dial the stats socket %s: %s", t.name, why)
}

func (t target) unknown(ctx context.Context, verb string, err error, timeout time.Duration) error {
	why := err.Error()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		why, err = "cancelled before the answer was complete", context.Canceled
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = fmt.Sprintf(`no complete answer within %v; HAProxy hangs or all its connection slots are busy ("stats maxconn", 10 by default)`, timeout)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		why = "HAProxy cut the connection before the answer was complete"
	}
	return fail(ErrUnknown, err, "%s the stats socket %s: %s", verb, t.name, why)
}
