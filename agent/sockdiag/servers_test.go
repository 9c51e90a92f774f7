package sockdiag

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/tests/harness"
)

// started is a real server that listens on addr ("ADDRESS:PORT" or "unix:/path") and is slow to answer what request sends.
type started struct {
	t       *testing.T
	addr    string
	request string
}

func (s started) dial() net.Conn {
	s.t.Helper()
	network, addr := "tcp", s.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	c, err := net.DialTimeout(network, addr, 10*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// slow sends n requests that take longer than the test.
func (s started) slow(n int) {
	s.t.Helper()
	for range n {
		if _, err := io.WriteString(s.dial(), s.request); err != nil {
			s.t.Fatal(err)
		}
	}
}

// fiveWorkers checks a server with five workers that take one connection each.
func fiveWorkers(t *testing.T, s started) {
	t.Helper()
	src := source(t, s.addr)
	want(t, src, 0, 0)
	s.slow(3)
	want(t, src, 3, 0)
	s.slow(4)
	want(t, src, 5, 2)
	if w, err := src.Queued(); err != nil || w.Limit < 5 {
		t.Errorf("the queue: %+v, %v", w, err)
	}
}

const slowHTTP = "GET /?ms=25000 HTTP/1.1\r\nHost: shop\r\n\r\n"

func gunicorn(t *testing.T, bind string, workers int, extra ...string) started {
	t.Helper()
	harness.Need(t, "gunicorn")
	rig := harness.ForTest(t)
	port, err := rig.Port()
	if err != nil {
		t.Fatal(err)
	}
	bind = strings.NewReplacer("PORT", fmt.Sprint(port), "SOCKET", rig.Path("g.sock")).Replace(bind)
	if strings.HasPrefix(bind, "[") {
		ln, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Skipf("no IPv6 here: %v", err)
		}
		_ = ln.Close()
	}
	if _, err := rig.StartGunicorn(harness.Gunicorn{Name: "g", Bind: bind, Workers: workers,
		Extra: append([]string{"--graceful-timeout", "1"}, extra...)}); err != nil {
		t.Fatal(err)
	}
	return started{t, bind, slowHTTP}
}

func TestGunicornSync(t *testing.T) {
	for name, bind := range map[string]string{"IPv4": "127.0.0.1:PORT", "IPv6": "[::1]:PORT", "unix": "unix:SOCKET"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fiveWorkers(t, gunicorn(t, bind, 5))
		})
	}
}

func TestUnicorn(t *testing.T) {
	t.Parallel()
	harness.Need(t, "unicorn")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	rig.MustWrite(t, "config.ru", "run lambda { |env| sleep 25 if env['QUERY_STRING'] != ''; [200, {'Content-Type' => 'text/plain'}, ['ok']] }\n")
	conf := rig.MustWrite(t, "unicorn.rb", fmt.Sprintf("worker_processes 5\nlisten %q\nworking_directory %q\n", addr, rig.Dir))
	if _, err := rig.Start("unicorn", nil, "unicorn", "-c", conf, rig.Path("config.ru")); err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(addr, 20*time.Second); err != nil {
		t.Fatalf("%v\n%s", err, rig.Dump())
	}
	fiveWorkers(t, started{t, addr, slowHTTP})
}

func TestPHPFPM(t *testing.T) {
	t.Parallel()
	harness.Need(t, "php-fpm8.2")
	rig := harness.ForTest(t)
	script := rig.MustWrite(t, "slow.php", "<?php sleep(25);\n")
	sock := rig.Path("fpm.sock")
	user := ""
	if os.Getuid() == 0 {
		user = "user = root\n"
	}
	conf := rig.MustWrite(t, "fpm.conf", fmt.Sprintf("[global]\nerror_log = %s\n[shop]\n%slisten = %s\npm = static\npm.max_children = 5\n",
		rig.Path("fpm.log"), user, sock))
	if _, err := rig.Start("fpm", nil, "php-fpm8.2", "-F", "-R", "-y", conf); err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening("unix:"+sock, 20*time.Second); err != nil {
		t.Fatalf("%v\n%s", err, rig.Dump())
	}
	fiveWorkers(t, started{t, "unix:" + sock, fastCGI(script)})
}

// fastCGI is a whole request for a script.
func fastCGI(script string) string {
	record := func(kind byte, content string) string {
		return string([]byte{1, kind, 0, 1, byte(len(content) >> 8), byte(len(content)), 0, 0}) + content
	}
	params := ""
	for _, p := range [][2]string{{"SCRIPT_FILENAME", script}, {"REQUEST_METHOD", "GET"}} {
		params += string([]byte{byte(len(p[0])), byte(len(p[1]))}) + p[0] + p[1]
	}
	return record(1, "\x00\x01\x00\x00\x00\x00\x00\x00") + record(4, params) + record(4, "") + record(5, "")
}

// What this source cannot know, as docs/app-servers.md says: idle connections that are kept open count as busy, and threads take
// more connections than they can work on.
func TestKeptConnectionsCount(t *testing.T) {
	t.Parallel()
	srv := gunicorn(t, "127.0.0.1:PORT", 1, "--worker-class", "gthread", "--threads", "2", "--keep-alive", "60")
	s := source(t, srv.addr)
	for range 3 {
		c := srv.dial()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 || resp.Close {
			t.Fatalf("%+v, %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	want(t, s, 3, 0) // nothing is worked on
	srv.slow(4)
	want(t, s, 7, 0) // two are
}
