package sockdiag

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/tests/harness"
)

var (
	_ adapter.Source = (*Sockets)(nil)
	_ adapter.Queue  = (*Sockets)(nil)
	_ adapter.Owner  = (*Sockets)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source returns a source with a table of its own that ends with the test.
func source(t *testing.T, sockets ...string) *Sockets {
	t.Helper()
	table := NewTable()
	table.rest = 1
	s := New(table, sockets...)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// want waits until the source counts so many.
func want(t *testing.T, s *Sockets, busy, queued int) {
	t.Helper()
	var c adapter.Count
	var w adapter.Waiting
	var cerr, werr error
	err := harness.WaitFor(fmt.Sprintf("%d busy and %d queued", busy, queued), 20*time.Second, func() bool {
		c, cerr = s.Count(nil)
		w, werr = s.Queued()
		return cerr == nil && werr == nil && c.Busy == busy && w.Queued == queued
	})
	if err != nil {
		t.Fatalf("%v: count %+v, %v; queue %+v, %v", err, c, cerr, w, werr)
	}
	if c.Trust != adapter.Connections || c.ByProc != nil || c.Age < 0 || c.Age > 2*time.Second {
		t.Errorf("the count is %+v", c)
	}
}

// server is a listener that accepts when it is told to.
type server struct {
	t        *testing.T
	ln       net.Listener
	accepted []net.Conn
	clients  []net.Conn
}

func listen(t *testing.T, network, addr string, control func(network, address string, c syscall.RawConn) error) *server {
	t.Helper()
	ln, err := (&net.ListenConfig{Control: control}).Listen(context.Background(), network, addr)
	if err != nil {
		if strings.Contains(addr, "[::") {
			t.Skipf("no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	s := &server{t: t, ln: ln}
	t.Cleanup(func() {
		_ = ln.Close()
		for _, c := range append(s.accepted, s.clients...) {
			_ = c.Close()
		}
	})
	return s
}

func (s *server) port() string { return fmt.Sprint(s.ln.Addr().(*net.TCPAddr).Port) }

// dial opens n connections to addr, or to the listener itself.
func (s *server) dial(n int, addr string) {
	s.t.Helper()
	if addr == "" {
		addr = s.ln.Addr().String()
	}
	for range n {
		c, err := net.DialTimeout(s.ln.Addr().Network(), addr, 10*time.Second)
		if err != nil {
			s.t.Fatal(err)
		}
		s.clients = append(s.clients, c)
	}
}

func (s *server) accept(n int) {
	s.t.Helper()
	for range n {
		c, err := s.ln.Accept()
		if err != nil {
			s.t.Fatal(err)
		}
		s.accepted = append(s.accepted, c)
	}
}

func TestAcceptedAndQueuedConnections(t *testing.T) {
	for _, c := range []struct{ name, network, addr, dial, as string }{
		{"IPv4", "tcp4", "127.0.0.1:0", "", "127.0.0.1:PORT"},
		{"IPv6", "tcp6", "[::1]:0", "", "[::1]:PORT"},
		{"all of IPv4, by one address", "tcp4", "0.0.0.0:0", "127.0.0.1:PORT", "127.0.0.1:PORT"},
		{"all of IPv4, by itself", "tcp4", "0.0.0.0:0", "127.0.0.1:PORT", "0.0.0.0:PORT"},
		{"both, from IPv4", "tcp", "[::]:0", "127.0.0.1:PORT", "127.0.0.1:PORT"},
		{"both, from IPv6", "tcp", "[::]:0", "[::1]:PORT", "[::]:PORT"},
		{"both, by a mapped address", "tcp", "[::]:0", "127.0.0.1:PORT", "[::ffff:127.0.0.1]:PORT"},
		{"all of IPv6 only", "tcp6", "[::]:0", "[::1]:PORT", "[::1]:PORT"},
		{"unix", "unix", "SOCKET", "", "unix:SOCKET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sock := filepath.Join(t.TempDir(), "x.sock")
			srv := listen(t, c.network, strings.ReplaceAll(c.addr, "SOCKET", sock), nil)
			fill := func(text string) string {
				if c.network == "unix" {
					return strings.ReplaceAll(text, "SOCKET", sock)
				}
				return strings.ReplaceAll(text, "PORT", srv.port())
			}
			s := source(t, fill(c.as))
			want(t, s, 0, 0)
			srv.dial(3, fill(c.dial))
			want(t, s, 0, 3)
			srv.accept(2)
			want(t, s, 2, 1)
			srv.accept(1)
			want(t, s, 3, 0)
			if w, err := s.Queued(); err != nil || w.Limit < 1 {
				t.Errorf("the queue's limit: %+v, %v", w, err)
			}
			_ = srv.accepted[0].Close()
			want(t, s, 2, 0)
		})
	}
}

func TestSeveralSocketsOfOneApplication(t *testing.T) {
	four, other := listen(t, "tcp4", "127.0.0.1:0", nil), listen(t, "tcp4", "127.0.0.1:0", nil)
	sock := filepath.Join(t.TempDir(), "x.sock")
	local := listen(t, "unix", sock, nil)
	s := source(t, four.ln.Addr().String(), "unix:"+sock)
	for _, l := range []*server{four, local} {
		l.dial(3, "")
		l.accept(2)
	}
	other.dial(5, "")
	other.accept(4)
	want(t, s, 4, 2)
	// One source more, at the same table, for the other one and with a count of its own.
	second := New(s.table, other.ln.Addr().String())
	want(t, second, 4, 1)
	want(t, s, 4, 2)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, s, 4, 2)
}

// The same listener by two names counts once.
func TestAListenerCountsOnce(t *testing.T) {
	srv := listen(t, "tcp", "[::]:0", nil)
	s := source(t, "127.0.0.1:"+srv.port(), "[::1]:"+srv.port())
	srv.dial(1, "127.0.0.1:"+srv.port())
	srv.dial(2, "[::1]:"+srv.port())
	srv.accept(2)
	want(t, s, 2, 1)
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); cerr != nil {
		return cerr
	}
	return err
}

func TestReusePortListenersAreSummed(t *testing.T) {
	one := listen(t, "tcp4", "127.0.0.1:0", reusePort)
	s := source(t, one.ln.Addr().String())
	want(t, s, 0, 0)
	single, err := s.Queued()
	if err != nil {
		t.Fatal(err)
	}
	_ = listen(t, "tcp4", one.ln.Addr().String(), reusePort)
	// Connections spread over the two; nobody accepts.
	one.dial(8, "")
	want(t, s, 0, 8)
	if w, err := s.Queued(); err != nil || w.Limit != 2*single.Limit {
		t.Errorf("two listeners may queue %+v, %v, one %+v", w, err, single)
	}
}

func TestClosedConnectionsDoNotCount(t *testing.T) {
	srv := listen(t, "tcp4", "127.0.0.1:0", nil)
	s := source(t, srv.ln.Addr().String())
	srv.dial(6, "")
	srv.accept(4)
	// The server closes first, so that TIME_WAIT is on its side.
	for i := range 2 {
		_ = srv.accepted[i].Close()
		_ = srv.clients[i].Close()
	}
	want(t, s, 2, 2)
	// Two clients give up: one is worked on still, one will be.
	_ = srv.clients[3].Close()
	_ = srv.clients[5].Close()
	want(t, source(t, srv.ln.Addr().String()), 2, 2) // a source that has not asked before
}

// The kernel gives a connection to the listener on its very address.
func TestAnAddressOfItsOwnBesideAll(t *testing.T) {
	all := listen(t, "tcp4", "0.0.0.0:0", reusePort)
	own := listen(t, "tcp4", "127.0.0.2:"+all.port(), reusePort)
	all.dial(3, "127.0.0.1:"+all.port())
	all.accept(2)
	own.dial(5, "")
	own.accept(4)
	want(t, source(t, "0.0.0.0:"+all.port()), 2, 1)
	want(t, source(t, "127.0.0.1:"+all.port()), 2, 1)
	want(t, source(t, own.ln.Addr().String()), 4, 1)
}

func TestTwoThousandConnections(t *testing.T) {
	const n = 2000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*n+100 {
		t.Skipf("only %d files may be open, %d are wanted", limit.Cur, 2*n+100)
	}
	srv := listen(t, "tcp4", "127.0.0.1:0", nil)
	s := source(t, srv.ln.Addr().String())
	for range n / 50 {
		srv.dial(50, "")
		srv.accept(50)
	}
	srv.dial(7, "")
	want(t, s, n, 7)
}

// More ports than the kernel's filter is made for, and as many as it takes, each with one connection.
func TestManyPorts(t *testing.T) {
	for _, n := range []int{2, filterPorts, filterPorts + 1} {
		var sockets []string
		var all []*server
		for range n {
			srv := listen(t, "tcp4", "127.0.0.1:0", nil)
			sockets, all = append(sockets, srv.ln.Addr().String()), append(all, srv)
		}
		for _, srv := range all {
			srv.dial(1, "")
			srv.accept(1)
		}
		// Not asked for, and below, between or above the ports that are.
		other := listen(t, "tcp4", "127.0.0.1:0", nil)
		other.dial(3, "")
		other.accept(3)
		want(t, source(t, sockets...), n, 0)
		want(t, source(t, sockets[:n-1]...), n-1, 0)
		want(t, source(t, sockets[1:]...), n-1, 0)
	}
}

func TestNoListenerIsAnError(t *testing.T) {
	srv := listen(t, "tcp4", "127.0.0.1:0", nil)
	dual := listen(t, "tcp6", "[::]:0", nil) // IPv6 only
	gone := filepath.Join(t.TempDir(), "gone.sock")
	for _, c := range []struct {
		name    string
		sockets []string
		want    string
	}{
		{"another address", []string{"127.0.0.2:" + srv.port()}, "nothing listens on 127.0.0.2:" + srv.port()},
		{"IPv6", []string{"[::1]:" + srv.port()}, "nothing listens on [::1]:"},
		{"IPv6 only", []string{"127.0.0.1:" + dual.port()}, "nothing listens on 127.0.0.1:"},
		{"one of two", []string{"127.0.0.1:" + srv.port(), "unix:" + gone}, "nothing listens on unix:" + gone},
		{"none given", nil, "no listening socket"},
		{"a name", []string{"localhost:80"}, "localhost:80"},
		{"a zone", []string{"[fe80::1%lo]:80"}, "zone"},
		{"port 0", []string{"127.0.0.1:0"}, "127.0.0.1:0"},
		{"a relative path", []string{"unix:x.sock"}, "unix:x.sock"},
	} {
		s := source(t, c.sockets...)
		if n, err := s.Count(nil); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v, want one sentence with %q", c.name, n, err, c.want)
		}
		if w, err := s.Queued(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want one sentence with %q", c.name, w, err, c.want)
		}
	}
	s := source(t, srv.ln.Addr().String())
	want(t, s, 0, 0)
	_ = srv.ln.Close()
	if err := harness.WaitFor("an error", 10*time.Second, func() bool { _, err := s.Count(nil); return err != nil }); err != nil {
		t.Error("a listener that has gone counts as one without connections")
	}
}
