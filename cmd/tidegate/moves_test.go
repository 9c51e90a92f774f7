package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// moveVariants are the ways in which servers are set up; the apps start late and end at once when they are told to.
func moveVariants() []moveApp {
	const check = "    option httpchk GET /\n"
	const late = 1500 * time.Millisecond
	return []moveApp{
		{name: "checked", backend: check, server: "check inter 500ms fall 2 rise 1", late: late},
		{name: "unchecked", late: late, honest: true},
		{name: "warmed", yaml: "  warmup: {path: /}\n", late: late},
		{name: "slowstart", backend: check, server: "check inter 100ms fall 2 rise 2 slowstart 1s", late: late},
		{name: "cookie", backend: check + "    cookie SRVID insert indirect nocache\n", server: "check inter 100ms fall 2 rise 2 cookie SRV", late: late,
			yaml: "  drain_deadline: 500ms\n", users: 20},
		{name: "table", backend: check + "    stick-table type string len 32 size 1k expire 10m\n    stick on req.hdr(x-user)\n", server: "check inter 100ms fall 2 rise 2", late: late,
			yaml: "  drain_deadline: 500ms\n", users: 20},
	}
}

// Servers come and go, and no request is lost. `make test-matrix` names other HAProxys, and does it twenty times with 300 requests
// a second for each variant; otherwise the variants share them.
func TestMovesLoseNothing(t *testing.T) {
	t.Parallel()
	binaries := strings.Fields(os.Getenv("TIDEGATE_TEST_HAPROXIES"))
	if len(binaries) == 0 {
		moveUpAndDown(t, 4, 50)
		return
	}
	for _, binary := range append([]string{"haproxy"}, binaries...) {
		t.Run(filepath.Base(filepath.Dir(binary)), func(t *testing.T) {
			moveUpAndDown(t, 20, 300, binary)
		})
	}
}

func moveUpAndDown(t *testing.T, times int, rate float64, binary ...string) {
	apps := moveVariants()
	s := startMoves(t, 100*time.Millisecond, apps...)
	var wg sync.WaitGroup
	for _, a := range apps {
		stop := s.load(a, rate)
		wg.Go(func() {
			for range times {
				s.up(a.name)
				s.down(a.name)
			}
			sent, failed, errors := stop()
			t.Logf("%s: %d of %d requests failed", a.name, failed, sent)
			if failed > 0 || sent == 0 {
				t.Errorf("%s: %d of %d requests failed:\n%s", a.name, failed, sent, errors)
			}
			if n := s.servers[a.name]["n2"].starts; n < times {
				t.Errorf("%s: the second server was started %d times", a.name, n)
			}
		})
	}
	wg.Wait()
}
