package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
)

// checkAnswerer answers HAProxy's agent-check with a weight in percent, for all servers.
func checkAnswerer(t *testing.T) (port int, percent *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	percent = &atomic.Int64{}
	percent.Store(60)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "up %d%%\n", percent.Load())
			_ = c.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port, percent
}

// With `weights: agent-check` HAProxy's agent-check has the weights, of parked servers too, and tidegate the states: servers
// come and go without a failed request, none is taken for a human's, and a human's maintenance still is.
func TestTheAgentCheckOwnsTheWeights(t *testing.T) {
	t.Parallel()
	port, percent := checkAnswerer(t)
	a := moveApp{
		name: "shop", backend: "    option httpchk GET /\n", yaml: "  weights: agent-check\n", late: time.Second,
		server: fmt.Sprintf("check inter 200ms fall 100 rise 1 agent-check agent-addr 127.0.0.1 agent-port %d agent-inter 100ms", port),
	}
	s := startMoves(t, moveTick, a)
	stop := s.load(a, 50)
	weigh := func(server string, want int) {
		t.Helper()
		s.until(fmt.Sprintf("%s to have weight %d", server, want), func() bool {
			v, ok := s.observed("shop", server)
			return ok && v.Weight == want
		})
	}
	for i := range 2 {
		s.up("shop")
		percent.Store(int64(30 + i))
		weigh("n2", 30+i)
		s.down("shop")
		percent.Store(int64(70 + i))
		// HAProxy sets it in maintenance, too.
		weigh("n3", 70+i)
	}
	turn := s.turn()
	s.until("five more turns", func() bool { return s.turn() > turn+5 })
	for _, n := range moveServers[1:] {
		if s.phase("shop", n) != string(core.PhaseParked) || s.event("shop", n, string(core.CodeForeign)) {
			t.Errorf("%s is %s; want it parked, and never a human's", n, s.phase("shop", n))
		}
	}
	for _, n := range moveServers {
		if s.event("shop", n, string(core.SetWeight)) {
			t.Errorf("tidegate has set the weight of %s", n)
		}
	}
	sent, failed, errs := stop()
	if failed > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed:\n%s", failed, sent, errs)
	}
	s.up("shop")
	if _, err := s.haproxy.Command("set server shop/n2 state maint"); err != nil {
		t.Fatal(err)
	}
	s.until("the human to be noticed", func() bool { return s.phase("shop", "n2") == string(core.PhaseForeign) })
}
