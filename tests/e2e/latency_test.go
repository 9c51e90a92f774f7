package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
)

const quickLatency = `    strategy: latency
    latency: {requests: 15, threshold: 300ms, breaches: 3, quiet: 8s}
    max_out_per_minute: 1
    ramp: [100]
    retry_after: 2s
`

// What the 2011 script did: slow answers bring one server in, after a warm-up request of our own; a failed warm-up keeps it
// out; a quiet period takes one server out; always_up stays.
func TestLatencyWarmsUpBeforeTrafficAndLeavesAfterAQuietPeriod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	slowFile, warmFile, appLog := dir+"/ms", dir+"/warm", dir+"/app-NODE.log"
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(warmFile, "503")
	f := startFleet(t, demo.Options{
		Nodes: 2, MaxWorkers: 3, ServiceMS: 20, AppYAML: quickLatency,
		Env: []string{"APP_MS_FILE=" + slowFile, "WARM_CODE_FILE=" + warmFile, "APP_LOG=" + appLog},
	})
	f.until("one server in service", 20*time.Second, func(s api.Status) bool { return serving(s) == 1 })
	tally, stop := f.load(f.HAProxyAddr, "/", 5)
	f.turns(4)
	if n := serving(f.status()); n != 1 {
		t.Fatalf("%d servers in service while answers are quick", n)
	}

	write(slowFile, "500")
	f.until("the failed warm-up", 30*time.Second, func(s api.Status) bool { return event(s, "warm_failed") != nil })
	if n := serving(f.status()); n != 1 {
		t.Fatalf("%d servers in service although the warm-up failed", n)
	}
	text, err := os.ReadFile(strings.ReplaceAll(appLog, "NODE", "n2"))
	if err != nil || !strings.Contains(string(text), "/warm tidegate-warmup") || strings.Contains(string(text), "/ Go-http") {
		t.Fatalf("n2 must have seen warm-up requests and nothing else, it saw (%v):\n%s", err, text)
	}

	write(warmFile, "200")
	s := f.until("n2 in service", 40*time.Second, func(s api.Status) bool { return serving(s) == 2 })
	if e := event(s, "grow_latency"); e == nil || e.Numbers["average_ms"] < 300 || !strings.Contains(e.Sentence, "n2") {
		t.Errorf("the decision is not explained: %+v", e)
	}

	write(slowFile, "20")
	f.until("n2 parked after the quiet period", 60*time.Second, func(s api.Status) bool {
		return serving(s) == 1 && s.Apps[0].Servers[1].Phase == "parked"
	})
	f.turns(12)
	if v := f.server("n1"); v.Admin != "ready" {
		t.Fatalf("always_up n1 is %+v", v)
	}
	stop()
	noFailures(t, "through HAProxy", tally)
}
