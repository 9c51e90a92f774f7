package haproxyconf_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/tests/harness"
)

// A walk through everything that can become of a request. What the agent has seen is compared with what the client got
// and with HAProxy's own log.
func TestSamplesAndCountersMatchClientAndLog(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		one, two := newOrigin(t), newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{
			"app":   {"    server s1 " + one.addr + "\n    server s:2 " + two.addr + "\n", []string{"s1", "s:2"}},
			"maint": {"    server s1 " + one.addr + " disabled\n", []string{"s1"}},
			"queue": {"    server s1 " + one.addr + " maxconn 1\n", []string{"s1"}},
			"slow":  {"    timeout server 200ms\n    server s1 " + one.addr + "\n", []string{"s1"}},
			// Nothing listens on port 1: the first choice is refused, the other server gets the request.
			"moved": {"    option redispatch 1\n    retries 2\n    balance first\n    server bad 127.0.0.1:1 id 1\n    server good " + two.addr + " id 2\n", []string{"bad", "good"}},
		})
		type want struct{ started, noresp, completions, errors uint64 }
		wants := map[string]want{}
		expect := func(path string, status int) {
			t.Helper()
			if got := s.get(path); got != status {
				t.Errorf("POST %s: status %d, want %d", path, got, status)
			}
			name, _, _ := strings.Cut(path[1:], "/")
			w := wants[name]
			w.started++
			switch {
			case status == 503 || status == 504:
				w.noresp++
			case status >= 500:
				w.errors++
				fallthrough
			default:
				w.completions++
			}
			wants[name] = w
		}
		for _, ms := range []int{0, 0, 5, 30, 120} {
			expect(fmt.Sprintf("/app/x?ms=%d", ms), 200)
		}
		expect("/app/x?code=500&ms=3", 500)
		expect("/app/x?code=404", 404)
		expect("/maint/x", 503)
		expect("/maint/x", 503)
		expect("/slow/x?ms=600", 504)
		expect("/slow/x", 200)
		expect("/moved/x?ms=10", 200)

		// One request holds the only slot; the second waits and is served, the third waits too long.
		var mu sync.Mutex
		var all sync.WaitGroup
		parallel := func(path string, status int) {
			all.Go(func() {
				got := s.get(path)
				mu.Lock()
				defer mu.Unlock()
				if got != status {
					t.Errorf("POST %s: status %d, want %d", path, got, status)
				}
			})
		}
		parallel("/queue/x?ms=150", 200)
		s.wait(t, "the slot to be taken", func() bool { return s.report("queue").InFlight == 1 || s.lines("queue") > 0 })
		parallel("/queue/x?ms=1000", 200)
		s.wait(t, "the second request to be in flight", func() bool { return s.report("queue").Started >= 2 })
		parallel("/queue/x", 503)
		all.Wait()
		wants["queue"] = want{started: 3, noresp: 1, completions: 2}

		total := uint64(0)
		for name, w := range wants {
			total += w.started
			s.wait(t, fmt.Sprintf("the counters of %s to say %+v", name, w), func() bool {
				r := s.report(name)
				return r.Started == w.started && r.Finished == w.started && r.NoResponse == w.noresp &&
					r.Completions == w.completions && r.Errors == w.errors && r.InFlight == 0 && r.Queued == 0
			})
		}
		s.wait(t, "a log line of each request", func() bool { return uint64(len(s.log.lines())) == total })
		s.compareWithLog(t)
		if up := s.report("app").Up; up != 2 {
			t.Errorf("%d servers of app are up, want 2", up)
		}
		if st := s.agent.Stats(); len(st.Malformed) != 0 {
			t.Errorf("malformed input from a real HAProxy: %v", st.Malformed)
		}
	})
}

func (s *site) lines(backend string) (n int) {
	for _, l := range s.log.lines() {
		if l["be"] == backend {
			n++
		}
	}
	return n
}

// compareWithLog finds the sample of every log line whose request a server answered, and compares the two.
func (s *site) compareWithLog(t *testing.T) {
	t.Helper()
	var queued, moved, fine bool
	var compared, off int
	for _, l := range s.log.lines() {
		if l["err"] != "-" {
			t.Errorf("an exchange failed: %v", l)
		}
		if l["Tr"] == "-1" {
			if l["id"] != "-" {
				t.Errorf("a sample of a request that no server answered: %v", l)
			}
			continue
		}
		sample, ok := s.rec.sample(l["id"])
		if !ok {
			t.Errorf("no sample for the log line %v", l)
			continue
		}
		if sample.Backend != l["be"] || sample.Server != l["srv"] || fmt.Sprint(sample.Status) != l["st"] {
			t.Errorf("the sample says backend %s, server %s, status %d; the log %v", sample.Backend, sample.Server, sample.Status, l)
		}
		for name, times := range map[string][2]time.Duration{
			"queue":    {sample.Queue, l.ms(t, "Tw")},
			"connect":  {sample.Connect, l.ms(t, "Tc")},
			"response": {sample.Response, l.ms(t, "Tr")},
		} {
			// The log's are whole milliseconds. HAProxy reads its clock once per turn of its loop, so that on a busy machine
			// a stamp may be a turn late: nearly all must agree to 1 ms, and all to 3 ms.
			diff := times[0] - times[1]
			compared++
			if diff <= -time.Millisecond || diff >= 2*time.Millisecond {
				off++
			}
			if diff.Abs() > 3*time.Millisecond || times[0] < 0 {
				t.Errorf("%s: %v in the sample, %v in the log %v", name, times[0], times[1], l)
			}
		}
		redispatched := strings.HasPrefix(l["rc"], "+")
		if sample.Redispatched != redispatched || fmt.Sprint(sample.Retries) != strings.TrimPrefix(l["rc"], "+") {
			t.Errorf("retries %d, redispatched %v in the sample; the log %v", sample.Retries, sample.Redispatched, l)
		}
		queued = queued || sample.Queue > 20*time.Millisecond
		moved = moved || redispatched
		fine = fine || sample.Response%time.Millisecond != 0
	}
	if off*10 > compared {
		t.Errorf("%d of %d times differ from the log by more than 1 ms", off, compared)
	}
	if !fine {
		t.Error("no response time has microseconds")
	}
	if !queued || !moved {
		t.Errorf("the walk had a queued request: %v, and a redispatched one: %v; want both", queued, moved)
	}
}

// With every client hanging there is no answer and no arrival, only the heartbeat.
func TestHeartbeatsGoOnWhileAllClientsHang(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{
			"app": {"    timeout server 10s\n    timeout queue 10s\n    server s1 " + o.addr + " maxconn 3\n", []string{"s1"}},
		})
		var clients sync.WaitGroup
		for range 5 {
			clients.Go(func() { s.get("/app/hang") })
		}
		s.wait(t, "five in flight, two of them queued, told by heartbeats", func() bool {
			r := s.report("app")
			return r.InFlight == 5 && r.Queued == 2 && r.Started == 5 && r.Finished == 0 && len(r.Servers) == 1 && r.Servers[0].InFlight == 3
		})
		before := s.rec.heartbeats()
		s.wait(t, "further heartbeats", func() bool { return s.rec.heartbeats() >= before+3 })
		if r := s.report("app"); time.Since(r.LastHeartbeat) > 5*time.Second || r.Completions != 0 || r.Boot == "" {
			t.Errorf("while all hang: %+v", r)
		}
		o.release()
		clients.Wait()
		s.wait(t, "all to be finished", func() bool {
			r := s.report("app")
			return r.InFlight == 0 && r.Finished == 5 && r.Completions == 5 && r.NoResponse == 0
		})
	})
}

// More backends than one frame holds, one with more servers than one message names, and the longest names.
func TestHeartbeatsOfManyBackends(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		backends := map[string]backendText{}
		add := func(name string, servers int) {
			b := backendText{}
			for i := range servers {
				server := fmt.Sprintf("web-%d.%s", i, strings.Repeat("s", 50))
				b.servers = append(b.servers, server)
				b.body += "    server " + server + " 127.0.0.1:1 disabled\n"
			}
			backends[name] = b
		}
		for i := range 40 {
			add(fmt.Sprintf("%s%02d", strings.Repeat("b", 62), i), 3)
		}
		add("large", 125)
		add("none", 0)
		s := newSite(t, binary, variant, backends)
		// Two names that share all but their last bytes must have counters of their own.
		for range 3 {
			if got := s.get("/" + strings.Repeat("b", 62) + "07/x"); got != 503 {
				t.Errorf("status %d, want 503", got)
			}
		}
		s.wait(t, "all backends and servers", func() bool {
			servers, started := 0, uint64(0)
			reports := s.rec.Take(time.Now())
			for _, r := range reports {
				servers += len(r.Servers)
				started += r.Started
				if r.Up != 0 || r.InFlight != 0 || !r.Counted {
					return false
				}
			}
			return len(reports) == 42 && servers == 40*3+125 && started == 3
		})
		if r := s.report(strings.Repeat("b", 62) + "07"); r.Started != 3 || r.NoResponse != 3 {
			t.Errorf("the counters of the backend asked: %+v", r)
		}
		if st := s.agent.Stats(); len(st.Malformed) != 0 {
			t.Errorf("malformed input from a real HAProxy: %v", st.Malformed)
		}
	})
}

// A reload starts a process whose counters begin at 0; the totals must not.
func TestReloadKeepsTotalsMonotone(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{
			"app": {"    server s1 " + o.addr + "\n", []string{"s1"}},
		})
		send := func(n int) {
			for range n {
				if got := s.get("/app/x"); got != 200 {
					t.Errorf("status %d, want 200", got)
				}
			}
		}
		send(7)
		s.wait(t, "seven", func() bool { return s.report("app").Finished == 7 })
		boot := s.report("app").Boot
		for round := range 2 {
			// A request that is in the old process when it is told to go.
			var slow sync.WaitGroup
			slow.Go(func() {
				if got := s.get("/app/x?ms=700"); got != 200 {
					t.Errorf("a request over the reload: status %d, want 200", got)
				}
			})
			s.wait(t, "the slow request to be in flight", func() bool { return s.report("app").InFlight == 1 })
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
			last := s.report("app")
			s.wait(t, "a heartbeat of the new process", func() bool {
				r := s.report("app")
				if r.Started < last.Started || r.Finished < last.Finished || r.NoResponse < last.NoResponse || r.Rate > 10 {
					t.Errorf("went back or jumped: %+v after %+v", r, last)
				}
				last = r
				return r.Boot != boot
			})
			boot = last.Boot
			send(5)
			slow.Wait()
			want, slowOnes := uint64(7+6*(round+1)), uint64(round+1)
			// What the old process finishes after its last heartbeat is told by the sample alone, which is sent before the
			// request has left; and 2.6 takes the agent for down in a process that is going. So the one slow request of each
			// round may stay unfinished and untold.
			s.wait(t, fmt.Sprintf("%d started", want), func() bool {
				r := s.report("app")
				return r.Started == want && r.Finished >= want-slowOnes && r.Completions >= want-slowOnes
			})
		}
		s.rec.mu.Lock()
		boots := slices.Sorted(maps.Keys(s.rec.boots))
		s.rec.mu.Unlock()
		if len(boots) != 3 {
			t.Errorf("boot ids %v, want three", boots)
		}
	})
}

// No request may fail because of the agent, however it goes, nor wait for more than the processing time-out.
func TestRequestsSucceedWhileTheAgentComesAndGoes(t *testing.T) {
	each(t, func(t *testing.T, binary, variant string) {
		o := newOrigin(t)
		s := newSite(t, binary, variant, map[string]backendText{
			"app": {"    server s1 " + o.addr + "\n", []string{"s1"}},
		})
		l := s.load("/app/x", 5*time.Millisecond)
		l.more(t, 100)

		s.agent.stop()
		l.more(t, 300)
		// A process of its own, for a real kill -9.
		killed, err := s.rig.Start("agent", []string{agentEnv + "=" + s.addr}, os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := harness.WaitListening(s.addr, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		l.more(t, 300)
		killed.Kill()
		l.more(t, 300)
		s.agent = startAgent(t, s.addr, s.rec)
		from := s.report("app").Completions
		s.wait(t, "samples again", func() bool { return s.report("app").Completions > from+50 })
		l.stop()

		if l.statuses[200] != l.sent() {
			t.Errorf("statuses %v, want nothing but 200", l.statuses)
		}
		total := uint64(l.sent())
		s.wait(t, "the counters to have seen every request, agent or not", func() bool {
			r := s.report("app")
			return r.Started == total && r.Finished == total && r.NoResponse == 0
		})
		if r := s.report("app"); r.Completions >= total {
			t.Errorf("%d samples of %d requests: the agent was not away", r.Completions, total)
		}
		// Stuck requests wait for `timeout server` (2 s) or for the agent's return. A few may be slow on a busy machine.
		slices.Sort(l.times)
		if p99 := l.times[len(l.times)*99/100]; p99 > 500*time.Millisecond {
			t.Errorf("p99 of the requests is %v: some waited for the agent", p99)
		}
		info, err := s.Command("show info")
		if err != nil {
			t.Fatal(err)
		}
		var conns uint64
		for line := range strings.Lines(info) {
			_, _ = fmt.Sscanf(line, "CumConns: %d", &conns)
		}
		if conns == 0 || conns > 5*total+1000 {
			t.Errorf("HAProxy made or took %d connections for %d requests: it was spinning", conns, total)
		}
		t.Logf("%d requests, p50 %v, slowest %v, %d connections", total, l.times[len(l.times)/2], l.times[len(l.times)-1], conns)
	})
}
