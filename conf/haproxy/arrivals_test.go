package haproxyconf_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	haproxyconf "github.com/tidegate/tidegate/conf/haproxy"
	"github.com/tidegate/tidegate/spoa"
)

// hiccup takes everything at once, but for the answers that it is told to hold.
type hiccup struct {
	mu   sync.Mutex
	held chan struct{}
}

func (h *hiccup) Arrive(time.Time, *spoa.Arrival)   {}
func (h *hiccup) Heartbeat(time.Time, *spoa.Gauges) {}

func (h *hiccup) Done(time.Time, *spoa.Sample) {
	h.mu.Lock()
	held := h.held
	h.mu.Unlock()
	if held != nil {
		<-held
	}
}

// hold makes answers wait until release is called.
func (h *hiccup) hold() (release func()) {
	held := make(chan struct{})
	set := func(to chan struct{}) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held = to
	}
	set(held)
	return sync.OnceFunc(func() { set(nil); close(held) })
}

// An agent that acknowledges a request's arrival and hangs at its answer. HAProxy 2.6.12 forgets the second timer when the
// first ends a few milliseconds earlier, and then waits for as long as the agent hangs.
func TestAgentHangsAfterTheArrival(t *testing.T) {
	const hang = 2 * time.Second
	each(t, func(t *testing.T, binary, variant string) {
		if variant == haproxyconf.Variant26 {
			t.Skip("not with these files: tidegate init refuses arrivals with them, because HAProxy 2.6 can forget a timer")
		}
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{"app": {"    server s1 " + o.addr + "\n", []string{"s1"}}},
			func(p *haproxyconf.Params, _ *haproxyconf.Files) { p.Arrivals = true })
		s.agent.stop()
		s.waitAgent(t, false)
		sink := &hiccup{}
		s.agent = startAgent(t, s.addr, sink)
		s.waitAgent(t, true)
		var took []time.Duration
		for i := range 40 {
			// With a connection at hand, the arrival is acknowledged at once.
			path := fmt.Sprintf("/app/x?us=%d", i*250)
			if got := s.get(path); got != 200 {
				t.Errorf("status %d, want 200", got)
			}
			release := sink.hold()
			end := time.AfterFunc(hang, release)
			begin := time.Now()
			if got := s.get(path); got != 200 {
				t.Errorf("status %d, want 200", got)
			}
			d := time.Since(begin)
			end.Stop()
			release()
			if took = append(took, d.Round(time.Millisecond)); d >= hang {
				t.Errorf("a request of %v waited for the agent for as long as it hung", time.Duration(i)*250*time.Microsecond)
			}
		}
		t.Logf("HAProxy %s, files for %s: requests took %v", versionOf(t, binary), variant, took)
	})
}
