package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// quickDown is quickBusy that shrinks as soon as it may.
var quickDown = strings.Replace(quickBusy, "down: {window: 6s, every: 2s, share: 0.5}", "down: {window: 2s, every: 1s, share: 1}", 1)

// on is a server on a load balancer as the status shows it.
func on(s api.Status, server, lb string) api.ServerProxy {
	for _, v := range s.Apps[0].Servers {
		for _, p := range v.Proxies {
			if v.Name == server && p.Name == lb {
				return p
			}
		}
	}
	return api.ServerProxy{}
}

// balanced tells that an instance has n servers in service, and no other one.
func balanced(s api.Status, lb string, n int) bool {
	in := 0
	for _, v := range s.Apps[0].Servers {
		p := on(s, v.Name, lb)
		switch {
		case p.Admin == "ready" && p.Up && p.Weight > 0:
			in++
		case p.Admin != "maint" || p.Weight != 0:
			return false
		}
	}
	return in == n
}

func source(s api.Status, name string) api.Source {
	for _, src := range s.Sources {
		if src.Name == name {
			return src
		}
	}
	return api.Source{}
}

// ask is one request through an address; it says how it failed.
func ask(addr string) error {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// Two load balancers, one wanted state: each follows it by itself, whatever becomes of the other.
func TestTwoLoadBalancers(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 50, AppYAML: quickDown, Balancers: 2, Tick: 500 * time.Millisecond})
	one, two := f.BalancerAddrs[0], f.Balancers[1]
	f.until("both load balancers with one server", 30*time.Second, func(s api.Status) bool { return balanced(s, "lb1", 1) && balanced(s, "lb2", 1) })

	t.Log("growing: load through both")
	viaOne, stopOne := f.load(one, "/", 45)
	viaTwo, stopTwo := f.load(f.BalancerAddrs[1], "/", 35)
	s := f.until("three servers in service on both", 60*time.Second, func(s api.Status) bool {
		return balanced(s, "lb1", 3) && balanced(s, "lb2", 3) && s.Apps[0].Rate > 70
	})
	if p := s.Apps[0].Proxies; len(p) != 2 || !p[0].Known || !p[1].Known || p[0].Process == p[1].Process {
		t.Errorf("the instances of the app: %+v", p)
	}
	out, _ := cli(t, "status", "-c", f.Config)
	t.Logf("\n%s", out)
	stopTwo()

	t.Log("lb2 is killed: lb1 goes on, growing and shrinking")
	two.Kill()
	f.until("lb2 gone", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Proxies[1].Gone && !source(s, "haproxy lb2").OK })
	f.turns(3)
	if s := f.status(); s.Apps[0].Hold != "" || !balanced(s, "lb1", 3) || source(s, "haproxy lb1").Problem != "" {
		t.Errorf("without lb2: hold %q, %+v", s.Apps[0].Hold, s.Apps[0].Servers)
	}
	out, _ = cli(t, "status", "-c", f.Config)
	t.Logf("\n%s", out)
	stopOne()
	light, stopLight := f.load(one, "/", 5)
	f.until("one server left, its workers gone", 3*time.Minute, func(s api.Status) bool { return balanced(s, "lb1", 1) && settled(s) })

	t.Log("lb2 comes back")
	if err := two.Restart(); err != nil {
		t.Fatal(err)
	}
	s = f.until("lb2 to be seen", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Proxies[1].Known })
	seen := s.Turn
	s = f.until("lb2 in the wanted state", 20*time.Second, func(s api.Status) bool { return balanced(s, "lb2", 1) && on(s, "n1", "lb2").Phase == "serving" })
	// It is seen in one turn, told in that turn, and shown as told in the next.
	if s.Turn > seen+2 {
		t.Errorf("it took %d turns", s.Turn-seen)
	}
	if err := ask(f.BalancerAddrs[1]); err != nil {
		t.Errorf("through lb2: %v", err)
	}
	stopLight()
	noFailures(t, "through lb1", viaOne)
	noFailures(t, "through lb2 until it was killed", viaTwo)
	noFailures(t, "through lb1 while servers left", light)
}

// A load balancer that hangs may still send requests: the other one grows, nothing shrinks.
func TestALoadBalancerHangs(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 50, AppYAML: quickDown, Balancers: 2, Tick: 500 * time.Millisecond})
	f.until("both load balancers with one server", 30*time.Second, func(s api.Status) bool { return balanced(s, "lb1", 1) && balanced(s, "lb2", 1) })
	pid := f.Balancers[1].PID()
	if err := syscall.Kill(-pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-pid, syscall.SIGCONT) }()
	tally, stop := f.load(f.BalancerAddrs[0], "/", 60)
	s := f.until("lb1 to grow without lb2", 60*time.Second, func(s api.Status) bool {
		return balanced(s, "lb1", 3) && s.Apps[0].Hold == "hold_no_data" && !source(s, "haproxy lb2").OK && !s.Apps[0].Proxies[1].Gone
	})
	out, _ := cli(t, "status", "-c", f.Config)
	t.Logf("\n%s", out)
	stop()
	noFailures(t, "through lb1", tally)
	// It would shrink within seconds.
	turn, ready := s.Turn, s.Apps[0].Ready
	f.turns(15)
	s = f.status()
	if !balanced(s, "lb1", 3) || s.Apps[0].Ready < ready {
		t.Errorf("shrank although lb2 may send: %d workers after %d turns, %+v", s.Apps[0].Ready, s.Turn-turn, s.Apps[0].Servers)
	}
	if err := syscall.Kill(-pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.until("both the same again", 60*time.Second, func(s api.Status) bool {
		n := serving(s)
		return s.Apps[0].Hold == "" && balanced(s, "lb1", n) && balanced(s, "lb2", n) && settled(s)
	})
}

func TestAHumanHoldsAServerOnOneLoadBalancer(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 2, MaxWorkers: 3, ServiceMS: 10, AppYAML: strings.Replace(quickDown, "min_workers: 1", "min_workers: 2\n    min_servers: 2", 1), Balancers: 2})
	f.until("two servers on both", 40*time.Second, func(s api.Status) bool { return balanced(s, "lb1", 2) && balanced(s, "lb2", 2) && settled(s) })
	say := func(lb int, command string) {
		t.Helper()
		if out, err := f.Balancers[lb].Command(command); err != nil || strings.TrimSpace(out) != "" {
			t.Fatalf("%s: %q %v", command, out, err)
		}
	}
	say(1, "set server shop/n2 state maint")
	f.until("n2 held on lb2 alone", 20*time.Second, func(s api.Status) bool {
		return on(s, "n2", "lb2").Foreign == api.ForeignState && on(s, "n2", "lb1").Foreign == "" && event(s, "foreign") != nil
	})
	f.turns(5)
	s := f.status()
	if p := on(s, "n2", "lb2"); p.Admin != "maint" || p.Weight == 0 || p.Phase != "foreign" {
		t.Errorf("n2 on lb2 was touched: %+v", p)
	}
	if p := on(s, "n2", "lb1"); p.Admin != "ready" || p.Phase != "serving" {
		t.Errorf("n2 on lb1: %+v", p)
	}
	out, _ := cli(t, "status", "-c", f.Config)
	t.Logf("\n%s", out)
	out, _ = cli(t, "check", "--live", f.Config)
	for _, lb := range []string{"lb1", "lb2"} {
		for _, what := range []string{"HAProxy runs tidegate-spoa", "the stats socket takes changes", "backend shop is there with 2 server(s)"} {
			if !strings.Contains(out, "ok       haproxy "+lb+": "+what) {
				t.Errorf("check --live does not say of %s that %s:\n%s", lb, what, out)
			}
		}
	}
	say(1, "set server shop/n2 state ready")
	f.until("n2 back on lb2", 20*time.Second, func(s api.Status) bool { return on(s, "n2", "lb2").Phase == "serving" })
	say(0, "set server shop/n2 weight 7")
	f.until("the weight held on lb1 alone", 20*time.Second, func(s api.Status) bool {
		return on(s, "n2", "lb1").Foreign == api.ForeignWeight && on(s, "n2", "lb2").Foreign == ""
	})
	var text strings.Builder
	if err := read("http://"+f.MetricsAddr+"/metrics", &text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`tidegate_server_foreign{app="shop",server="n2",kind="weight",haproxy="lb1"} 1`, `tidegate_server_foreign{app="shop",server="n2",kind="weight",haproxy="lb2"} 0`,
		`tidegate_server_foreign{app="shop",server="n2",kind="state",haproxy="lb2"} 0`, `tidegate_app_haproxy_known{app="shop",haproxy="lb2"} 1`,
	} {
		if !strings.Contains(text.String(), line+"\n") {
			t.Errorf("/metrics has no %s", line)
		}
	}
}

// page does what a click on HAProxy's statistics page does.
func page(t *testing.T, addr, action, server string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm("http://"+addr+"/stats", url.Values{"s": {server}, "action": {action}, "b": {"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if where := resp.Header.Get("Location"); !strings.Contains(where, "st=DONE") {
		t.Fatalf("the statistics page answers %s, %q", resp.Status, where)
	}
}

// The statistics page is another pair of human hands.
func TestTheStatisticsPageIsAHuman(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	for _, c := range []struct{ action, admin string }{{"maint", "maint"}, {"drain", "drain"}} {
		page(t, f.BalancerStats[0], c.action, "n2")
		f.until("n2 held after "+c.action, 40*time.Second, func(s api.Status) bool {
			v := s.Apps[0].Servers[1]
			return v.Phase == "foreign" && v.Admin == c.admin && v.Foreign == api.ForeignState && s.Apps[0].Servers[2].Phase == "serving"
		})
		f.turns(4)
		if v := f.server("n2"); v.Admin != c.admin {
			t.Errorf("after %s n2 was touched: %+v", c.action, v)
		}
		page(t, f.BalancerStats[0], "ready", "n2")
		f.until("n2 back", 40*time.Second, func(s api.Status) bool {
			v := s.Apps[0].Servers[1]
			return v.Foreign == "" && (v.Phase == "serving" || v.Phase == "parked")
		})
		f.until("n2 serving", 40*time.Second, func(s api.Status) bool { return s.Apps[0].Servers[1].Phase == "serving" })
	}
}

// reloadWithState reloads HAProxy as Debian's users do it who keep a state file.
func reloadWithState(t *testing.T, f *fleet) {
	t.Helper()
	out, err := f.HAProxy.Command("show servers state")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Rig.Path("haproxy.state"), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.HAProxy.Reload(); err != nil {
		t.Fatal(err)
	}
}

// What a human holds stays his when HAProxy is reloaded with a state file, and so it does for a restarted tidegate.
func TestAHumansHoldSurvivesReloads(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{
		HAProxyGlobal: "    server-state-file {{DIR}}/haproxy.state", HAProxyDefaults: "    load-server-state-from-file global",
	})
	for _, command := range []string{"set server shop/n2 state maint", "set server shop/n1 weight 9"} {
		if out, err := f.HAProxy.Command(command); err != nil || strings.TrimSpace(out) != "" {
			t.Fatalf("%s: %q %v", command, out, err)
		}
	}
	held := func(s api.Status) bool {
		v := s.Apps[0].Servers
		return v[0].Foreign == api.ForeignWeight && v[0].Weight == 9 && v[1].Foreign == api.ForeignState && v[1].Admin == "maint" && v[1].Weight > 0
	}
	f.until("both held, n3 in n2's place", 40*time.Second, func(s api.Status) bool { return held(s) && s.Apps[0].Servers[2].Phase == "serving" })
	for name, again := range map[string]func(){
		"a reload with a state file": func() { reloadWithState(t, f) },
		"a restart of tidegate": func() {
			f.Controller.Kill()
			if err := f.RunController(); err != nil {
				t.Fatal(err)
			}
			if err := harness.WaitFor("the controller", 30*time.Second, func() bool { _, err := f.API.Status(t.Context()); return err == nil }); err != nil {
				t.Fatal(err)
			}
		},
	} {
		again()
		f.turns(5)
		if s := f.status(); !held(s) {
			t.Errorf("after %s: %+v", name, s.Apps[0].Servers)
		}
	}
}
