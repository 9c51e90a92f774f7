package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core"
)

// edit changes tidegate's file and has it read again.
func (s *moveSite) edit(change func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	next := change(string(text))
	if next == string(text) {
		s.t.Fatal("the edit changes nothing")
	}
	if err := os.WriteFile(s.file, []byte(next), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := s.loop.Reload(); err != nil {
		s.t.Fatal(err)
	}
}

// serves waits until a server is in service at the address where it is to be.
func (s *moveSite) serves(app, name, addr string) {
	s.t.Helper()
	s.until(name+" to serve at "+addr, func() bool {
		got, ok := s.observed(app, name)
		return ok && got.Addr == addr && got.Admin.Ready() && got.Op.Up() && s.phase(app, name) == string(core.PhaseServing)
	})
}

// A server in service and a parked one move to another address, and no request is lost. HAProxy's reload brings the old ones back,
// which is mended before they get traffic.
func TestServersMoveToAnotherAddress(t *testing.T) {
	t.Parallel()
	a := moveApp{
		name: "shop", backend: "    option httpchk GET /\n", server: "check inter 100ms fall 100 rise 1", late: 300 * time.Millisecond, yaml: "  readdress: true\n",
	}
	s := startMoves(t, moveTick, a)
	s.pin("shop", 8)
	s.until("two servers in service", func() bool { return s.phase("shop", "n2") == string(core.PhaseServing) })
	stop := s.load(a, 60)
	old := map[string]*lateServer{}
	next := map[string]string{}
	for _, n := range []string{"n2", "n3"} {
		port, err := s.rig.Port()
		if err != nil {
			t.Fatal(err)
		}
		old[n] = s.servers["shop"][n]
		next[n] = fmt.Sprintf("127.78.0.1:%d", port)
		moved := &lateServer{addr: next[n], late: old[n].late, takes: old[n].takes, long: make(chan struct{})}
		if n == "n2" {
			if err := moved.setWorkers(4); err != nil {
				t.Fatal(err)
			}
		}
		s.servers["shop"][n] = moved
	}
	t.Cleanup(func() {
		for _, srv := range old {
			_ = srv.setWorkers(1)
		}
	})
	s.edit(func(text string) string {
		return strings.NewReplacer(old["n2"].addr, next["n2"], old["n3"].addr, next["n3"]).Replace(text)
	})
	s.serves("shop", "n2", next["n2"])
	s.until("the parked server's address", func() bool {
		got, ok := s.observed("shop", "n3")
		return ok && got.Addr == next["n3"] && got.Admin.Maint()
	})
	before, posts := old["n2"].posts.Load(), s.servers["shop"]["n2"].posts.Load()
	s.until("requests at the new address", func() bool { return s.servers["shop"]["n2"].posts.Load() > posts+50 })
	if n := old["n2"].posts.Load() - before; n > 0 {
		t.Errorf("%d requests went to the old address", n)
	}
	sent, failed, errs := stop()
	if failed > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed:\n%s", failed, sent, errs)
	}
	if err := s.haproxy.Reload(); err != nil {
		t.Fatal(err)
	}
	s.serves("shop", "n2", next["n2"])
	if n := old["n2"].posts.Load() - before; n > 0 {
		t.Errorf("%d requests went to the old address after the reload", n)
	}
}

// A server of tidegate's file that HAProxy lacks is added, comes back after HAProxy's reload, and is deleted when it leaves the file; the
// configuration's own servers stay. No request is lost.
func TestServersAreAddedToHAProxyAndDeleted(t *testing.T) {
	t.Parallel()
	a := moveApp{
		name: "shop", backend: "    option httpchk GET /\n", server: "check inter 100ms fall 100 rise 1", late: 300 * time.Millisecond, missing: "n3",
		// It takes the traffic at once when HAProxy has reloaded.
		first: "enabled",
		yaml:  "  dynamic: {options: \"check inter 100ms fall 100 rise 1 weight 100\"}\n",
	}
	s := startMoves(t, moveTick, a)
	addr := s.servers["shop"]["n3"].addr
	s.until("the added server to be parked", func() bool {
		got, ok := s.observed("shop", "n3")
		return ok && got.Admin.Maint() && got.Weight == 0 && got.CheckEnabled && got.Addr == addr && s.phase("shop", "n3") == string(core.PhaseParked)
	})
	s.until("the first server's app to answer HAProxy's checks", func() bool {
		srv := s.servers["shop"]["n1"]
		srv.mu.Lock()
		on := srv.srv != nil && time.Since(srv.since) > time.Second
		srv.mu.Unlock()
		got, ok := s.observed("shop", "n1")
		return on && ok && got.Op.Up() && got.CheckPassing
	})
	stop := s.load(a, 60)
	s.up("shop")
	posts := s.servers["shop"]["n3"].posts.Load()
	s.until("requests on the added server", func() bool { return s.servers["shop"]["n3"].posts.Load() > posts+20 })
	s.down("shop")
	s.up("shop")
	if err := s.haproxy.Reload(); err != nil {
		t.Fatal(err)
	}
	s.serves("shop", "n3", addr)
	s.edit(func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			if !strings.Contains(line, "  - {name: n2,") && !strings.Contains(line, "  - {name: n3,") {
				out.WriteString(line)
			}
		}
		return out.String()
	})
	s.until("the added server to be gone", func() bool { _, ok := s.observed("shop", "n3"); return !ok })
	if _, ok := s.observed("shop", "n2"); !ok {
		t.Error("a server of HAProxy's configuration was deleted")
	}
	sent, failed, errs := stop()
	if failed > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed:\n%s", failed, sent, errs)
	}
}
