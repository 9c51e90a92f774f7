package haproxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// eachHAProxy runs a test on the installed HAProxy, and on those of `make test-matrix`.
func eachHAProxy(t *testing.T, f func(t *testing.T)) {
	harness.Need(t, "haproxy")
	t.Run("installed", f)
	for _, binary := range strings.Fields(os.Getenv("TIDEGATE_TEST_HAPROXIES")) {
		t.Run(filepath.Base(filepath.Dir(binary)), func(t *testing.T) {
			t.Setenv("TIDEGATE_TEST_HAPROXY", binary)
			f(t)
		})
	}
}

// A batch of one command that has to fail in the given way.
func refused(t *testing.T, c *haproxy.Client, cmd haproxy.Command, want error, part string) {
	t.Helper()
	_, results, err := c.Apply(context.Background(), []haproxy.Command{cmd}, nil)
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	if got := results[0].Err; got == nil || want != nil && !errors.Is(got, want) || !strings.Contains(got.Error(), part) {
		t.Errorf("%s: error %v, want %v with %q", cmd, got, want, part)
	}
}

const dynamicSections = `
backend web
    balance leastconn
    default-server weight 100
    server s1 %[1]s disabled check inter 100ms
    server s2 %[1]s
backend fixed
    balance static-rr
    server s1 %[1]s
`

// readdress follows an address until it is in force: 3.0 and later answer before they carry it out.
func addressed(t *testing.T, c *haproxy.Client, want string) {
	t.Helper()
	err := harness.WaitFor("web/s1 at "+want, 20*time.Second, func() bool {
		return server(t, observe(t, c, "web"), "web", "s1").Addr == want
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAddressesAreSetAndReadBack(t *testing.T) {
	eachHAProxy(t, func(t *testing.T) {
		h := start(t, harness.ForTest(t), "", fmt.Sprintf(dynamicSections, listen(t)))
		c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
		for _, addr := range []string{"127.0.0.2:8001", "127.0.0.2:8001", "127.0.0.2:8002", "[::1]:8003", "127.0.0.3:65535"} {
			apply(t, c, haproxy.SetAddr("web", "s1", addr))
			addressed(t, c, addr)
		}
		refused(t, c, haproxy.SetAddr("web", "nix", "127.0.0.2:80"), haproxy.ErrMissing, "nix")
		refused(t, c, haproxy.SetAddr("nix", "s1", "127.0.0.2:80"), haproxy.ErrMissing, "nix")
		// Two changes in one batch: the newest has to be there in the end, or the results say that it is not.
		_, results, err := c.Apply(t.Context(), []haproxy.Command{haproxy.SetAddr("web", "s1", "127.0.0.4:81"), haproxy.SetAddr("web", "s1", "127.0.0.3:65535")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		if got := server(t, observe(t, c, "web"), "web", "s1").Addr; got != "127.0.0.3:65535" && results[1].Err == nil {
			t.Errorf("s1 is at %s and no result says so", got)
		}
	})
}

func TestServersAreAddedAndDeleted(t *testing.T) {
	eachHAProxy(t, func(t *testing.T) {
		addr := listen(t)
		h := start(t, harness.ForTest(t), "", fmt.Sprintf(dynamicSections, addr))
		c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
		s := server(t, apply(t, c, haproxy.AddServer("web", "d1", addr, "check inter 100ms weight 50 maxconn 7")), "web", "d1")
		if !s.Admin.Maint() || s.Weight != 50 || s.Addr != addr || s.MaxConn != 7 || !s.CheckConfigured || s.CheckEnabled {
			t.Errorf("a new server is %+v", s)
		}
		refused(t, c, haproxy.AddServer("web", "d1", addr, ""), nil, "Already exists")
		refused(t, c, haproxy.AddServer("web", "d2", addr, "nonsense 3"), nil, "unknown keyword")
		refused(t, c, haproxy.AddServer("fixed", "d1", addr, ""), nil, "cannot come and go")
		refused(t, c, haproxy.EnableHealth("web", "s2"), nil, "not configured")
		// In one batch with others, the answers of all are told apart, wherever the deletion stands.
		apply(t, c, haproxy.EnableHealth("web", "d1"), haproxy.SetState("web", "d1", haproxy.Ready), haproxy.SetWeight("web", "s2", 7))
		refused(t, c, haproxy.DelServer("web", "d1"), haproxy.ErrBusy, "maintenance")
		apply(t, c, haproxy.SetState("web", "d1", haproxy.Maint), haproxy.DelServer("web", "d1"), haproxy.SetWeight("web", "s2", 8), haproxy.SetMaxConn("web", "s2", 3))
		state := apply(t, c, haproxy.AddServer("web", "d2", addr, ""), haproxy.DelServer("web", "d2"), haproxy.AddServer("web", "d3", addr, ""))
		if _, ok := state.Backends["web"].Server("d1"); ok {
			t.Error("d1 is still there")
		}
		if _, ok := state.Backends["web"].Server("d2"); ok {
			t.Error("d2 is still there")
		}
		refused(t, c, haproxy.DelServer("web", "d1"), haproxy.ErrMissing, "d1")
	})
}

// A session that never ends by itself: maintenance leaves it, a deletion waits for it, and shutdown ends it.
func TestSessionsAreShutDown(t *testing.T) {
	eachHAProxy(t, func(t *testing.T) {
		rig := harness.ForTest(t)
		front, err := rig.Addr()
		if err != nil {
			t.Fatal(err)
		}
		h := start(t, rig, "", fmt.Sprintf("listen web\n    mode tcp\n    bind %s\n    server s1 %s\n", front, listen(t)))
		c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		busy := func(want int) func() bool {
			return func() bool { return server(t, observe(t, c, "web"), "web", "s1").Current == want }
		}
		if err := harness.WaitFor("the session", 20*time.Second, busy(1)); err != nil {
			t.Fatal(err)
		}
		apply(t, c, haproxy.SetState("web", "s1", haproxy.Maint))
		refused(t, c, haproxy.DelServer("web", "s1"), haproxy.ErrBusy, "connections")
		apply(t, c, haproxy.ShutdownSessions("web", "s1"))
		if err := harness.WaitFor("the session's end", 20*time.Second, busy(0)); err != nil {
			t.Fatal(err)
		}
		apply(t, c, haproxy.DelServer("web", "s1"))
		refused(t, c, haproxy.ShutdownSessions("web", "s1"), haproxy.ErrMissing, "s1")
	})
}
