package haproxyconf_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/spoa"
)

// When HAProxy has gone, so have its connections and the series of its engines; those of the next one are its own.
func TestConnectionsGoWithHAProxy(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n", []string{"s1"}}})
		if got := s.get("/app/x"); got != 200 {
			t.Errorf("status %d, want 200", got)
		}
		connected := func(want bool) func() bool {
			return func() bool {
				var text strings.Builder
				s.agent.metrics.WritePrometheus(&text)
				return (s.agent.Stats().Connections > 0) == want && strings.Contains(text.String(), "tidegate_spoa_engine_connections{") == want
			}
		}
		s.wait(t, "connections", connected(true))
		s.Kill()
		s.wait(t, "no connection", connected(false))
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		s.wait(t, "connections again", connected(true))
		if r := s.report("app"); r.Open != spoa.Absent {
			t.Errorf("%d open requests are known though no arrival was told", r.Open)
		}
	})
}
