package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/internal/names"
	"github.com/tidegate/tidegate/tests/harness"
)

// fakeDNS is what the network's DNS says; package names has the tests with real DNS messages.
type fakeDNS struct {
	mu   sync.Mutex
	at   map[string]string
	down bool
}

func (f *fakeDNS) set(host, ip string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[host] = ip
}

func (f *fakeDNS) fail(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fakeDNS) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("server misbehaving")
	}
	if f.at[host] == "" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(f.at[host])}, nil
}

// fullNode is an agent whose four workers are always ready.
type fullNode struct{}

func (fullNode) Report(context.Context) (control.NodeReport, error) {
	return control.NodeReport{CPU: -1, Memory: -1, Pools: map[string]core.PoolObs{"shop": {Known: true, BusyKnown: true, Total: 4, Ready: 4, Target: 4}}}, nil
}

func (fullNode) SetWorkers(context.Context, string, int, uint64) error { return nil }

// namedSite is a real nginx whose upstream's servers have names, steered by the loop.
type namedSite struct {
	*testing.T
	rig  *harness.Rig
	dns  *fakeDNS
	loop *control.Loop
	stop func()

	file, include, url, port string
}

// listenOn answers with its own address, at the same port of several loopback addresses.
func listenOn(t *testing.T, ips ...string) (port string) {
	t.Helper()
	for range 20 {
		var lns []net.Listener
		port = "0"
		for _, ip := range ips {
			ln, err := net.Listen("tcp", net.JoinHostPort(ip, port))
			if err != nil {
				break
			}
			lns = append(lns, ln)
			_, port, _ = net.SplitHostPort(ln.Addr().String())
		}
		if len(lns) < len(ips) {
			for _, ln := range lns {
				ln.Close()
			}
			continue
		}
		for i, ln := range lns {
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ips[i]) })}
			go func() { _ = srv.Serve(ln) }()
			t.Cleanup(func() { srv.Close() })
		}
		return port
	}
	t.Fatal("no port is free on all of " + strings.Join(ips, ", "))
	return ""
}

func newNamedSite(t *testing.T) *namedSite {
	harness.Need(t, "nginx")
	s := &namedSite{T: t, rig: harness.ForTest(t), dns: &fakeDNS{at: map[string]string{}}}
	s.port = listenOn(t, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	front, err := s.rig.Port()
	s.must(err)
	s.url, s.include, s.file = "http://127.0.0.1:"+strconv.Itoa(front)+"/", s.rig.Path("tidegate.conf"), s.rig.Path("tidegate.yaml")
	s.must(os.WriteFile(s.include, []byte("upstream shop { server 127.0.0.1:"+s.port+"; }\n"), 0o644))
	nginx, err := s.rig.StartNginx("nginx", s.rig.NginxMain("nginx", fmt.Sprintf("include %s;\nserver { listen 127.0.0.1:%d; location / { proxy_pass http://shop; } }\n", s.include, front)))
	s.must(err)
	s.must(harness.WaitListening(fmt.Sprintf("127.0.0.1:%d", front), 10*time.Second))
	// What was there is the test's own; tidegate leaves what it has not written alone.
	s.must(os.Truncate(s.include, 0))
	s.must(os.WriteFile(s.file, []byte(fmt.Sprintf(`tick: 100ms
resolve_every: 1s
nginx: {include: %s, config: %s, prefix: %s, min_membership: 0s}
nodes: [{name: a, url: "http://127.0.0.1:1"}, {name: b, url: "http://127.0.0.1:1"}, {name: c, url: "http://127.0.0.1:1"}]
apps:
- name: shop
  strategy: schedule
  schedule: [{from: "00:00", to: "24:00", workers: 12}]
  nginx_upstream: {name: shop}
  servers:
  - {name: a, node: a, address: "a.example:%[4]s"}
  - {name: b, node: b, address: "B.example.:%[4]s"}
  - {name: c, node: c, address: "c.example:%[4]s"}
`, s.include, nginx.Conf, s.rig.Dir, s.port)), 0o644))
	t.Cleanup(func() { s.end() })
	return s
}

func (s *namedSite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// start runs the loop as `tidegate run` does, with this DNS. fresh: nothing is left of the names of former runs.
func (s *namedSite) start(fresh bool) {
	s.Helper()
	c, err := conf.LoadController(s.file)
	s.must(err)
	file := s.rig.Path("names.json")
	if fresh {
		_ = os.Remove(file)
	}
	r := &rooms{log: slog.New(slog.DiscardHandler), set: metrics.NewSet(), names: names.New(names.Options{File: file, Lookup: s.dns.lookup})}
	setup, err := r.build(context.Background(), c)
	s.must(err)
	for name := range setup.Nodes {
		setup.Nodes[name] = fullNode{}
	}
	store, err := control.NewStore(s.rig.Path("state"))
	s.must(err)
	s.loop, err = control.New(control.Options{Setup: setup, Store: store, Journal: control.NewJournal(s.rig.Path("state"), control.JournalMaxBytes), Log: r.log})
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.loop.Run(ctx) })
	wg.Go(func() { r.names.Run(ctx) })
	s.stop = func() { cancel(); wg.Wait() }
}

func (s *namedSite) end() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// problem is what the status says of names.
func (s *namedSite) problem() string {
	status, _ := s.loop.Status()
	for _, src := range status.Sources {
		if src.Name == "names" {
			return src.Problem
		}
	}
	return ""
}

// until waits for exactly these servers to answer, whatever the load on the machine.
func (s *namedSite) until(what string, want ...string) {
	s.Helper()
	err := harness.WaitFor(what, 60*time.Second, func() bool {
		got := map[string]bool{}
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for range 12 {
			resp, err := client.Get(s.url)
			if err != nil {
				return false
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got[string(body)] = true
		}
		for _, w := range want {
			if !got[w] {
				return false
			}
		}
		return len(got) == len(want)
	})
	if err != nil {
		text, _ := os.ReadFile(s.include)
		s.Fatalf("%v; names: %q\n%s\n%s", err, s.problem(), text, s.rig.Dump())
	}
}

// TestNamesOfServers: nginx is told addresses alone; a name that moves moves the server, one that cannot be resolved costs
// its own server and no other, and DNS that is away costs nothing that was known, in this run or in the one before.
func TestNamesOfServers(t *testing.T) {
	t.Parallel()
	s := newNamedSite(t)
	s.dns.set("a.example", "127.0.0.1")
	s.dns.set("b.example", "127.0.0.2")
	s.start(false)
	s.until("both names to serve", "127.0.0.1", "127.0.0.2")
	if p := s.problem(); !strings.Contains(p, "c.example cannot be resolved (no such host)") || strings.Contains(p, "a.example") {
		t.Fatalf("the status says of names: %q", p)
	}
	s.dns.set("b.example", "127.0.0.3")
	s.until("b to be elsewhere", "127.0.0.1", "127.0.0.3")
	s.dns.fail(true)
	s.must(harness.WaitFor("the status to tell that DNS is away", 60*time.Second, func() bool { return strings.Contains(s.problem(), "b.example cannot be resolved") }))
	before, err := os.ReadFile(s.include)
	s.must(err)
	for _, fresh := range []bool{false, true} {
		s.end()
		s.start(fresh)
		// Some turns, in which nginx could be told otherwise.
		turns := func() uint64 { st, _ := s.loop.Status(); return st.Turn }
		s.must(harness.WaitFor("thirty turns", 60*time.Second, func() bool { return turns() > 30 }))
		after, err := os.ReadFile(s.include)
		s.must(err)
		if string(before) != string(after) {
			t.Fatalf("DNS was away, and the include became:\n%s", after)
		}
	}
	s.dns.set("c.example", "127.0.0.2")
	s.dns.fail(false)
	s.until("all three to serve", "127.0.0.1", "127.0.0.2", "127.0.0.3")
	s.must(harness.WaitFor("no trouble with names", 60*time.Second, func() bool { return s.problem() == "" }))
	text, err := os.ReadFile(s.include)
	s.must(err)
	if strings.Contains(string(text), "example") {
		t.Fatalf("a host name is in nginx's file:\n%s", text)
	}
}
