package haproxyconf_test

import (
	"testing"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
)

// An agent that is told to stop under load leaves in such a way that HAProxy notices no error: every exchange that it begins
// is acknowledged.
func TestShutdownIsNotNoticed(t *testing.T) {
	const rounds = 2
	each(t, func(t *testing.T, binary, variant string) {
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n", []string{"s1"}}},
			func(_ *haproxyconf.Params, files *haproxyconf.Files) {
				// A busy machine makes an ACK later than 10 ms at any time. With a second, only what is never acknowledged fails.
				if files != nil {
					files.SPOE = processingRule.ReplaceAllString(files.SPOE, "processing 1s")
				}
			})
		s.agent.stop()
		s.agent = startAgentWith(t, s.addr, spoa.Options{Sink: s.rec, Drain: 5 * time.Second})
		l := s.load("/app/x", 2*time.Millisecond)
		var took []time.Duration
		for range rounds {
			s.waitAgent(t, true)
			l.more(t, 200)
			begin := time.Now()
			s.agent.stop()
			took = append(took, time.Since(begin).Round(time.Millisecond))
			s.waitAgent(t, false)
			l.more(t, 100)
			s.agent = startAgentWith(t, s.addr, spoa.Options{Sink: s.rec, Drain: 5 * time.Second})
		}
		s.waitAgent(t, true)
		l.stop()
		errors, samples := map[string]int{}, 0
		for _, line := range s.log.lines() {
			if line["err"] != "-" {
				errors[line["err"]]++
			}
			if line["id"] != "-" {
				samples++
			}
		}
		t.Logf("HAProxy %s, files for %s: %d requests, %d exchanges, errors by code %v; the shutdowns took %v", versionOf(t, binary), variant, l.sent(), samples, errors, took)
		if l.statuses[200] != l.sent() {
			t.Errorf("statuses %v, want nothing but 200", l.statuses)
		}
		if len(errors) > 0 {
			t.Errorf("exchanges failed: %v", errors)
		}
	})
}
