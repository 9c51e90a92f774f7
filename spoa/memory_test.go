package spoa

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// childEnv makes the test binary do one of children instead of the tests, so that limits and figures are a process's own.
const (
	childEnv    = "TIDEGATE_TEST_SPOA_CHILD"
	childSocket = "TIDEGATE_TEST_SPOA_SOCKET"
)

var children = map[string]func() error{"memory": largeSite, "descriptors": fewDescriptors}

// child is a process that does one of children. It says a line when it is ready, and ends when its input does.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Scanner
}

func startChild(t *testing.T, name, socket string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, childSocket+"="+socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, in, bufio.NewScanner(out)}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return c
}

// line waits for the next line the child says.
func (c *child) line() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("the child process ended: %v", c.cmd.Wait())
	}
	return c.out.Text()
}

func (c *child) rss() int64 { return rss(c.cmd.Process.Pid) }

// stop ends the child and expects that nothing went wrong.
func (c *child) stop() {
	c.t.Helper()
	_ = c.in.Close()
	for c.out.Scan() {
		c.t.Log(c.out.Text())
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the child process: %v", err)
	}
}

// serveUntilInputEnds runs a server on the socket that the parent names, and a turn twice a second.
func serveUntilInputEnds(server *Server, turn func()) error {
	ln, err := Listen("unix:" + os.Getenv(childSocket))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			turn()
		}
	}()
	fmt.Println("ready")
	return server.Serve(ctx, ln)
}

const (
	siteBackends, siteServers, siteConns = 1000, 50, 200
	// siteRSS leaves some room for the runtime's moods above what is measured, 38 to 39 MB; the goal is 40.
	siteRSS = 48 << 20
)

// A large site, seen: a thousand backends of fifty servers with names of their own, all with an hour of traffic behind them, and
// two hundred connections over which heartbeats and samples of all of them come.
func TestLargeSiteIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	socket := filepath.Join(t.TempDir(), "s")
	c := startChild(t, "memory", socket)
	for line := ""; line != "ready"; t.Log(line) {
		line = c.line()
	}
	conns := make([]net.Conn, siteConns)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("unix", socket); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		converse(t, conns[i], goodHello())
	}
	most := int64(0)
	turns := 4
	if raceEnabled {
		turns = 1
	}
	for turn := range turns {
		for i := range siteBackends {
			args := []arg{{"boot", "1"}, {"be", backendName(i)}, {"conn", 1}, {"q", 0}, {"up", siteServers}, {"started", 1000 + turn}, {"cur", 1}, {"noresp", 0}}
			for j := range siteServers {
				args = append(args, arg{"c." + serverName(i, j), 1})
			}
			converse(t, conns[i%siteConns], notifyFrame(1, message(messageHeartbeat+"-1", args...)))
			for j := range 3 {
				m := message(messageDone, with(doneArgs(), arg{"be", backendName(i)}, arg{"srv", serverName(i, j)}, arg{"boot", "1"})...)
				converse(t, conns[(i+j)%siteConns], notifyFrame(uint64(j), m))
			}
		}
		most = max(most, c.rss())
	}
	t.Logf("with %d connections: RSS %.1f MB", siteConns, float64(most)/(1<<20))
	c.stop()
	if raceEnabled {
		t.Skip("the race detector takes several times the memory")
	}
	if most > siteRSS {
		t.Errorf("the agent takes %.1f MB, at most %.1f are allowed", float64(most)/(1<<20), float64(siteRSS)/(1<<20))
	}
}

func backendName(i int) string   { return fmt.Sprintf("backend-%d", i) }
func serverName(i, j int) string { return fmt.Sprintf("server-%d-%d", i, j) }

func largeSite() error {
	start := time.Now()
	began := start.Add(-time.Hour)
	meter := NewMeter(MeterOptions{Began: began, Metrics: newPrivateSet()})
	server := New(Options{Sink: meter})
	table := newNames(server.decoders.table)
	name := func(text string) string {
		s, _ := table.of(start, []byte(text))
		return s
	}
	boot := fmt.Sprint(began.UnixMicro())
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	base := ms.HeapAlloc
	heap := func(what string) {
		runtime.GC()
		runtime.ReadMemStats(&ms)
		fmt.Printf("%s: heap %.2f MB, of it windows %.2f MB, RSS %.1f MB\n", what, float64(ms.HeapAlloc-base)/(1<<20), float64(meter.shared.budget.Used())/(1<<20), float64(rss(os.Getpid()))/(1<<20))
	}
	gauges := make([]Gauges, siteBackends)
	for i := range gauges {
		g := &gauges[i]
		*g = Gauges{Boot: boot, Backend: name(backendName(i)), InFlight: 1, Up: siteServers, Counters: Counters{Known: true}}
		for j := range siteServers {
			g.Servers = append(g.Servers, ServerGauge{name(serverName(i, j)), 1})
		}
	}
	debug.FreeOSMemory()
	heap("the test's own")
	for i := range gauges {
		meter.Heartbeat(began, &gauges[i])
	}
	heap("seen")
	// Every backend answers once in ten seconds, by the few servers that are in service; each tenth ten times a second,
	// by all of its.
	at := began
	if raceEnabled {
		// The race detector makes it ten times slower, and its memory says nothing.
		at = start.Add(-2 * time.Minute)
	}
	for step := 0; at.Before(start); step++ {
		for i := range gauges {
			n, inService := 0, 3
			if i%10 == step%10 {
				n = 1
			}
			if i%10 == 0 {
				n, inService = 10, siteServers
			}
			for k := range n {
				g := &gauges[i]
				s := Sample{Boot: boot, Backend: g.Backend, Server: g.Servers[(step/10+k*5+step)%inService].Name, Status: 200, Connect: time.Millisecond,
					Response: time.Duration(1+(step*7919+i*104729+k*1299709)%200000) * time.Microsecond}
				meter.Done(at, &s)
			}
		}
		if at = at.Add(time.Second); step%30 == 0 {
			meter.Each(at, func(*BackendReport) {})
		}
	}
	// An hour went by in seconds: the runtime gets the chance it would have had to give back what it does not need.
	heap("after an hour")
	debug.FreeOSMemory()

	_, covered, _ := meter.Sum(start, gauges[0].Backend, 3600)
	fmt.Printf("the busiest backend's last hour covers %d s\n", covered)
	gauges = nil
	err := serveUntilInputEnds(server, func() {
		meter.Each(time.Now(), func(r *BackendReport) {})
		meter.opts.Metrics.WritePrometheus(io.Discard)
	})
	heap("at the end")
	if st := server.Stats(); err == nil && (st.ConnectionsTotal != siteConns || len(st.Malformed) > 0 || st.Done == 0) {
		return fmt.Errorf("the server saw %+v", st)
	}
	return err
}

// converse sends a frame and waits for one.
func converse(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	var buf [1024]byte
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(buf[:]); err != nil {
		t.Fatal(err)
	}
}

// rss is a process's resident memory in bytes.
func rss(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	var kb int64
	for s := bufio.NewScanner(f); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), "VmRSS: %d kB", &kb); err == nil {
			break
		}
	}
	return kb << 10
}
