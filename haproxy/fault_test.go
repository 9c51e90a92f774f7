package haproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// fake stands in for HAProxy where the real one cannot be brought to fail on purpose: it reads one line and does as told.
type fake struct {
	addr string
	mu   sync.Mutex
	seen []string
}

func (f *fake) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

func startFake(t *testing.T, serve func(n int, line string, c net.Conn)) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: ln.Addr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n')
			f.mu.Lock()
			f.seen = append(f.seen, line)
			n := len(f.seen)
			f.mu.Unlock()
			serve(n, line, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return f
}

const info = "\nPid: 7\nStart_time_sec: 1700000000\nUptime_sec: 5\nStopping: 0\nVersion: 2.6.12\n\n"

func say(c net.Conn, text string) { _, _ = c.Write([]byte(text)) }

// untilClosed waits until the client hangs up, so that the fake never answers and yet ends.
func untilClosed(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestFaultsOfTheConnection(t *testing.T) {
	cmds := []haproxy.Command{haproxy.SetState("web", "s1", haproxy.Maint)}
	for _, f := range []struct {
		name    string
		serve   func(n int, line string, c net.Conn)
		observe error  // what Observe says
		apply   error  // what Apply says
		text    string // in Apply's error
		changes int    // lines with a change that the fake got to see
	}{
		{"never answers", func(_ int, _ string, c net.Conn) { untilClosed(c) },
			haproxy.ErrUnknown, haproxy.ErrUnreachable, "no complete answer within 500ms", 0},
		{"answers the probe only", func(n int, _ string, c net.Conn) {
			if n == 1 {
				say(c, info)
			} else {
				untilClosed(c)
			}
		}, nil, haproxy.ErrUnknown, "no complete answer within 500ms", 1},
		{"closes at once", func(int, string, net.Conn) {}, haproxy.ErrUnknown, haproxy.ErrUnreachable, "without an answer", 0},
		{"resets", func(_ int, _ string, c net.Conn) { reset(c) }, haproxy.ErrUnknown, haproxy.ErrUnreachable, "no change was sent", 0},
		{"resets after half of the answer", func(n int, _ string, c net.Conn) {
			say(c, info)
			if n > 1 {
				reset(c)
			}
		}, nil, haproxy.ErrUnknown, "", 1},
		{"whole answer but never ends", func(_ int, _ string, c net.Conn) { say(c, info); untilClosed(c) },
			haproxy.ErrUnknown, haproxy.ErrUnreachable, "no complete answer", 0},
		{"stops before the read-back", func(n int, _ string, c net.Conn) {
			say(c, info)
			if n > 1 {
				say(c, "\n")
			}
		}, nil, haproxy.ErrUnknown, "the answer ends within command 2 of 3", 1},
		{"talks of something else", func(_ int, _ string, c net.Conn) { say(c, "HTTP/1.0 400 Bad request\n\n<html>") },
			haproxy.ErrUnknown, haproxy.ErrUnreachable, "not an empty line", 0},
		{"stopping", func(_ int, _ string, c net.Conn) { say(c, strings.Replace(info, "Stopping: 0", "Stopping: 1", 1)) },
			nil, haproxy.ErrStopping, "no change was sent", 0},
		{"another process half-way", func(n int, _ string, c net.Conn) {
			if n == 1 {
				say(c, info)
			} else {
				say(c, strings.Replace(info, "Stopping: 0", "Stopping: 1", 1)+"\n[3]: Can't find backend.\n\n[3]: No such proxy.\n\n")
			}
		}, nil, haproxy.ErrStopping, "began to stop", 1},
	} {
		t.Run(f.name, func(t *testing.T) {
			fk := startFake(t, f.serve)
			c := client(t, haproxy.Options{Addr: fk.addr, Timeout: 500 * time.Millisecond})
			_, results, err := c.Apply(context.Background(), cmds, nil)
			if !errors.Is(err, f.apply) || !strings.Contains(err.Error(), f.text) {
				t.Errorf("apply: %v; want %v with %q", err, f.apply, f.text)
			}
			if len(results) != 1 || !errors.Is(results[0].Err, f.apply) {
				t.Errorf("results: %v", results)
			}
			changes := 0
			for _, line := range fk.lines() {
				if strings.Contains(line, "set server") {
					changes++
				}
			}
			if changes != f.changes {
				t.Errorf("%d lines with a change were sent, want %d", changes, f.changes)
			}

			fk = startFake(t, f.serve)
			c = client(t, haproxy.Options{Addr: fk.addr, Timeout: 500 * time.Millisecond})
			if _, err := c.Observe(context.Background(), nil); !errors.Is(err, f.observe) {
				t.Errorf("observe: %v; want %v", err, f.observe)
			}
		})
	}
}

// No reply of HAProxy but the empty one is a success, whatever it says.
func TestAnUnknownReplyIsAFailure(t *testing.T) {
	for reply, ok := range map[string]bool{"\n": true, "[3]: Out of cheese.\n\n": false, "[6]: all is well\n\n": false, "done\n\n": false} {
		fk := startFake(t, func(n int, _ string, c net.Conn) {
			say(c, info)
			if n > 1 {
				say(c, reply+"1\n# be_id be_name srv_name srv_addr srv_port srv_op_state srv_admin_state srv_uweight srv_iweight srv_check_result srv_check_state\n"+
					"2 web s1 127.0.0.1 80 2 0 10 100 3 6\n\n# pxname,svname,type,qcur,scur,slim,stot,status,\nweb,BACKEND,1,0,0,0,0,UP,\nweb,s1,2,0,0,,0,UP,\n\n")
			}
		})
		_, results, err := client(t, haproxy.Options{Addr: fk.addr}).Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s1", 10)}, nil)
		if err != nil || (results[0].Err == nil) != ok {
			t.Errorf("%q: %v, %v", reply, results, err)
		}
		if !ok && !strings.Contains(fmt.Sprint(results[0].Err), "HAProxy answers") {
			t.Errorf("%q: the error does not repeat the answer: %v", reply, results[0].Err)
		}
	}
}

// A long reading takes several connections, and a reload may come in between.
func TestAReadingOfTwoProcessesIsNotAState(t *testing.T) {
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("backend-%d", i))
	}
	for pids, want := range map[string]error{"77777777": nil, "77888888": haproxy.ErrUnknown} {
		fk := startFake(t, func(n int, line string, c net.Conn) {
			say(c, strings.Replace(info, "Pid: 7", "Pid: "+pids[n-1:n], 1))
			for _, cmd := range strings.Split(line, ";")[2:] {
				if strings.HasPrefix(cmd, "show stat") {
					say(c, "[3]: No such proxy.\n\n")
				} else {
					say(c, "[3]: Can't find backend.\n\n")
				}
			}
		})
		c := client(t, haproxy.Options{Addr: fk.addr})
		if _, err := c.Observe(context.Background(), names); !errors.Is(err, want) {
			t.Errorf("pids %s: %v, want %v", pids, err, want)
		}
		if n := len(fk.lines()); n < 3 {
			t.Errorf("pids %s: %d connections, want several", pids, n)
		}
	}
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	fk := startFake(t, func(_ int, _ string, c net.Conn) { untilClosed(c) })
	c := client(t, haproxy.Options{Addr: fk.addr, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := c.Observe(ctx, nil)
	if !errors.Is(err, haproxy.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled and unknown", err)
	}
}

func TestAMissingSocketIsSaidOnceInOneSentence(t *testing.T) {
	dir := t.TempDir()
	stale := dir + "/stale.sock"
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if _, err := os.Stat(stale); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir + "/none.sock": "the socket does not exist", stale: "nobody listens there"} {
		var log bytes.Buffer
		c := client(t, haproxy.Options{Addr: "unix:" + path, Name: "main", Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 5 {
			_, err := c.Observe(context.Background(), []string{"web"})
			if !errors.Is(err, haproxy.ErrUnreachable) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v; want it to say %q and the path", err, want)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("five failures gave %d log lines:\n%s", n, log.String())
		}
	}
}

func TestMetricsAndLogOfAClient(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "", "backend web\n    server s1 127.0.0.1:9 weight 100\n")
	set := metrics.NewSet()
	var log bytes.Buffer
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket, Name: "main", Metrics: set, Log: slog.New(slog.NewTextHandler(&log, nil))})
	other := client(t, haproxy.Options{Addr: "unix:" + rig.Path("none.sock"), Name: "other", Metrics: set})
	apply(t, c, haproxy.SetWeight("web", "s1", 10))
	if _, _, err := c.Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s9", 10), {Kind: "weight"}}, nil); err == nil {
		t.Error("a command without names was accepted")
	}
	if _, err := other.Observe(context.Background(), nil); err == nil {
		t.Error("a missing socket was accepted")
	}
	text := func() string {
		var b bytes.Buffer
		set.WritePrometheus(&b)
		return b.String()
	}
	for _, want := range []string{
		`tidegate_haproxy_commands_total{haproxy="main",kind="weight",result="ok"} 1`,
		`tidegate_haproxy_commands_total{haproxy="main",kind="weight",result="invalid"} 2`,
		`tidegate_haproxy_batches_total{haproxy="main"} 2`,
		`tidegate_haproxy_batch_seconds_count{haproxy="main"} 2`,
		`tidegate_haproxy_errors_total{haproxy="main",reason="unreachable"} 0`,
		`tidegate_haproxy_errors_total{haproxy="other",reason="unreachable"} 1`,
		`tidegate_haproxy_last_success_age_seconds{haproxy="other"} `,
	} {
		if !strings.Contains(text(), want) {
			t.Errorf("the metrics lack %s:\n%s", want, text())
		}
	}
	if !strings.Contains(log.String(), "a HAProxy process answers") {
		t.Errorf("the log does not name the process:\n%s", log.String())
	}
	c.Close()
	if strings.Contains(text(), `"main"`) || !strings.Contains(text(), `"other"`) {
		t.Errorf("after Close its own series are gone, and only they:\n%s", text())
	}
}
