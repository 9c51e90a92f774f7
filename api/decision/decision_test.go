package decision

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

// policy is apps of managed servers, proxied and in nginx; the first is sized by erlang, the second by a queue, the third by latency.
func policy(apps, servers int) core.Policy {
	var p core.Policy
	for a := range apps {
		ap := core.AppPolicy{
			Name: fmt.Sprintf("app%d", a), Strategy: []core.Strategy{core.Erlang, core.Queue, core.Latency}[a%3], Proxied: true, Web: true, MinServers: 1, MinWorkers: 1,
			Weight: 100, Ramp: []int{25, 100}, DrainDeadline: time.Minute, StartDeadline: time.Minute, RetryAfter: time.Minute, MaxOut: 0.5, ErrorStorm: 0.5,
			Sizing: sizing.Default(), Fill: 0.75, MaxWorkers: 8 * servers,
			Latency: core.LatencyPolicy{Requests: 3, Threshold: time.Second, Breaches: 2, Quiet: time.Minute},
		}
		for s := range servers {
			ap.Servers = append(ap.Servers, core.ServerPolicy{Name: fmt.Sprintf("s%d", s), Node: fmt.Sprintf("n%d", s), Managed: true, MinWorkers: 1, MaxWorkers: 8, ParkedWorkers: 1})
		}
		p.Apps = append(p.Apps, ap)
	}
	return p
}

func busy(v float64) *float64 { return &v }

// everything is an observation that says everything there is to say.
func everything() core.Observation {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678912345, time.UTC)
	return core.Observation{
		Now: at, Problem: "the disk is full",
		Nodes: []core.NodeObs{{Name: "n0", Up: true, Capacity: 16, CPU: 0.5, Memory: 0.25}, {Name: "n1", CPU: -1, Memory: -1}},
		Apps: []core.AppObs{{
			Name: "app0",
			Traffic: core.TrafficObs{
				Known: true, Rate: 12.5, Errors: 0.01, Age: 1500 * time.Millisecond, InFlight: 3, Queued: 1, P50: time.Millisecond, P95: 20 * time.Millisecond, P99: time.Second,
				Responses: []time.Duration{123456789, 2 * time.Second},
				Seconds: []sizing.Second{{At: at.Unix() - 2, Arrivals: 10, Completions: 9, Errors: 1, Timed: 8, Queue: 0.5, Connect: 0.01, Service: 1.25, Busy: busy(0)},
					{At: at.Unix() - 1, Span: 1, Arrivals: 0.5}},
			},
			Proxy: core.ProxyObs{Known: true, Process: "1:2", Current: 4, Queued: 1},
			Web:   core.WebObs{Known: true, Weights: map[string]int{"s0": 3, "s1": 0}},
			Servers: []core.ServerObs{
				{Name: "s0", Warm: core.WarmOK, Answers: 70, AnswersKnown: true, Pool: core.PoolObs{Known: true, Age: time.Second, Total: 6, Ready: 3, Starting: 2, Draining: 1, BusyKnown: true, Busy: 2.5, Target: 5},
					Proxy: core.ProxyServerObs{Known: true, Admin: core.AdminDrain, FromConfig: true, Up: true, Checked: true, Weight: 70, Current: 2, Queued: 1}},
				{Name: "s1"},
			},
			Backlog: &sizing.Backlog{Items: 3, In: 1, Out: 2, Oldest: 0.5, Service: 0.1},
			Orders: []sizing.Order{{ID: "a", Kind: sizing.OrderReserve, Owner: "ops", Note: "a push", From: at, Until: at.Add(time.Hour), Rate: 10.5},
				{ID: "b", Kind: sizing.OrderPin, Workers: 4}},
		}, {
			Name: "app1",
			Proxies: []core.InstanceObs{
				{Name: "lb1", ProxyObs: core.ProxyObs{Known: true, Process: "1:2", Current: 3}, Servers: map[string]core.ProxyServerObs{"s0": {Known: true, Admin: core.AdminReady, Up: true, Weight: 0}}},
				{Name: "lb2", ProxyObs: core.ProxyObs{Gone: true}},
			},
		}},
	}
}

// What the core writes of an observation, as into a journal, is read back as it was.
func TestWhatTheCoreWritesIsInput(t *testing.T) {
	text, err := json.Marshal(everything())
	if err != nil {
		t.Fatal(err)
	}
	p := policy(2, 2)
	l, err := NewDecoder(p).Decode(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(everything(), l.Observation, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
	if diff := cmp.Diff(p, l.Policy(p)); diff != "" {
		t.Errorf("the policy changed:\n%s", diff)
	}
}

func decode(t *testing.T, line string) core.Observation {
	t.Helper()
	l, err := NewDecoder(policy(2, 2)).Decode([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return l.Observation
}

// What is left out means what docs/json.md says.
func TestWhatIsLeftOut(t *testing.T) {
	o := decode(t, `{"now": 1700000000.25, "nodes": [{"name": "n0"}], "apps": [{"name": "app0", "traffic": {}, "proxy": {}, "web": {}, "servers": [
		{"name": "s0", "pool": {"ready": 3.0, "starting": 2e0}, "proxy": {}}, {"name": "s1", "pool": {"busy": 0}, "proxy": {"admin": "maint"}}]}, {"name": "app1", "traffic": null}]}`)
	want := core.Observation{
		Now: time.Unix(1700000000, 250e6).UTC(), Nodes: []core.NodeObs{{Name: "n0", Up: true, CPU: -1, Memory: -1}},
		Apps: []core.AppObs{{Name: "app0", Traffic: core.TrafficObs{Known: true}, Proxy: core.ProxyObs{Known: true}, Web: core.WebObs{Known: true}, Servers: []core.ServerObs{
			{Name: "s0", Pool: core.PoolObs{Known: true, Total: 5, Ready: 3, Starting: 2, Target: 5}, Proxy: core.ProxyServerObs{Known: true, Admin: core.AdminReady, Up: true, Weight: 100}},
			{Name: "s1", Pool: core.PoolObs{Known: true, BusyKnown: true}, Proxy: core.ProxyServerObs{Known: true, Admin: core.AdminMaint}},
		}}, {Name: "app1"}},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSeveralProxies(t *testing.T) {
	o := decode(t, `{"now": 1, "apps": [{"name": "app0", "proxies": [{"name": "lb1", "process": "1:2", "servers": {"s0": {}, "s1": {"admin": "maint"}}}, {"name": "lb2", "gone": true}]}]}`)
	want := []core.InstanceObs{
		{Name: "lb1", ProxyObs: core.ProxyObs{Known: true, Process: "1:2"}, Servers: map[string]core.ProxyServerObs{
			"s0": {Known: true, Admin: core.AdminReady, Up: true, Weight: 100}, "s1": {Known: true, Admin: core.AdminMaint},
		}},
		{Name: "lb2", ProxyObs: core.ProxyObs{Gone: true}},
	}
	if diff := cmp.Diff(want, o.Apps[0].Proxies); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for line, says := range map[string]string{
		`"proxy": {}, "proxies": [{"name": "lb1"}]`:                         "proxy and proxies stand beside each other",
		`"proxies": [{"known": true}]`:                                      "proxies[0].name is missing",
		`"proxies": [{"name": "lb1"}, {"name": "lb1"}]`:                     `proxies[1].name: "lb1" stands in this line a second time`,
		`"proxies": [{"name": "lb1", "servers": {"x": {}}}]`:                `"x" is no server of app app0`,
		`"proxies": [{"name": "lb1", "servers": {"s0": {"admin": "off"}}}]`: `proxies[0].servers.s0.admin: "off" is not allowed`,
		`"proxies": [{"name": "lb1", "servers": []}]`:                       "apps[0].proxies[0].servers: a list is not allowed: an object of objects",
		`"proxies": [{"name": "lb1", "servers": {"s0": {"wait": 1}}}]`:      "wait",
	} {
		_, err := NewDecoder(policy(2, 2)).Decode([]byte(`{"now": 1, "apps": [{"name": "app0", ` + line + `}]}`))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", line, err, says)
		}
	}
}

// Without `proxy` and `web` an app is decided on as one without HAProxy and nginx; others stay as they are.
func TestAppsWithoutProxyAreDecidedSo(t *testing.T) {
	p := policy(2, 1)
	l, err := NewDecoder(p).Decode([]byte(`{"now": 1, "apps": [{"name": "app1", "proxy": {"known": false}}, {"name": "app0", "web": {}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := l.Policy(p)
	if a, b := got.Apps[0], got.Apps[1]; a.Proxied || !a.Web || !b.Proxied || b.Web || !p.Apps[0].Proxied {
		t.Errorf("proxied %v %v, web %v %v", a.Proxied, b.Proxied, a.Web, b.Web)
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		`0`: "1970-01-01T00:00:00Z", `1700000000`: "2023-11-14T22:13:20Z", `1700000000.123456`: "2023-11-14T22:13:20.123456Z", `1.7e9`: "2023-11-14T22:13:20Z",
		`"2023-11-14T23:13:20.123456789+01:00"`: "2023-11-14T22:13:20.123456789Z", `253402300799`: "9999-12-31T23:59:59Z",
		`-1`: "", `1e300`: "", `253402300800`: "", `"2023-11-14"`: "", `"0001-01-01T00:00:00Z"`: "", `true`: "",
	} {
		l, err := NewDecoder(policy(1, 1)).Decode([]byte(`{"now":` + in + `}`))
		if (err == nil) != (want != "") || err == nil && l.Now.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v; want %q", in, l.Now, err, want)
		}
	}
}

// No line makes anything panic; a refusal is one sentence; what is accepted is decided on, and written as JSON.
func FuzzLine(f *testing.F) {
	text, err := json.Marshal(everything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), "")
	files, err := filepath.Glob("../../cmd/tidegate/testdata/decide/*.in.jsonl")
	if err != nil || len(files) == 0 {
		f.Fatal("no scenarios", err)
	}
	name := strings.NewReplacer(`"shop"`, `"app0"`, `"mail"`, `"app1"`, `"n1"`, `"s0"`, `"n2"`, `"s1"`, `"n3"`, `"s2"`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		lines := strings.Split(name.Replace(string(text)), "\n")
		f.Add(lines[0], lines[len(lines)/2])
	}
	p := policy(3, 3)
	d := NewDecoder(p)
	f.Fuzz(func(t *testing.T, first, second string) {
		var m core.Memory
		for _, line := range []string{first, second, second} {
			l, err := d.Decode([]byte(line))
			if err != nil {
				if strings.Contains(err.Error(), "\n") && !strings.Contains(line, "\n") {
					t.Fatalf("more than one line: %q", err)
				}
				continue
			}
			plan, next := core.Decide(l.Policy(p), m, l.Observation)
			out, err := Encode(l.Observation, plan, Options{Trace: true})
			if err != nil || !json.Valid(out) {
				t.Fatalf("%v\n%s\n%s", err, line, out)
			}
			text, err := WriteMemory(next)
			if err != nil {
				t.Fatalf("%v\n%s", err, line)
			}
			if m, err = ReadMemory(text); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkLine is what a line costs for 1,000 apps on 50 servers each, without and with deciding.
func BenchmarkLine(b *testing.B) {
	p := policy(1000, 50)
	o := core.Observation{Now: time.Unix(1_700_000_000, 0).UTC()}
	for i := range p.Apps {
		p.Apps[i].Strategy = core.Erlang
		a := core.AppObs{Name: p.Apps[i].Name, Proxy: core.ProxyObs{Known: true, Process: "1:1", Current: 20}, Web: core.WebObs{Known: true}}
		a.Traffic = core.TrafficObs{Known: true, Seconds: []sizing.Second{{At: o.Now.Unix() - 2, Arrivals: 250, Completions: 250, Service: 20}, {At: o.Now.Unix() - 1, Arrivals: 240, Completions: 240, Service: 19}}}
		for _, s := range p.Apps[i].Servers {
			a.Servers = append(a.Servers, core.ServerObs{Name: s.Name, Pool: core.PoolObs{Known: true, BusyKnown: true, Total: 5, Ready: 5, Busy: 2.5, Target: 5},
				Proxy: core.ProxyServerObs{Known: true, Admin: core.AdminReady, Up: true, Weight: 100, Current: 3}})
		}
		o.Apps = append(o.Apps, a)
	}
	line, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	d := NewDecoder(p)
	plan, _ := core.Decide(p, core.Memory{}, o)
	b.Run("check", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if err := check(line, lineShape); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(line)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Decode(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out, err := Encode(o, plan, Options{Trace: true})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(out)))
		}
	})
	b.Run("decide", func(b *testing.B) {
		var m core.Memory
		for b.Loop() {
			_, m = core.Decide(p, m, o)
			o.Now = o.Now.Add(2 * time.Second)
		}
	})
}
