package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// quickErlang does within seconds what a production setting does within minutes; how much is needed is decided as everywhere.
const quickErlang = `    strategy: erlang
    lead_time: 2s
    min_workers: 2
    down: {window: 8s, every: 2s, share: 0.5}
    max_out_per_minute: 1
    ramp: [50, 100]
    stale_after: 4s
`

// stream is an open-loop load of POSTs over connections that stay, whose rate may be changed.
type stream struct {
	*harness.Tally
	rate atomic.Int64
	done chan struct{}
}

// send starts a stream through HAProxy; it ends with the test.
func (f *fleet) send(rate int64) *stream {
	s := &stream{Tally: &harness.Tally{}, done: make(chan struct{})}
	s.rate.Store(rate)
	go func() {
		defer close(s.done)
		harness.Load{
			URL: "http://" + f.HAProxyAddr + "/", For: 10 * time.Minute, Timeout: 2 * time.Minute, KeepAlive: true, OnDone: s.Add,
			Rate: func(time.Duration) float64 { return float64(s.rate.Load()) },
		}.Run(context.Background())
	}()
	f.t.Cleanup(s.stop)
	return s
}

// stop ends the stream and waits for the last answer.
func (s *stream) stop() {
	s.rate.Store(-1)
	<-s.done
}

// decided is the last decision with this code in the journal; its sentence and numbers are logged.
func (f *fleet) decided(code core.Code) *core.Reason {
	f.t.Helper()
	var found *core.Reason
	for _, e := range readJournal(f.t, f.Rig.Path("state", "journal.jsonl")) {
		if e.Kind != "decision" {
			continue
		}
		for i := range e.Plan.Reasons {
			if r := &e.Plan.Reasons[i]; r.Code == code {
				found = r
			}
		}
	}
	if found == nil {
		f.t.Errorf("nothing was decided with the code %s", code)
		return &core.Reason{}
	}
	f.t.Logf("%s: %s", found.Code, found.Sentence)
	return found
}

// tidegate runs the binary against the fleet's controller and expects success.
func (f *fleet) tidegate(args ...string) string {
	f.t.Helper()
	out, code := cli(f.t, append(args, "-c", f.Config)...)
	if code != 0 {
		f.t.Fatalf("tidegate %v ended with %d: %s", args, code, out)
	}
	return out
}

// Four times the load from one second to the next: enough workers are ordered in one go, and every request is answered. The
// explanation names what it was decided by.
func TestAStepOfFourIsFollowedAndExplained(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 4, ServiceMS: 100, AppYAML: quickErlang})
	load := f.send(10)
	f.until("ten requests a second to be known", 40*time.Second, func(s api.Status) bool {
		z := s.Apps[0].Sizing
		return z != nil && z.ArrivalsPerSecond > 8 && z.ServiceMS > 80 && settled(s)
	})
	before := f.status().Apps[0].Wanted
	load.rate.Store(40)
	s := f.until("the step to be followed", 60*time.Second, func(s api.Status) bool {
		a := s.Apps[0]
		return a.Rate > 35 && a.Ready >= 6 && a.Queued == 0 && serving(s) >= 2
	})
	if s.Apps[0].Change == nil || s.Apps[0].Wanted <= before {
		t.Errorf("%d workers wanted before, %+v", before, s.Apps[0])
	}
	if r := f.decided("grow"); !strings.Contains(r.Sentence, "demand") || r.Numbers["arrivals"] < 10 {
		t.Errorf("not explained: %+v", r)
	}
	out := f.tidegate("explain", "shop")
	t.Logf("\n%s", out)
	for _, want := range []string{"shop (erlang):", "known: ", "service time 1", "inputs  ", "arrivals ", "steps ", "demand ", "last change, "} {
		if !strings.Contains(out, want) {
			t.Errorf("explain lacks %q", want)
		}
	}
	if out := f.tidegate("status"); !strings.Contains(out, "requests/s in the last minute") {
		t.Errorf("the status:\n%s", out)
	}
	var metrics strings.Builder
	if err := read("http://"+f.MetricsAddr+"/metrics", &metrics); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`tidegate_app_workers{app="shop",kind="need"}`, `tidegate_app_workers{app="shop",kind="wanted"}`, `tidegate_app_service_seconds{app="shop"} 0.1`,
		`tidegate_app_lead_seconds{app="shop"}`, `tidegate_app_arrivals_60s_per_second{app="shop"}`, `tidegate_decisions_total{app="shop",code="grow"}`,
	} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	load.stop()
	noFailures(t, "through HAProxy", load.Tally)
}

// An announced push: the workers are there before it begins, though the controller was killed in between.
func TestAnAnnouncedPushFindsItsWorkers(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 8, ServiceMS: 100, AppYAML: quickErlang})
	load := f.send(8)
	f.until("the load to be known", 40*time.Second, func(s api.Status) bool {
		z := s.Apps[0].Sizing
		return z != nil && z.ArrivalsPerSecond > 6 && z.ServiceMS > 80 && settled(s)
	})
	begins := time.Now().Add(18 * time.Second)
	out := f.tidegate("reserve", "shop", "--rps", "45", "--from", begins.Format(time.RFC3339), "--for", "10m", "--owner", "newsletter")
	if !strings.HasPrefix(out, "reserve-1: reserve 45 requests/s of shop") {
		t.Errorf("it answers %q", out)
	}
	f.Controller.Kill()
	if err := f.RunController(); err != nil {
		t.Fatal(err)
	}
	s := f.until("the workers of the reservation", 40*time.Second, func(s api.Status) bool {
		a := s.Apps[0]
		return len(a.Orders) == 1 && a.Orders[0].State == "active" && a.Orders[0].Asks >= 5 && a.Ready >= a.Orders[0].Asks && settled(s)
	})
	if late := s.Now.Sub(begins); late > 0 {
		t.Errorf("the workers were there %v after the beginning", late)
	}
	t.Logf("%d workers, %v before the beginning", s.Apps[0].Ready, time.Until(begins).Round(time.Second))
	if r := f.decided("reserve"); !strings.Contains(r.Sentence, "newsletter has announced load") {
		t.Errorf("not explained: %+v", r)
	}
	if out := f.tidegate("orders"); !strings.Contains(out, "active") || !strings.Contains(out, "newsletter") {
		t.Errorf("orders:\n%s", out)
	}
	time.Sleep(time.Until(begins))
	load.rate.Store(45)
	f.until("the push", 40*time.Second, func(s api.Status) bool { return s.Apps[0].Rate > 40 })
	if out := f.tidegate("release", "reserve-1"); !strings.HasPrefix(out, "released reserve-1") {
		t.Errorf("it answers %q", out)
	}
	f.until("the reservation to be gone", 20*time.Second, func(s api.Status) bool { return len(s.Apps[0].Orders) == 0 })
	load.stop()
	noFailures(t, "through HAProxy", load.Tally)
}

// A node dies with its workers and its agent: what ran on it is lost, others take its share, and nothing more fails.
func TestAKilledNodeIsTakenOver(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 100, AppYAML: strings.Replace(quickErlang, "min_workers: 2", "min_servers: 2\n    min_workers: 4", 1)})
	load := f.send(15)
	// A third that the first seconds' estimate brings in may only leave when a minute is over.
	s := f.until("two servers in service", 3*time.Minute, func(s api.Status) bool {
		z := s.Apps[0].Sizing
		return z != nil && z.ArrivalsPerSecond > 12 && serving(s) == 2 && settled(s)
	})
	victim := 1
	for i, v := range s.Apps[0].Servers {
		if i > 0 && v.Serve {
			victim = i
		}
	}
	wanted := s.Apps[0].Wanted
	f.Agents[victim].Kill()
	f.Gunicorns[victim].Kill()
	f.until("another server in its place, with its workers", 60*time.Second, func(s api.Status) bool {
		a := s.Apps[0]
		ready := 0
		for i, v := range a.Servers {
			if i != victim && v.Serve && v.Up {
				ready += v.Ready
			}
		}
		return !a.Servers[victim].Up && serving(s) == 2 && ready >= wanted
	})
	if r := f.decided("node_lost"); !strings.Contains(r.Sentence, fmt.Sprintf("n%d", victim+1)) {
		t.Errorf("not explained: %+v", r)
	}
	_, lost := load.Counts()
	t.Logf("%d requests were lost with the node:\n%s", lost, load.Errors())
	f.turns(6)
	load.stop()
	if _, failed := load.Counts(); failed > lost {
		t.Errorf("%d requests failed after others had taken over:\n%s", failed-lost, load.Errors())
	}
}

// A dependency that all workers wait for becomes slow: more workers are tried, seen to be of no use, and no more are ordered; an
// alarm says so. When it is well again, what has waited is served.
func TestAHungDependencyRaisesAnAlarmAndNoCrowd(t *testing.T) {
	t.Parallel()
	gate := t.TempDir() + "/gate"
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 8, ServiceMS: 50, AppYAML: quickErlang, Env: []string{"APP_GATE_FILE=" + gate}})
	load := f.send(20)
	f.until("the load to be known", 60*time.Second, func(s api.Status) bool {
		z := s.Apps[0].Sizing
		return z != nil && z.ArrivalsPerSecond > 17 && z.ServiceMS > 40 && settled(s)
	})
	// What is usual has to be known before anything can be unusual.
	f.turns(10)
	before := f.status().Apps[0].Wanted
	if err := os.WriteFile(gate, []byte("150"), 0o644); err != nil {
		t.Fatal(err)
	}
	most := 0
	s := f.until("the alarm", 90*time.Second, func(s api.Status) bool {
		most = max(most, s.Apps[0].Wanted)
		for _, code := range s.Apps[0].Alarms {
			if code == "futile" {
				return true
			}
		}
		return false
	})
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d workers before, %d at most of 24", before, most)
	if most >= 24 {
		t.Errorf("it grew to %d workers, all there are", most)
	}
	if r := f.decided("futile"); !strings.Contains(r.Sentence, "a dependency is slow") {
		t.Errorf("not explained: %+v", r)
	}
	if out := f.tidegate("status"); s.Apps[0].Alarms == nil {
		t.Errorf("the status:\n%s", out)
	}
	f.until("what has waited to be served", 90*time.Second, func(s api.Status) bool { return s.Apps[0].Queued == 0 })
	load.stop()
	noFailures(t, "through HAProxy", load.Tally)
}

// HAProxy is away for a while: nothing shrinks, nginx's way goes on, and when it is back what served serves again.
func TestHAProxyAwayAndBack(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 100, AppYAML: strings.Replace(quickErlang, "min_workers: 2", "min_workers: 1", 1)})
	load := f.send(25)
	web, stopWeb := f.load(f.NginxAddr, "/", 5)
	f.until("several servers in service", 60*time.Second, func(s api.Status) bool {
		z := s.Apps[0].Sizing
		return z != nil && z.ArrivalsPerSecond > 20 && s.Apps[0].Ready >= 4 && serving(s) >= 2 && settled(s)
	})
	load.stop()
	before := f.status()
	f.HAProxy.Kill()
	f.until("the hold", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Hold == "hold_no_data" })
	// Without the hold the window of 8 s would have let it shrink in this time.
	f.turns(12)
	s := f.status()
	if a := s.Apps[0]; a.Wanted < before.Apps[0].Wanted || a.Ready < before.Apps[0].Ready || a.Hold != "hold_no_data" {
		t.Errorf("without HAProxy: %d wanted and %d ready before, now %d, %d, held %q", before.Apps[0].Wanted, before.Apps[0].Ready, a.Wanted, a.Ready, a.Hold)
	}
	if err := f.HAProxy.Restart(); err != nil {
		t.Fatal(err)
	}
	again := f.send(25)
	f.until("what served to serve again", 30*time.Second, func(s api.Status) bool {
		for i, v := range before.Apps[0].Servers {
			if now := s.Apps[0].Servers[i]; v.Phase == "serving" && (now.Admin != "ready" || !now.Up) {
				return false
			}
		}
		return s.Apps[0].Hold == "" && s.Apps[0].Rate > 15
	})
	f.decided("restored")
	f.decided("data_back")
	again.stop()
	stopWeb()
	noFailures(t, "through HAProxy before", load.Tally)
	noFailures(t, "through HAProxy after", again.Tally)
	noFailures(t, "through nginx all the time", web)
}

// A hold and a pin on the real thing: under a hold nothing moves whatever the load does, a pin is followed at once.
func TestOperatorsOrdersAreObeyed(t *testing.T) {
	t.Parallel()
	f := startFleet(t, demo.Options{Nodes: 2, MaxWorkers: 4, ServiceMS: 100, AppYAML: quickErlang})
	f.until("the start", 40*time.Second, func(s api.Status) bool { return serving(s) >= 1 && settled(s) && s.Apps[0].Wanted > 0 })
	for args, want := range map[string]string{
		"pin shop 99":                            "workers: 99 is not allowed for shop: 2 to 8",
		"pin shop many":                          `"many" workers are not allowed: a whole number from 1`,
		"hold":                                   "hold needs the name of an app, or --all",
		"hold shoop":                             `no app is called "shoop"`,
		"hold shop --for soon":                   `--for "soon" is not allowed`,
		"reserve shop --rps 5 --workers 3":       "one of --rps N and --workers N",
		"reserve shop --rps 5":                   "needs --for DURATION",
		"reserve shop --rps 0 --for 1h":          "a reservation needs either workers or rate",
		"reserve shop --rps 5 --for 48h":         "at most 24h",
		"reserve shop --rps 5 --for 1h --from x": `--from "x" is not allowed`,
		"release nobody":                         "neither the id of an order nor the name of an app",
		"explain shoop":                          `no app is called "shoop"; there is shop`,
	} {
		out, code := cli(t, append(strings.Fields(args), "-c", f.Config)...)
		if code == 0 || !strings.Contains(out, want) || strings.Count(strings.TrimSpace(out), "\n") > 0 {
			t.Errorf("tidegate %s: exit %d, %q, want one line with %q", args, code, out, want)
		}
	}
	if out := f.tidegate("orders"); out != "no holds, pins or reservations\n" {
		t.Errorf("%q", out)
	}
	f.tidegate("hold", "--all", "--for", "1h", "--note", "move")
	s := f.until("the hold", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Hold == "hold_order" })
	steps := s.Totals.Actions
	load := f.send(30)
	f.turns(12)
	s = f.status()
	if fmt.Sprint(s.Totals.Actions) != fmt.Sprint(steps) || s.Apps[0].Rate < 20 {
		t.Errorf("under the hold, with %.0f requests/s, steps went from %v to %v", s.Apps[0].Rate, steps, s.Totals.Actions)
	}
	if out := f.tidegate("status"); !strings.Contains(out, "held: hold_order") || !strings.Contains(out, "(move)") && !strings.Contains(out, "hold-1") {
		t.Errorf("the status:\n%s", out)
	}
	if out, code := cli(t, "release", "shop", "-c", f.Config); code == 0 || !strings.Contains(out, "release hold-1") {
		t.Errorf("exit %d, %q", code, out)
	}
	f.tidegate("release", "hold-1")
	f.tidegate("pin", "shop", "7")
	f.until("the pin", 60*time.Second, func(s api.Status) bool {
		return s.Apps[0].Wanted == 7 && s.Apps[0].Ready == 7 && len(s.Apps[0].Orders) == 1 && s.Apps[0].Orders[0].State == "active"
	})
	f.tidegate("pin", "shop", "2")
	f.until("the lower pin in the first one's place", 60*time.Second, func(s api.Status) bool {
		return s.Apps[0].Wanted == 2 && len(s.Apps[0].Orders) == 1
	})
	f.tidegate("release", "shop")
	load.stop()
	noFailures(t, "through HAProxy", load.Tally)
}
