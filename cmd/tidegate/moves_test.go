package main

import (
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// moveVariants are the ways in which servers are set up; the apps start late and end at once when they are told to.
func moveVariants() []moveApp {
	const check = "    option httpchk GET /\n"
	const late = 1500 * time.Millisecond
	return []moveApp{
		{name: "checked", backend: check, server: "check inter 500ms fall 100 rise 1", late: late},
		{name: "unchecked", late: late, honest: true},
		{name: "warmed", yaml: "  warmup: {path: /}\n", late: late},
		{name: "slowstart", backend: check, server: "check inter 100ms fall 100 rise 2 slowstart 1s", late: late},
		{name: "cookie", backend: check + "    cookie SRVID insert indirect nocache\n", server: "check inter 100ms fall 100 rise 2 cookie SRV", late: late,
			yaml: "  drain_deadline: 500ms\n", users: 20},
		{name: "table", backend: check + "    stick-table type string len 32 size 1k expire 10m\n    stick on req.hdr(x-user)\n", server: "check inter 100ms fall 100 rise 2", late: late,
			yaml: "  drain_deadline: 500ms\n", users: 20},
	}
}

// longMoves makes TestMovesLoseNothing go up and down that often, with 300 requests a second for each variant.
const longMoves = "TIDEGATE_TEST_MOVES"

// Servers come and go, and no request is lost. In `make test` the variants share 300 requests a second, and do it four times.
func TestMovesLoseNothing(t *testing.T) {
	t.Parallel()
	apps := moveVariants()
	times, err := strconv.Atoi(os.Getenv(longMoves))
	if err != nil {
		moveUpAndDown(t, apps, 4, 300/float64(len(apps)))
		return
	}
	for half := range slices.Chunk(apps, 3) {
		moveUpAndDown(t, half, times, 300)
	}
}

func moveUpAndDown(t *testing.T, apps []moveApp, times int, rate float64) {
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
