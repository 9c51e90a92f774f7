package haproxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen accepts connections on a free port until the test ends, and answers nothing: a server for TCP checks and for
// requests that stay in service.
func listen(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var held []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				for _, c := range held {
					c.Close()
				}
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

const head = `global
    stats socket {{SOCK}} mode 600 level admin
    %s
defaults
    mode http
    timeout connect 1s
    timeout client 20s
    timeout server 20s
    timeout queue 20s
`

// start runs the real HAProxy with more global lines and the given sections.
func start(t testing.TB, rig *harness.Rig, global, sections string) *harness.HAProxy {
	t.Helper()
	h, err := rig.StartHAProxy("haproxy", fmt.Sprintf(head, global)+sections)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func client(t testing.TB, o haproxy.Options) *haproxy.Client {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	c, err := haproxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// apply sends commands that all have to take, and returns the state after them.
func apply(t testing.TB, c *haproxy.Client, cmds ...haproxy.Command) haproxy.State {
	t.Helper()
	state, results, err := c.Apply(context.Background(), cmds, nil)
	if err != nil {
		t.Fatalf("apply %v: %v", cmds, err)
	}
	if len(results) != len(cmds) {
		t.Fatalf("%d results for %d commands", len(results), len(cmds))
	}
	for i, r := range results {
		if r.Err != nil || r.Command != cmds[i] {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	return state
}

func observe(t testing.TB, c *haproxy.Client, backends ...string) haproxy.State {
	t.Helper()
	state, err := c.Observe(context.Background(), backends)
	if err != nil {
		t.Fatalf("observe %v: %v", backends, err)
	}
	return state
}

func server(t testing.TB, s haproxy.State, backend, name string) haproxy.Server {
	t.Helper()
	srv, ok := s.Backends[backend].Server(name)
	if !ok {
		t.Fatalf("no server %s/%s in %+v", backend, name, s.Backends)
	}
	return srv
}

func TestStateMatrix(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	up := listen(t)
	down, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, rig, "", fmt.Sprintf(`
frontend web
    bind %s
    default_backend web
backend web
    balance leastconn
    default-server weight 100
    server off %[2]s disabled check inter 100ms
    server on %[2]s check inter 100ms fall 1 rise 1
    server plain %[2]s maxconn 7 weight 50
    server dead 127.0.0.1:%[3]s check inter 100ms fall 1
    server long %[2]s check inter 100ms rise 1000
backend asleep
    disabled
    server s1 %[2]s
`, "127.0.0.1:"+port(t, rig), up, down[strings.LastIndex(down, ":")+1:]))
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})

	// The frontend of the same name hides the backend from "show stat web"; Algorithm comes from there.
	err = harness.WaitFor("the first checks", 10*time.Second, func() bool {
		s := observe(t, c, "web")
		return server(t, s, "web", "dead").Op == haproxy.OpStopped && server(t, s, "web", "on").CheckPassing
	})
	if err != nil {
		t.Fatal(err)
	}
	s := observe(t, c, "web", "asleep", "nowhere")
	if b := s.Backends["web"]; b.Algorithm != "leastconn" || b.Missing || b.Disabled || len(b.Servers) != 5 || b.Servers[0].Name != "dead" {
		t.Errorf("backend: %+v", b)
	}
	if b := s.Backends["asleep"]; !b.Disabled || b.Missing || len(b.Servers) != 1 {
		t.Errorf("a disabled backend: %+v", b)
	}
	if b := s.Backends["nowhere"]; !b.Missing {
		t.Errorf("a missing backend: %+v", b)
	}

	expect := func(what string, s haproxy.State, name string, ok func(haproxy.Server) bool) {
		t.Helper()
		if srv := server(t, s, "web", name); !ok(srv) {
			t.Errorf("%s: %+v", what, srv)
		}
	}
	expect("configured as disabled", s, "off", func(v haproxy.Server) bool {
		return v.Admin == 5 && v.Admin.Maint() && v.Admin.FromConfig() && v.Op == haproxy.OpStopped && v.Weight == 100 && v.CheckConfigured && v.Addr == up
	})
	expect("up and checked", s, "on", func(v haproxy.Server) bool {
		return v.Admin == 0 && v.Op.Up() && v.CheckConfigured && v.CheckEnabled && v.CheckPassing && v.Status == "UP"
	})
	expect("without a check", s, "plain", func(v haproxy.Server) bool {
		return v.Op.Up() && !v.CheckConfigured && !v.CheckEnabled && !v.CheckPassing && v.MaxConn == 7 && v.InitialWeight == 50 && v.Status == "no check"
	})
	expect("failing its check", s, "dead", func(v haproxy.Server) bool {
		return v.Admin.Ready() && v.Op == haproxy.OpStopped && !v.CheckPassing && strings.HasPrefix(v.Status, "DOWN")
	})

	s = apply(t, c, haproxy.SetState("web", "off", haproxy.Ready))
	expect("made ready: 4 alone is READY", s, "off", func(v haproxy.Server) bool { return v.Admin == 4 && v.Admin.Ready() && v.Op.Up() })
	s = apply(t, c, haproxy.SetState("web", "off", haproxy.Drain))
	expect("drained", s, "off", func(v haproxy.Server) bool { return v.Admin == 12 && v.Admin.Drain() && v.Weight == 100 })
	s = apply(t, c, haproxy.SetWeight("web", "off", 0), haproxy.SetState("web", "off", haproxy.Maint))
	expect("parked as ours: maint with weight 0", s, "off", func(v haproxy.Server) bool {
		return v.Admin.Maint() && v.Weight == 0 && v.InitialWeight == 100
	})
	s = apply(t, c, haproxy.SetState("web", "plain", haproxy.Maint))
	expect("maint without a check", s, "plain", func(v haproxy.Server) bool { return v.Admin == 1 && v.Status == "MAINT" })
	s = apply(t, c, haproxy.SetState("web", "plain", haproxy.Ready), haproxy.SetHealth("web", "plain", haproxy.Down))
	expect("down without a check", s, "plain", func(v haproxy.Server) bool { return v.Op == haproxy.OpStopped && v.Admin.Ready() })
	s = apply(t, c, haproxy.SetHealth("web", "plain", haproxy.Up), haproxy.SetMaxConn("web", "plain", 3))
	expect("up again, with another maxconn", s, "plain", func(v haproxy.Server) bool { return v.Op.Up() && v.MaxConn == 3 })
	s = apply(t, c, haproxy.SetMaxConn("web", "plain", 0))
	expect("no limit", s, "plain", func(v haproxy.Server) bool { return v.MaxConn == 0 })

	// The way up: several states of one server in one batch, of which only the last can be read back.
	s = apply(t, c, haproxy.SetWeight("web", "long", 10), haproxy.SetState("web", "long", haproxy.Drain),
		haproxy.SetHealth("web", "long", haproxy.Down), haproxy.SetState("web", "long", haproxy.Ready), haproxy.SetWeight("web", "long", 25))
	expect("drain, health down, ready", s, "long", func(v haproxy.Server) bool {
		return v.Admin.Ready() && v.Op == haproxy.OpStopped && v.Weight == 25
	})
	// Maintenance hides the health that was set before it in the same batch.
	apply(t, c, haproxy.SetHealth("web", "long", haproxy.Up), haproxy.SetState("web", "long", haproxy.Maint))
	// And one that a check takes up again.
	apply(t, c, haproxy.SetHealth("web", "on", haproxy.Down))
	if err := harness.WaitFor("a good check", 10*time.Second, func() bool { return server(t, observe(t, c, "web"), "web", "on").Op.Up() }); err != nil {
		t.Error(err)
	}
	if _, err := h.Command("disable health web/on"); err != nil {
		t.Fatal(err)
	}
	expect("a person disabled the check", observe(t, c, "web"), "on", func(v haproxy.Server) bool { return v.CheckConfigured && !v.CheckEnabled })
}

func port(t testing.TB, rig *harness.Rig) string {
	t.Helper()
	p, err := rig.Port()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(p)
}

func TestLoadAndQueueAreSeen(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	app := listen(t) // first: the rig's ports are free, not taken
	front := "127.0.0.1:" + port(t, rig)
	h := start(t, rig, "", "listen web\n    bind "+front+"\n    server s1 "+app+" maxconn 1\n")
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
	for range 3 {
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	err := harness.WaitFor("one request in service and two in the queue", 10*time.Second, func() bool {
		b := observe(t, c, "web").Backends["web"]
		s := b.Servers[0]
		return b.Current == 3 && b.Queued == 2 && s.Current == 1 && s.Queued == 0 && s.MaxConn == 1 && s.Sessions == 1 && s.Answers == 0 && !s.Idle()
	})
	if err != nil {
		t.Errorf("%v: %+v", err, observe(t, c, "web"))
	}
}

func TestKindsOfSockets(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	tcp, name := "127.0.0.1:"+port(t, rig), "tg"+port(t, rig)
	h := start(t, rig, "stats socket ipv4@"+tcp+" level admin\n    stats socket abns@"+name+" level admin",
		"backend web\n    server s1 127.0.0.1:9 weight 100\n")
	for i, addr := range []string{"unix:" + h.Socket, tcp, "abns@" + name} {
		c := client(t, haproxy.Options{Addr: addr})
		if got := server(t, apply(t, c, haproxy.SetWeight("web", "s1", 10+i)), "web", "s1").Weight; got != 10+i {
			t.Errorf("%s: weight %d", addr, got)
		}
	}
}

// The table of what the real HAProxy refuses, or swallows without a word.
func TestWhatDoesNotTakeIsAFailure(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "stats socket {{DIR}}/operator.sock mode 600 level operator", `
backend web
    server s1 127.0.0.1:9 check inter 1s rise 1000 weight 100
    server follower 127.0.0.1:9 track web/s1
backend fixed
    balance static-rr
    server s1 127.0.0.1:9 weight 100
backend asleep
    disabled
    server s1 127.0.0.1:9
`)
	admin := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
	operator := client(t, haproxy.Options{Addr: "unix:" + rig.Path("operator.sock")})
	f := func(name string, c *haproxy.Client, want error, text string, cmds ...haproxy.Command) {
		t.Helper()
		_, results, err := c.Apply(context.Background(), cmds, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		got := results[len(results)-1].Err
		if got == nil || want != nil && !errors.Is(got, want) || !strings.Contains(got.Error(), text) {
			t.Errorf("%s: %v; want %v with %q", name, got, want, text)
		}
	}
	f("no such server", admin, haproxy.ErrMissing, `no server "s9" in backend "web"`, haproxy.SetWeight("web", "s9", 10))
	f("no such server, state", admin, haproxy.ErrMissing, `no server "s9"`, haproxy.SetState("web", "s9", haproxy.Ready))
	f("no such server, maxconn", admin, haproxy.ErrMissing, `no server "s9"`, haproxy.SetMaxConn("web", "s9", 1))
	f("no such backend", admin, haproxy.ErrMissing, `no backend "nowhere"`, haproxy.SetHealth("nowhere", "s1", haproxy.Up))
	f("a static algorithm", admin, nil, "hash-type consistent", haproxy.SetWeight("fixed", "s1", 10))
	f("a disabled backend", admin, nil, "disabled in haproxy.cfg", haproxy.SetWeight("asleep", "s1", 10))
	f("level operator", operator, haproxy.ErrDenied, `needs "level admin"`, haproxy.SetState("web", "s1", haproxy.Drain))
	f("level operator, maxconn", operator, haproxy.ErrDenied, `needs "level admin"`, haproxy.SetMaxConn("web", "s1", 1))

	// These two get an empty answer, as a success does.
	f("ready below a server in maintenance", admin, haproxy.ErrNotTaken, "want state ready, read maint (inherited from the server it tracks)",
		haproxy.SetState("web", "s1", haproxy.Maint), haproxy.SetState("web", "follower", haproxy.Ready))
	f("health up in maintenance", admin, haproxy.ErrNotTaken, "want health up, read stopped", haproxy.SetHealth("web", "s1", haproxy.Up))

	if b := observe(t, operator, "web").Backends["web"]; len(b.Servers) != 2 || b.Algorithm == "" {
		t.Errorf("an operator's socket is enough to observe: %+v", b)
	}

	// A failure in the middle of a batch stops nothing.
	_, results, err := admin.Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s1", 7), haproxy.SetWeight("web", "s9", 7),
		haproxy.SetState("web", "s1", haproxy.Ready)}, []string{"fixed"})
	if err != nil || results[0].Err != nil || results[1].Err == nil || results[2].Err != nil {
		t.Errorf("a failure in the middle: %v, %v", results, err)
	}
	// A command that is not valid stops all of it before it begins.
	_, results, err = admin.Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s1", 8), haproxy.SetWeight("web", "s1;show info", 9)}, nil)
	if !errors.Is(err, haproxy.ErrInvalid) || !errors.Is(results[0].Err, haproxy.ErrInvalid) {
		t.Errorf("a semicolon in a name: %v, %v", results, err)
	}
	if got := server(t, observe(t, admin, "web"), "web", "s1").Weight; got != 7 {
		t.Errorf("weight %d after a batch that was refused, want 7", got)
	}
	if _, err := admin.Observe(context.Background(), []string{"web;show info"}); !errors.Is(err, haproxy.ErrInvalid) {
		t.Errorf("observe with a semicolon: %v", err)
	}
}

// With all slots taken, a line that is sent would run when a slot is free again, long after the client has given up.
func TestBusySlotsLeaveNoGhostCommand(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "stats maxconn 1", "backend web\n    server s1 127.0.0.1:9 weight 100\n")
	holder, err := net.Dial("unix", h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if _, err := io.WriteString(holder, "prompt\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket, Timeout: 300 * time.Millisecond})
	_, results, err := c.Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s1", 10)}, nil)
	if !errors.Is(err, haproxy.ErrUnreachable) || !errors.Is(results[0].Err, haproxy.ErrUnreachable) || !strings.Contains(err.Error(), "stats maxconn") {
		t.Errorf("with no slot free: %v", err)
	}
	// The connection just given up still stands in the small backlog, which may be full by now.
	if _, err := c.Observe(context.Background(), []string{"web"}); !errors.Is(err, haproxy.ErrUnknown) && !errors.Is(err, haproxy.ErrUnreachable) {
		t.Errorf("observe with no slot free: %v", err)
	}
	holder.Close()
	patient := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
	if err := harness.WaitFor("a free slot", 10*time.Second, func() bool {
		_, err := patient.Observe(context.Background(), nil)
		return err == nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the connections given up are served before these
		if got := server(t, observe(t, patient, "web"), "web", "s1").Weight; got != 100 {
			t.Errorf("weight %d: the command ran after it was given up", got)
		}
	}
}

func TestFreeSlotsAreCounted(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "stats maxconn 3", "backend web\n    server s1 127.0.0.1:9\n")
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket, Timeout: time.Second})
	for want, ask := range map[int]int{2: 2, 3: 6} {
		// What was closed just now may still hold its slot.
		var got int
		err := harness.WaitFor(fmt.Sprintf("%d of %d slots", want, ask), 20*time.Second, func() bool {
			n, err := c.Slots(context.Background(), ask)
			got = n
			return err == nil && n == want
		})
		if err != nil {
			t.Errorf("%v: %d", err, got)
		}
	}
	none := client(t, haproxy.Options{Addr: "unix:" + rig.Path("none.sock")})
	if n, err := none.Slots(context.Background(), 2); n != 0 || !errors.Is(err, haproxy.ErrUnreachable) {
		t.Errorf("without a socket: %d, %v", n, err)
	}
}

func TestManyCommandsInOneApply(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "", "backend web\n    server-template s 500 127.0.0.1:9 weight 100\n")
	set := metrics.NewSet()
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket, Name: "main", Metrics: set})
	var cmds []haproxy.Command
	for i := range 500 {
		cmds = append(cmds, haproxy.SetWeight("web", fmt.Sprintf("s%d", i+1), 1+i%256))
	}
	state := apply(t, c, cmds...)
	for _, cmd := range cmds {
		if got := server(t, state, "web", cmd.Server).Weight; got != cmd.N {
			t.Fatalf("%s: read %d", cmd, got)
		}
	}
	// 500 commands are 14 kB: the probe, and two lines below 8 kB.
	if n := set.GetOrCreateCounter(`tidegate_haproxy_batches_total{haproxy="main"}`).Get(); n != 3 {
		t.Errorf("%d connections were made, want 3", n)
	}
}

func TestManyBackendsInOneObservation(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	var sections strings.Builder
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("backend-%d", i))
		fmt.Fprintf(&sections, "backend %s\n    server s1 127.0.0.1:9 weight %d\n", names[i], 1+i%256)
	}
	h := start(t, rig, "", sections.String())
	state := observe(t, client(t, haproxy.Options{Addr: "unix:" + h.Socket}), names...)
	for i, n := range names {
		if got := server(t, state, n, "s1"); got.Weight != 1+i%256 || state.Backends[n].Algorithm != "roundrobin" {
			t.Fatalf("%s: %+v", n, state.Backends[n])
		}
	}
}
