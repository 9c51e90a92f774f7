package haproxyconf_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

const (
	// processing is the shipped files' `timeout processing`: the most that one exchange may cost a request.
	processing = 10 * time.Millisecond
	// turn is by how much a busy machine may be late with most requests, and late with all of them.
	turn, lateTurn = 15 * time.Millisecond, 400 * time.Millisecond
)

// trouble is one way of an agent to fail.
type trouble struct {
	name string
	// begin makes it; the site has a good agent, p.
	begin func(t *testing.T, s *site, p *harness.Proc)
	// down tells that HAProxy must find out and take the agent out.
	down bool
}

func troubles() []trouble {
	kill := func(_ *testing.T, _ *site, p *harness.Proc) { p.Kill() }
	return []trouble{
		{"killed (-9)", kill, true},
		{"stopped (SIGSTOP)", func(t *testing.T, _ *site, p *harness.Proc) {
			if err := p.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"hanging (accepts, is silent)", func(t *testing.T, s *site, p *harness.Proc) { s.mute(t); p.Kill() }, true},
		{"no ACK (checks go well)", func(t *testing.T, s *site, p *harness.Proc) { s.exchange(t, p, time.Hour) }, false},
		{"slow (ACK after 200 ms)", func(t *testing.T, s *site, p *harness.Proc) { s.exchange(t, p, 200*time.Millisecond) }, false},
		{"restarted 3 times", func(t *testing.T, s *site, p *harness.Proc) {
			for range 3 {
				p.Kill()
				time.Sleep(100 * time.Millisecond)
				p = s.startProcess(t, 0)
				s.waitAgent(t, true)
				time.Sleep(100 * time.Millisecond)
			}
			p.Kill()
		}, true},
	}
}

// exchange puts another agent in the place of p, unseen: new connections go to it, and then p is killed.
func (s *site) exchange(t *testing.T, p *harness.Proc, delay time.Duration) {
	t.Helper()
	s.move(t)
	s.startProcess(t, delay)
	p.Kill()
}

// move takes the agent's socket out of the way without closing it.
func (s *site) move(t *testing.T) {
	t.Helper()
	path := strings.TrimPrefix(s.addr, "unix:")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
}

// mute puts a fake in the agent's place that accepts connections, reads and says nothing.
func (s *site) mute(t *testing.T) {
	t.Helper()
	s.move(t)
	ln, err := net.Listen("unix", strings.TrimPrefix(s.addr, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	quit := make(chan struct{})
	s.ends = append(s.ends, func() { ln.Close(); close(quit) })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
			go func() { <-quit; c.Close() }()
		}
	}()
}

// agentUp asks HAProxy whether it takes the agent for usable.
func (s *site) agentUp(t *testing.T) bool {
	t.Helper()
	out, err := s.Command("show stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "tidegate-spoa,agent,") {
			return strings.Contains(line, ",UP")
		}
	}
	t.Fatalf("no agent in %q", out)
	return false
}

func (s *site) waitAgent(t *testing.T, up bool) {
	t.Helper()
	if err := harness.WaitFor(fmt.Sprintf("HAProxy to see the agent up: %v", up), 15*time.Second, func() bool { return s.agentUp(t) == up }); err != nil {
		t.Fatal(err)
	}
}

// connections is the number that HAProxy has taken or made since its start.
func (s *site) connections(t *testing.T) (n int) {
	t.Helper()
	out, err := s.Command("show info")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		_, _ = fmt.Sscanf(line, "CumConns: %d", &n)
	}
	return n
}

// phase is a span of a trouble, with its requests.
type phase struct {
	name     string
	from, to time.Time
}

// TestHarmless gives the agent every trouble it can have, under load: no request may fail, none may wait for it longer
// than the processing time-out while HAProxy takes it for up, and none at all once it is down.
func TestHarmless(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) { harmless(t, binary, variant, false) })
}

// With arrival messages there are two exchanges to wait for.
func TestHarmlessWithArrivals(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		if variant == haproxyconf.Variant26 {
			t.Skip("not with these files: HAProxy 2.6 can forget a timer between the two exchanges, and a request then waits for a late agent (0.5 s seen); tidegate init refuses arrivals with them")
		}
		harmless(t, binary, variant, true)
	})
}

func harmless(t *testing.T, binary, variant string, arrivals bool) {
	o := newOrigin(t)
	s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n", []string{"s1"}}},
		func(p *haproxyconf.Params, _ *haproxyconf.Files) { p.Arrivals = arrivals })
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "agent\tphase\tlength\trequests\tfailed\tclient p50\tp99\tmax\texchange p50\tp99\tmax\tabove limit\tconnections")
	// A HAProxy that has never met an agent.
	s.agent.stop()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	l := s.load("/app/x", 5*time.Millisecond)
	start := time.Now()
	s.waitAgent(t, false)
	down := time.Now()
	l.more(t, 60)
	s.judge(t, table, l, trouble{name: "down (never started)", down: true}, s.connections(t), []phase{{"until down", start, down}, {"down", down, time.Now()}})

	for _, tr := range troubles() {
		p := s.startProcess(t, 0)
		s.waitAgent(t, true)
		conns := s.connections(t)
		before := time.Now()
		l.more(t, 40)
		begin := time.Now()
		tr.begin(t, s, p)
		phases := []phase{{"before", before, begin}}
		if tr.down {
			s.waitAgent(t, false)
			down := time.Now()
			l.more(t, 60)
			phases = append(phases, phase{"until down", begin, down}, phase{"down", down, time.Now()})
		} else {
			l.more(t, 120)
			phases = append(phases, phase{"all the time", begin, time.Now()})
		}
		// Requests of the last phase are still on their way.
		l.more(t, 15)
		s.judge(t, table, l, tr, s.connections(t)-conns, phases)
		s.clear(t)
	}
	s.agent = startAgent(t, s.addr, s.rec)
	from := s.report("app").Completions
	s.wait(t, "samples again", func() bool { return s.report("app").Completions > from+20 })
	l.stop()
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("HAProxy %s, files for %s: requests while the agent is in trouble\n%s", versionOf(t, binary), variant, text.String())
	if l.statuses[200] != l.sent() {
		t.Errorf("statuses %v, want nothing but 200", l.statuses)
	}
	total := uint64(l.sent())
	s.wait(t, "the counters to have seen every request, agent or not", func() bool {
		r := s.report("app")
		return r.Started == total && r.Finished == total && r.NoResponse == 0
	})
}

// clear ends every agent of the last trouble and takes its sockets away.
func (s *site) clear(t *testing.T) {
	t.Helper()
	for _, end := range s.ends {
		end()
	}
	s.ends = nil
	path := strings.TrimPrefix(s.addr, "unix:")
	for _, p := range []string{path, path + ".old"} {
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// judge prints a trouble's phases and holds them against the promise.
func (s *site) judge(t *testing.T, table io.Writer, l *loader, tr trouble, conns int, phases []phase) {
	t.Helper()
	requests := 0
	for _, ph := range phases {
		took, failed := l.between(ph.from, ph.to)
		requests += len(took)
		var exchange []time.Duration
		limit, above := processing+turn, 0
		if ph.name == "down" {
			limit = turn
		} else if s.arrivals {
			limit += processing
		}
		for _, line := range s.log.between(ph.from, ph.to) {
			// What the exchanges have cost is all but the time to connect and to get the server's headers.
			d := line.ms(t, "Ta") - line.ms(t, "Tc") - line.ms(t, "Tr")
			exchange = append(exchange, d)
			if d > limit {
				above++
			}
		}
		slices.Sort(exchange)
		fmt.Fprintf(table, "%s\t%s\t%v\t%d\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t%d\t%d\n", tr.name, ph.name, ph.to.Sub(ph.from).Round(time.Millisecond),
			len(took), failed, quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1),
			quantile(exchange, 0.5), quantile(exchange, 0.99), quantile(exchange, 1), above, conns)
		if failed > 0 {
			t.Errorf("%s, %s: %d of %d requests failed", tr.name, ph.name, failed, len(took))
		}
		if above*10 > len(exchange)+20 || quantile(exchange, 1) > limit+lateTurn {
			t.Errorf("%s, %s: %d of %d requests waited more than %v, the longest %v", tr.name, ph.name, above, len(exchange), limit, quantile(exchange, 1))
		}
		if ph.name == "down" && quantile(exchange, 0.5) > 2*time.Millisecond {
			t.Errorf("%s: with the agent down, requests wait %v", tr.name, quantile(exchange, 0.5))
		}
	}
	if conns > 5*requests+1000 {
		t.Errorf("%s: HAProxy made or took %d connections for %d requests: it was spinning", tr.name, conns, requests)
	}
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(100 * time.Microsecond)
}

// between returns the times of the requests sent from one time to another, sorted, and how many of them failed.
func (l *loader) between(from, to time.Time) (took []time.Duration, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.results {
		if r.began.Before(from) || !r.began.Before(to) {
			continue
		}
		took = append(took, r.took)
		if r.status != 200 {
			failed++
		}
	}
	slices.Sort(took)
	return took, failed
}
