package haproxyconf_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// With a sample of 10 % the times of about a tenth of the requests come, and the counters miss none: what arrived, what a
// server answered, what none did, and so what was given up.
func TestSampledTimesExactCounts(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		const requests, failing, refused, workers = 800, 200, 20, 4
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n", []string{"s1"}}},
			func(p *haproxyconf.Params, _ *haproxyconf.Files) { p.Sample = 10 })
		// A request alone makes the backend's entry in the table. When the first two come at the same instant, HAProxy 3.0.11
		// sometimes makes two entries of the same name, and what the second has counted is missing.
		if got := s.get("/app/x"); got != 200 {
			t.Errorf("status %d, want 200", got)
		}
		const total = 1 + requests + refused
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for i := range (requests + refused) / workers {
					path, want := "/app/x", 200
					switch {
					case i < refused/workers:
						path, want = "/app/cut", 502
					case i < (refused+failing)/workers:
						path, want = "/app/x?code=500", 500
					}
					if got := s.get(path); got != want {
						t.Errorf("%s: status %d, want %d", path, got, want)
					}
				}
			})
		}
		all.Wait()
		if err := harness.WaitFor("exact counters", 10*time.Second, func() bool {
			r := s.report("app")
			return r.Started == total && r.Finished == total && r.NoResponse == refused && r.Completions == requests+1 && r.InFlight == 0
		}); err != nil {
			// The table tells whether HAProxy or the agent has lost one.
			out, _ := s.Command("show table tidegate-ctr")
			t.Fatalf("%v: %+v\n%s", err, s.report("app"), out)
		}
		r := s.report("app")
		if aborted := r.Finished - r.Completions - r.NoResponse; aborted != 0 {
			t.Errorf("%d requests count as given up by their clients, want none", aborted)
		}
		sent := r.Sampled
		// Requests that HAProxy reads in one turn of its loop are chosen together. Four standard deviations are 34 were each alone, 68
		// were the workers always in step; 60 to 100 were seen in 28 runs.
		if sent < requests/10-60 || sent > requests/10+68 {
			t.Errorf("the times of %d of %d requests came, want about a tenth", sent, requests)
		}
		// A quarter of the requests fail, and so do about as many of the sampled; four standard deviations are 16 of 80, or 32 in step.
		if share := float64(r.Errors) / float64(sent); share < 0.02 || share > 0.6 {
			t.Errorf("%d of %d sampled requests failed, want about a quarter", r.Errors, sent)
		}
		out, err := s.Command("show table tidegate-ctr")
		if err != nil {
			t.Fatal(err)
		}
		var answered int
		if i := strings.Index(out, "gpc1="); i >= 0 {
			_, _ = fmt.Sscanf(out[i:], "gpc1=%d", &answered)
		}
		if answered != requests+1 {
			t.Errorf("HAProxy counted %d answers of servers, want %d:\n%s", answered, requests+1, out)
		}
		if st := s.agent.Stats(); len(st.Malformed) != 0 {
			t.Errorf("malformed input from a real HAProxy: %v", st.Malformed)
		}
		t.Logf("HAProxy %s, files for %s: of %d answered requests %d were sampled; counters %d started, %d completed, %d without a server's answer; about %d errors, in truth %d",
			versionOf(t, binary), variant, requests+1, sent, r.Started, r.Completions, r.NoResponse, r.Errors*r.Completions/max(sent, 1), failing)
	})
}
