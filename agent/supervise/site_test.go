package supervise_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
)

func TestCountsAndCycles(t *testing.T) {
	s := newSite(t)
	s.start()
	s.Target(3)
	s.Settled(3)
	s.Counts(3, "/?ms=1500")
	s.Cycles(12, 1, 2, 100, "/?ms=5")
}

// The agent is killed and started again under load: nothing happens to a request, a worker or the count.
func TestKilledAgent(t *testing.T) {
	s := newSite(t)
	first := s.startProcess("agent1")
	s.Target(3)
	s.Settled(3)
	before, holder := s.pids(), s.saved().Holder.PID
	end := s.Load(100, "/?ms=5")
	first.Kill()
	time.Sleep(time.Second) // the workers go on without an agent
	second := s.startProcess("agent2")
	r := s.Settled(3)
	if r.Ordered || !same(before, s.pids()) || s.saved().Holder.PID != holder {
		t.Errorf("after the restart: %+v, workers %v and holder %d, before %v and %d", r, s.pids(), s.saved().Holder.PID, before, holder)
	}
	// A worker that the first agent started ends: the second one sees it although it is not its child, and without an order
	// starts another one.
	s.kill(before[1], syscall.SIGTERM)
	s.WaitFor("another worker 1", func() bool { p := s.pids(); return p[1] != 0 && p[1] != before[1] })
	s.Settled(3)
	s.Target(2)
	s.Settled(2)
	// Agent and holder at once: the listener comes out of a living worker.
	s.kill(holder, syscall.SIGKILL)
	second.Kill()
	s.kill(s.pids()[2], syscall.SIGTERM) // what ends while nobody looks is replaced
	third := s.startProcess("agent3")
	s.Settled(2)
	s.Target(3)
	s.Settled(3)
	sent, failed := end()
	if len(failed) != 0 {
		t.Errorf("of %d requests these failed: %v", sent, failed)
	}
	t.Logf("%d requests over two kills, %d failed", sent, len(failed))

	// No worker and no agent: a request waits for the next agent.
	s.Target(0)
	s.Settled(0)
	third.Kill()
	answer := make(chan int, 1)
	go func() { answer <- s.Post("/") }()
	time.Sleep(300 * time.Millisecond)
	s.startProcess("agent4")
	if code := <-answer; code != 200 {
		t.Errorf("the request that waited for an agent got %d", code)
	}
}

func same(a, b map[int]int) bool {
	for n, pid := range a {
		if b[n] != pid {
			return false
		}
	}
	return len(a) == len(b)
}

func TestZeroAndWake(t *testing.T) {
	s := newSite(t)
	s.spec.Options.IdleZero = 1500 * time.Millisecond
	s.start()
	s.Settled(0) // without an order: as many as Min says
	woken := func() {
		t.Helper()
		begin := time.Now()
		answer := make(chan int, 1)
		go func() { answer <- s.Post("/?ms=1000") }()
		s.Wait("one busy worker", func(r agent.AppReport) bool { return r.Total == 1 && r.BusyMax == 1 && r.Target == 0 })
		if code := <-answer; code != 200 {
			t.Fatalf("the first request got %d", code)
		}
		t.Logf("a request of 1 s was answered %v after it came, from no worker", time.Since(begin).Round(time.Millisecond))
		s.Settled(0)
	}
	woken()
	woken()
	s.Target(2)
	s.Settled(2)
	s.Target(0)
	s.Settled(0)
	woken()
	if m := s.metrics(); !strings.Contains(m, `tidegate_agent_worker_wakes_total{app="shop"} 3`) ||
		!strings.Contains(m, `tidegate_agent_worker_exits_total{app="shop"} 0`) {
		t.Errorf("metrics: %s", m)
	}
	for n, line := range map[int]string{1: "worker 1 umask 0027 in /\n", 2: "worker 2 umask 0027 in /\n"} {
		if log := s.log(n); !strings.Contains(log, line) {
			t.Errorf("the log of worker %d is %q", n, log)
		}
	}
}

func TestTheQueueIsTold(t *testing.T) {
	s := newSite(t)
	s.start()
	s.Target(1)
	s.Settled(1)
	end := s.Begin(3, "/?ms=1000")
	s.Wait("one busy and two waiting", func(r agent.AppReport) bool {
		return r.QueueKnown && r.Busy == 1 && r.Queued == 2 && r.QueueLimit > 0
	})
	end()
	s.Wait("nobody waiting", func(r agent.AppReport) bool { return r.QueueKnown && r.Busy == 0 && r.Queued == 0 })
}
