package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/haproxy"
)

const moveTick = 100 * time.Millisecond

// observed is the server as HAProxy has it; false when HAProxy has none.
func (s *moveSite) observed(backend, name string) (haproxy.Server, bool) {
	s.t.Helper()
	c, err := haproxy.New(haproxy.Options{Addr: "unix:" + s.haproxy.Socket, Timeout: 10 * time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	state, err := c.Observe(context.Background(), []string{backend})
	if err != nil {
		// It may be between two processes.
		return haproxy.Server{}, false
	}
	return state.Backends[backend].Server(name)
}

func (s *moveSite) maxConn(app, name string) int {
	v, _ := s.observed(app, name)
	return v.MaxConn
}

func (s *moveSite) event(app, server, code string) bool {
	status, _ := s.loop.Status()
	for _, e := range status.Events {
		if e.App == app && e.Server == server && e.Code == code {
			return true
		}
	}
	return false
}

// More comes than the servers can take: what they cannot take waits in HAProxy's one queue, and no server, however new, is given more
// requests than its ready workers can have.
func TestNoServerIsGivenMoreThanItsWorkersCanHave(t *testing.T) {
	t.Parallel()
	a := moveApp{
		name: "shop", backend: "    option httpchk GET /\n", server: "check inter 100ms rise 1 maxconn 100", yaml: "  maxconn: {per_worker: 2}\n", most: 2,
	}
	s := startMoves(t, moveTick, a)
	s.until("the first server's maxconn", func() bool { return s.maxConn("shop", "n1") == 8 })
	stop := s.load(a, 130)
	s.until("a queue in HAProxy", func() bool { return s.app("shop").Queued > 20 })
	s.up("shop")
	s.until("the queue to be gone", func() bool { return s.app("shop").Queued == 0 })
	for _, n := range moveServers {
		if got := s.maxConn("shop", n); got != 8 {
			t.Errorf("%s has 4 workers and maxconn %d", n, got)
		}
	}
	// Two workers of each server leave: HAProxy hears of it before they do.
	s.pin("shop", 9)
	s.until("fewer workers", func() bool {
		return s.maxConn("shop", "n1") == 6 && s.maxConn("shop", "n2") == 6 && s.servers["shop"]["n2"].pool().Target == 3
	})
	sent, failed, errs := stop()
	if failed > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed:\n%s", failed, sent, errs)
	}
	for name, srv := range s.servers["shop"] {
		if n := srv.over.Load(); n > 0 {
			t.Errorf("%s was given more than it can have %d times; at most %d at once", name, n, srv.peak.Load())
		}
	}
	// Everything set at run time is lost by a reload, and put back before the servers get traffic.
	if err := s.haproxy.Reload(); err != nil {
		t.Fatal(err)
	}
	s.until("the maxconns to be back", func() bool {
		return s.maxConn("shop", "n1") == 6 && s.maxConn("shop", "n2") == 6 && s.phase("shop", "n2") == string(core.PhaseServing)
	})
	turn := s.turn()
	s.until("the maxconns to be seen", func() bool { return s.turn() > turn+2 })
	// A human's maxconn is reported and stays.
	if _, err := s.haproxy.Command("set maxconn server shop/n1 5"); err != nil {
		t.Fatal(err)
	}
	s.until("the human to be noticed", func() bool { return s.event("shop", "n1", string(core.CodeForeign)) })
	turn = s.turn()
	s.until("five more turns", func() bool { return s.turn() > turn+5 })
	if got := s.maxConn("shop", "n1"); got != 5 {
		t.Errorf("the human's maxconn 5 became %d", got)
	}
}

func (s *moveSite) turn() uint64 {
	status, _ := s.loop.Status()
	return status.Turn
}

// longRequests sends requests that take until end is called, until the second server has one.
func (s *moveSite) longRequests(app string) (end func()) {
	var wg sync.WaitGroup
	end = sync.OnceFunc(func() {
		for _, srv := range s.servers[app] {
			close(srv.long)
		}
		wg.Wait()
	})
	s.t.Cleanup(end)
	s.until("a long request on the second server", func() bool {
		wg.Go(func() {
			resp, err := http.Post("http://"+s.fronts[app]+"/long", "text/plain", strings.NewReader("x"))
			if err == nil {
				resp.Body.Close()
			}
		})
		return s.servers[app]["n2"].busy.Load() > 0
	})
	return end
}

// What is still running at the drain deadline may end in maintenance, may be waited for while sticky clients still come, or is cut.
func TestTheDrainDeadlineIsTheOperatorsChoice(t *testing.T) {
	t.Parallel()
	apps := []moveApp{{name: "park"}, {name: "wait"}, {name: "cut"}}
	for i := range apps {
		a := &apps[i]
		a.backend, a.server = "    option httpchk GET /\n    balance roundrobin\n", "check inter 100ms rise 1"
		a.yaml = "  drain_deadline: 500ms\n  drain_then: " + a.name + "\n"
	}
	s := startMoves(t, moveTick, apps...)
	for _, a := range apps {
		s.up(a.name)
	}
	ends := map[string]func(){}
	for _, a := range apps {
		ends[a.name] = s.longRequests(a.name)
		s.pin(a.name, 4)
	}
	second := func(app string) *lateServer { return s.servers[app]["n2"] }
	s.until("park: maintenance with a request running", func() bool {
		return s.phase("park", "n2") == string(core.PhaseParked) && s.server("park", "n2").Current > 0
	})
	s.until("wait: the deadline to be reported", func() bool { return s.event("wait", "n2", string(core.CodeDrainLate)) })
	s.until("cut: the server to be gone", func() bool { return !second("cut").alive() })
	if !s.event("cut", "n2", string(core.CodeDrainLate)) || !s.event("cut", "n2", string(core.Cut)) {
		t.Error("the cut was not reported")
	}
	turn := s.turn()
	s.until("five more turns", func() bool { return s.turn() > turn+5 })
	if got := s.phase("wait", "n2"); got != string(core.PhaseDraining) || !second("wait").alive() {
		t.Errorf("wait: the server is %s", got)
	}
	if !second("park").alive() || second("park").busy.Load() == 0 {
		t.Error("park: the running request was cut")
	}
	ends["park"]()
	ends["wait"]()
	s.until("both to be gone when their requests have ended", func() bool {
		return !second("park").alive() && !second("wait").alive() && s.phase("wait", "n2") == string(core.PhaseParked)
	})
}
