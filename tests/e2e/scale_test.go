package e2e

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/internal/demo"
)

const quickBusy = `    strategy: busy_ratio
    min_workers: 1
    busy_ratio: {target: 0.6, window: 2s}
    down: {window: 6s, every: 2s, share: 0.5}
    lead_time: 2s
    fill: 1
    max_out_per_minute: 1
    ramp: [25, 100]
`

// The main job: a load comes through HAProxy and through nginx, workers and servers follow it up and down again, and no
// request is lost on either way.
func TestBusyRatioFollowsTheLoadAndLosesNothing(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 50, AppYAML: quickBusy})
	f.until("one server in service", 20*time.Second, func(s api.Status) bool { return serving(s) == 1 })

	viaHAProxy, stopHAProxy := f.load(f.HAProxyAddr, "/", 45)
	viaNginx, stopNginx := f.load(f.NginxAddr, "/", 35)
	f.until("three servers in service in HAProxy and in nginx", 60*time.Second, func(s api.Status) bool {
		for _, v := range s.Apps[0].Servers {
			if v.Admin != "ready" || v.Phase != "serving" || v.Web < 1 || v.Ready < 2 {
				return false
			}
		}
		return true
	})
	// The application takes 50 ms; the quantiles look back half a minute, so the rush has to pass first.
	s := f.until("the rate and the times from SPOE to be those of the load", 60*time.Second, func(s api.Status) bool {
		a := s.Apps[0]
		return a.Rate > 38 && a.Rate < 52 && a.P50MS >= 48 && a.P50MS < 150 && a.TrafficAgeMS >= 0 && a.TrafficAgeMS < 5000
	})
	if s.SPOA.Frames == 0 || s.SPOA.Malformed != 0 {
		t.Errorf("SPOE agent %+v", s.SPOA)
	}
	stopHAProxy()
	stopNginx()
	light, stopLight := f.load(f.NginxAddr, "/", 5)
	f.until("one server left", 90*time.Second, func(s api.Status) bool {
		parked := 0
		for _, v := range s.Apps[0].Servers {
			if v.Phase == "parked" && v.Admin == "maint" && v.Weight == 0 && v.Web == 0 && v.Total == 1 {
				parked++
			}
		}
		return parked == 2
	})
	stopLight()
	noFailures(t, "through HAProxy", viaHAProxy)
	noFailures(t, "through nginx", viaNginx)
	noFailures(t, "through nginx while servers left", light)

	journal := readJournal(t, f.Rig.Path("state", "journal.jsonl"))
	for _, server := range []string{"n2", "n3"} {
		checkOrder(t, server, journal)
	}
	// What was decided live, with real measurements, is decided again offline.
	if out, code := cli(t, "replay", f.Rig.Path("state", "journal.jsonl")); code != 0 || !strings.Contains(out, "decisions are as they were") {
		t.Errorf("exit status %d: %s", code, out)
	} else {
		t.Log(strings.TrimSpace(out))
	}
}

func readJournal(t *testing.T, path string) []control.Entry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []control.Entry
	for line := range strings.Lines(string(text)) {
		var e control.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("the journal's line %q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// checkOrder: growing is workers, warm, enter (checked without traffic), ready; shrinking is drain, park, workers.
func checkOrder(t *testing.T, server string, journal []control.Entry) {
	t.Helper()
	var steps []core.ActionKind
	for _, e := range journal {
		if e.Kind == "outcome" && e.Action != nil && e.Action.Server == server && e.Action.Kind != core.SetWeight && e.Action.Why != "" {
			if e.Error != "" {
				t.Errorf("%s: step %s failed: %s", server, e.Action.Kind, e.Error)
			}
			steps = append(steps, e.Action.Kind)
		}
	}
	at := func(kind core.ActionKind, after int) int {
		i := slices.Index(steps[min(len(steps), after):], kind)
		if i < 0 {
			t.Fatalf("%s: no %s after step %d in %v", server, kind, after, steps)
		}
		return after + i
	}
	// The first steps make the server ours: parked with weight 0.
	park := at(core.Park, 0)
	warm := at(core.Warm, park)
	enter := at(core.Enter, warm)
	ready := at(core.Ready, enter)
	drain := at(core.Drain, ready)
	gone := at(core.Park, drain)
	at(core.SetWorkers, gone)
	if i := slices.Index(steps[park:], core.SetWorkers); i < 0 || park+i > warm {
		t.Errorf("%s: the warm-up came before the workers: %v", server, steps)
	}
}
