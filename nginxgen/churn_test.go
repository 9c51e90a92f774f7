package nginxgen_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// defaultBudget gives a site the budget that a user gets.
func (s *site) defaultBudget() {
	s.opts.MinMembership, s.opts.MinWeights, s.opts.Quiet, s.opts.MaxWait, s.opts.PerMinute, s.opts.OldGenerations = 0, 0, 0, 0, 0, 0
}

// Servers come, go and change their weight thirty times a second: nginx is reloaded three times, which is half of what a
// minute may have.
func TestManyChangesAreFewReloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{servers: 3})
	s.defaultBudget()
	m := s.manager()
	changes, generations := 0, map[string]bool{}
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		changes++
		out, err := m.Apply(t.Context(), time.Now(), s.model(changes%4, 5*(changes%3), changes%7+1))
		if err != nil || out.Result != nginxgen.Applied && out.Result != nginxgen.Deferred && out.Result != nginxgen.Unchanged {
			t.Fatalf("%+v %v", out, err)
		}
		generations[strings.Join(s.workers(), " ")] = true
	}
	reloads := s.metric("tidegate_nginx_generation")
	t.Logf("%d changes, %v reloads, %d sets of workers seen", changes, reloads, len(generations))
	if reloads < 1 || reloads > 3 || changes < 30 {
		t.Fatalf("%d changes made %v reloads", changes, reloads)
	}
}

// Old workers that cannot end, because their clients are slow, are counted by generation, and hold changes of weights.
func TestOldGenerationsHoldWeights(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{servers: 2})
	s.opts.OldGenerations = 0 // the default, 3
	m := s.manager()
	var slow []net.Conn
	defer func() {
		for _, c := range slow {
			c.Close()
		}
	}()
	var out nginxgen.Outcome
	// Generations are told apart by a tenth of a second, which nginx's start does not have before the first reload.
	time.Sleep(200 * time.Millisecond)
	for i := range 4 {
		// A request whose header never ends keeps the worker that took the connection.
		for range 4 {
			c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/"))
			s.must(err)
			slow = append(slow, c)
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: ")
		}
		// So that the workers have taken them before they are told to go.
		s.shares(4)
		now := time.Now().Add(time.Duration(i) * time.Hour)
		out, _ = m.Apply(t.Context(), now, s.model(1, i%2))
		if out.Result != nginxgen.Applied {
			t.Fatalf("%+v", out)
		}
		s.must(harness.WaitFor(fmt.Sprint(i+1, " old generations"), time.Minute, func() bool {
			out, _ = m.Apply(t.Context(), now, s.model(1, i%2))
			// On a busy machine the workers of one may start so far apart that they count as two.
			return out.OldGenerations > i
		}))
	}
	later := time.Now().Add(100 * time.Hour)
	out, _ = m.Apply(t.Context(), later, s.model(1, 2))
	if out.Held != nginxgen.HoldGenerations || s.metric("tidegate_nginx_old_generations") < 4 {
		t.Fatalf("%+v, %v old generations", out, s.metric("tidegate_nginx_old_generations"))
	}
	for _, c := range slow {
		c.Close()
	}
	s.must(harness.WaitFor("no old generations", time.Minute, func() bool {
		out, _ = m.Apply(t.Context(), later, s.model(1, 2))
		return out.Result == nginxgen.Applied
	}))
}
