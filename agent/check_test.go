package agent_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/tests/harness"
)

const checkCfg = `global
    stats socket {{SOCK}} level admin
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
backend shop
    server n1 %s weight 100 agent-check agent-addr %s agent-port %s agent-inter 100ms
`

// HAProxy asks the agent, and nobody else is there: its weight follows the free workers, 0 is for a drained app alone, and an
// agent that is gone or knows nothing leaves the weight as it is.
func TestHAProxysAgentCheckFollowsTheFreeWorkers(t *testing.T) {
	harness.Need(t, "haproxy")
	t.Parallel()
	s := bareSite(t, 4, nil)
	check, err := s.Rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s.App.Max, s.App.Check = 4, check
	s.startGunicorn()
	s.StartAgent()
	s.Settled(4)
	host, port, err := net.SplitHostPort(check)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Rig.StartHAProxy("haproxy", fmt.Sprintf(checkCfg, strings.TrimPrefix(s.URL, "http://"), host, port))
	if err != nil {
		t.Fatal(err)
	}
	weight := func() int {
		out, err := h.Command("show servers state shop")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			// be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight ...
			if f := strings.Fields(line); len(f) > 8 && f[3] == "n1" {
				n, err := strconv.Atoi(f[7])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("no server in %s", out)
		return 0
	}
	s.WaitFor("all of the weight", func() bool { return weight() == 100 })
	end := s.Begin(3, "/?ms=6000")
	s.Wait("3 busy", busy(3))
	s.WaitFor("a quarter of the weight", func() bool { return weight() == 25 })
	// Nobody answers: HAProxy goes on with what it was told last.
	if err := s.StopAgent(); err != nil {
		t.Fatal(err)
	}
	end()
	if w := weight(); w != 25 {
		t.Errorf("without the agent the weight is %d, want the last one, 25", w)
	}
	s.StartAgent()
	s.WaitFor("all of the weight again", func() bool { return weight() == 100 })
	if r, err := s.Client.SetDrain(t.Context(), "shop", true); err != nil || !r.Drained {
		t.Fatalf("drain: %+v, %v", r, err)
	}
	s.WaitFor("no weight, because a person drains it", func() bool { return weight() == 0 })
	if _, err := s.Client.SetDrain(t.Context(), "shop", false); err != nil {
		t.Fatal(err)
	}
	s.WaitFor("all of the weight after the drain", func() bool { return weight() == 100 })
	// All busy is one percent: 0 would take the last server out.
	s.begun(4)
	s.WaitFor("one percent", func() bool { return weight() == 1 })
}

// begun begins n long requests that nobody waits for.
func (s *site) begun(n int) {
	s.Begin(n, "/?ms=3000")
	s.Wait(fmt.Sprintf("%d busy", n), func(r agent.AppReport) bool { return r.Busy == n && r.BusyMax == n })
}

// Where the counts are not known, the weight is left alone.
func TestAgentCheckWithoutCountsSaysNothingOfWeights(t *testing.T) {
	t.Parallel()
	s := bareSite(t, 1, nil)
	check, err := s.Rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s.App.Check = check
	s.StartAgent()
	var answer string
	s.WaitFor("an answer", func() bool {
		c, err := net.Dial("tcp", check)
		if err != nil {
			return false
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		answer = string(b)
		return err == nil
	})
	if answer != "up\n" {
		t.Errorf("the answer is %q, want only up", answer)
	}
}
