package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/core/sizing"
)

func TestSizingDefaultsAreThoseOfTheCore(t *testing.T) {
	c, err := LoadController("testdata/good/sizing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := c.Apps[0].Policy
	if p.Strategy != core.Erlang || p.Also != nil || p.Fill != 0.75 {
		t.Errorf("strategy %q, %q, fill %v", p.Strategy, p.Also, p.Fill)
	}
	if diff := cmp.Diff(sizing.Default(), p.Sizing); diff != "" {
		t.Errorf("(-sizing.Default +configuration)\n%s", diff)
	}
}

func TestEveryKeyOfSizingIsRead(t *testing.T) {
	c, err := LoadController("testdata/good/sizing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := c.Apps[1].Policy
	if diff := cmp.Diff([]core.Strategy{core.BusyRatio, core.RPSRatio, core.Schedule}, p.Also); diff != "" || p.Strategy != core.Erlang || p.Fill != 1 {
		t.Errorf("strategy %q, fill %v, also\n%s", p.Strategy, p.Fill, diff)
	}
	want := sizing.Default()
	want.SLO, want.LeadTime = 800*time.Millisecond, 20*time.Second
	want.Erlang = sizing.ErlangPolicy{MaxWait: 0.25, MaxLate: 0.05, CV: 1.5, LoseNode: true, Reserve: 1.2}
	want.Busy = sizing.BusyPolicy{Target: 0.6, Window: 10 * time.Second}
	want.RPS = sizing.RPSPolicy{Target: 0.5, Window: time.Minute}
	want.Queue = sizing.QueuePolicy{Drain: 2 * time.Minute, MaxAge: 10 * time.Minute, Target: 0.8}
	want.Schedule = []sizing.ScheduleSlot{
		{Days: []time.Weekday{1, 2, 3, 4, 5}, From: 8 * time.Hour, To: 18*time.Hour + 30*time.Minute, Workers: 6},
		{From: 22 * time.Hour, To: 6 * time.Hour, Workers: 2},
	}
	want.Up = sizing.UpPolicy{Every: 10 * time.Second, Share: 1, Step: 4, Tolerance: 0.1}
	want.Down = sizing.DownPolicy{Window: 10 * time.Minute, Every: 30 * time.Second, Share: 0.25, Tolerance: 0.1}
	want.Guard = sizing.GuardPolicy{Off: true, Drop: 0.4, Hold: 10 * time.Minute, Extend: 5 * time.Minute}
	want.Futility = sizing.FutilityPolicy{Off: true, Probe: time.Minute}
	want.Profile = sizing.ProfilePolicy{On: true, Days: 5}
	want.FlapBudget = 6
	if diff := cmp.Diff(want, p.Sizing); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	consumers, printers := c.Apps[2], c.Apps[3]
	if diff := cmp.Diff(&Backlog{URL: "http://10.0.0.9:8080/backlog", Every: 10 * time.Second, Timeout: time.Second}, consumers.Backlog); diff != "" || consumers.Policy.Proxied {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if printers.Backlog.Command[1] != "printers" || printers.Policy.Also[0] != core.Schedule {
		t.Errorf("%+v", printers)
	}
}

// A slot is a time of day of its zone, summer and winter.
func TestScheduleFollowsDaylightSaving(t *testing.T) {
	c, err := LoadController("testdata/good/sizing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	app := &c.Apps[1]
	for now, want := range map[string]time.Duration{
		"2026-01-15T07:00:00Z": time.Hour, "2026-07-15T06:00:00Z": 2 * time.Hour,
		"2026-03-29T00:59:59Z": time.Hour, "2026-03-29T01:00:00Z": 2 * time.Hour, "2026-10-25T01:00:00Z": time.Hour,
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		p := app.At(at)
		if got := p.Sizing.Schedule[0].Offset; got != want {
			t.Errorf("%s: Europe/Berlin is %v from UTC, want %v", now, got, want)
		}
		if p.Sizing.Schedule[1].Offset != 0 || app.Policy.Sizing.Schedule[0].Offset != 0 {
			t.Errorf("%s: another slot or the configuration itself was changed", now)
		}
	}
}

// What only decides needs neither addresses nor the sections that say how others are reached.
func TestPolicyAloneNeedsOnlyApps(t *testing.T) {
	load := func(text string) (*Controller, error) {
		file := filepath.Join(t.TempDir(), "apps.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadPolicy(file)
	}
	c, err := load("apps:\n  - name: shop\n    servers: [{name: n1, node: n1, workers: {max: 24}}]\n")
	if err != nil || c.Apps[0].Policy.Strategy != core.Erlang || c.Apps[0].Policy.MaxWorkers != 24 {
		t.Fatalf("%v, %+v", err, c)
	}
	if _, err = load("nodes: [{name: n1, url: \"http://10.0.0.1:1\", token_file: /nonexistent}]\n" +
		"apps:\n  - {name: shop, haproxy_backend: shop, nginx_upstream: {name: shop}, servers: [{name: n1, node: n1}]}\n"); err != nil {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]string{
		"apps:\n  - {name: shop, servers: [{name: n1}]}\n":                                                 "every server must have a `node`",
		"apps:\n  - {name: shop, slo: 0s, servers: [{name: n1, node: n1}]}\n":                              "apps.yaml:2:23: apps[0].slo",
		"apps:\n  - {name: shop, haproxy_backend: shop, servers: [{name: n1}]}\n":                          "latency fits here",
		"nodes: [{name: n1, url: \"http://h:1\"}]\napps:\n  - {name: a, servers: [{name: s, node: n2}]}\n": "the name of one of `nodes`",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %q in it", text, err, want)
		}
	}
}

// The documented defaults are those in force.
func TestDocumentedDefaults(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	z := sizing.Default()
	c, err := LoadController("testdata/good/sizing.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]any{
		"slo": z.SLO, "lead_time": z.LeadTime, "erlang.max_wait": z.Erlang.MaxWait, "erlang.max_late": z.Erlang.MaxLate, "erlang.service_cv": z.Erlang.CV,
		"erlang.lose_node": z.Erlang.LoseNode, "erlang.reserve": z.Erlang.Reserve, "busy_ratio.target": z.Busy.Target, "busy_ratio.window": z.Busy.Window,
		"rps_ratio.target": z.RPS.Target, "rps_ratio.window": z.RPS.Window, "queue.drain": z.Queue.Drain, "queue.max_age": z.Queue.MaxAge, "queue.target": z.Queue.Target,
		"up.every": z.Up.Every, "up.share": z.Up.Share, "up.step": z.Up.Step, "up.tolerance": z.Up.Tolerance,
		"down.window": z.Down.Window, "down.every": z.Down.Every, "down.share": z.Down.Share, "down.tolerance": z.Down.Tolerance,
		"collapse_guard.off": z.Guard.Off, "collapse_guard.drop": z.Guard.Drop, "collapse_guard.hold": z.Guard.Hold, "collapse_guard.extend": z.Guard.Extend,
		"futility.off": z.Futility.Off, "futility.probe": z.Futility.Probe, "profile.on": z.Profile.On, "profile.days": z.Profile.Days,
		"flap_budget": z.FlapBudget, "fill": c.Apps[0].Policy.Fill,
	} {
		shown := fmt.Sprint(value)
		if d, ok := value.(time.Duration); ok {
			if shown = d.String(); strings.HasSuffix(shown, "m0s") {
				shown = strings.TrimSuffix(shown, "0s")
			}
			shown = "`" + shown + "`"
		}
		if row := "| `" + key + "` | " + shown + " |"; !strings.Contains(string(text), row) {
			t.Errorf("docs/configuration.md has no row %q", row)
		}
	}
}
