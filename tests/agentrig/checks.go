package agentrig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/agent"
)

// Counts checks the number of busy workers while none, some and all of n are busy, and that what is asked beyond them is
// no busy worker. slow is a path that keeps a worker for about a second and a half. n workers must be ready.
func (s *Site) Counts(n int, slow string) {
	s.T.Helper()
	busy := func(want int) {
		s.T.Helper()
		s.Wait(fmt.Sprintf("%d busy", want), func(r agent.AppReport) bool { return r.BusyKnown && r.Busy == want })
	}
	busy(0)
	for _, some := range []int{1, n} {
		end := s.Begin(some, slow)
		busy(some)
		end()
		busy(0)
	}
	most := 0
	end := s.Begin(n+2, slow)
	s.Wait("two more requests than workers to be worked off", func(r agent.AppReport) bool {
		most = max(most, r.Busy)
		return most > 0 && r.Busy == 0
	})
	end()
	if most != n {
		s.T.Errorf("with %d requests at %d workers at most %d were busy, want %d", n+2, n, most, n)
	}
}

// Times is how often a slow server goes up and down: few times, or as often as $TIDEGATE_TEST_CYCLES says (`make test-matrix`
// says 10).
func (s *Site) Times(few int) int {
	s.T.Helper()
	text := os.Getenv("TIDEGATE_TEST_CYCLES")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		s.T.Fatalf("TIDEGATE_TEST_CYCLES is %q, want a number above 0", text)
	}
	return n
}

// Cycles goes from low to high workers and back, so many times, under rate requests a second to path, and checks that each
// count was reached and that every request was answered with 200.
func (s *Site) Cycles(times, low, high, rate int, path string) {
	s.T.Helper()
	end := s.Load(rate, path)
	begin := time.Now()
	for range times {
		s.Target(high)
		s.Settled(high)
		s.Target(low)
		s.Settled(low)
	}
	sent, failed := end()
	if len(failed) != 0 {
		s.T.Errorf("of %d requests these did not answer 200 (by status, 0 is no answer): %v", sent, failed)
	}
	s.T.Logf("%d times from %d to %d workers and back in %v under load: %d requests, %d failed", times, low, high,
		time.Since(begin).Round(100*time.Millisecond), sent, len(failed))
}

// Marks checks that request marks in dir are right after what goes wrong in an application: exceptions (/boom), a process that
// is asked to end in a request (/exit; skipped where exit is false), and kill -9 of a process with a request in progress. n
// workers must be ready and come back; slow is a path that keeps a worker for a while.
func (s *Site) Marks(dir string, n int, slow string, exit bool) {
	s.T.Helper()
	idle := func(what string) {
		s.T.Helper()
		s.Wait("0 busy "+what, func(r agent.AppReport) bool { return r.BusyKnown && r.Busy == 0 })
		s.WaitFor("no mark of a request "+what, func() bool { return len(s.requests(dir)) == 0 })
	}
	for range 5 {
		if code := s.Post("/boom"); code != 500 {
			s.T.Errorf("/boom answers %d", code)
		}
	}
	idle("after exceptions")
	if exit {
		s.Post("/exit")
		idle("after an exit")
		s.Settled(n)
	}
	s.Begin(1, slow)
	s.Wait("1 busy", func(r agent.AppReport) bool { return r.Known && r.Busy == 1 })
	names := s.requests(dir)
	var pid int
	if len(names) != 1 {
		s.T.Fatalf("with one request the marks are %v", names)
	}
	if _, err := fmt.Sscanf(names[0], "b.%d.", &pid); err != nil || pid < 2 {
		s.T.Fatalf("the mark %s: %v", names[0], err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.T.Fatal(err)
	}
	idle("after the kill")
	s.Settled(n)
	if code := s.Post("/"); code != 200 {
		s.T.Errorf("after the kill: %d", code)
	}
}

// requests lists the marks of requests in dir.
func (s *Site) requests(dir string) []string {
	s.T.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		s.T.Fatal(err)
	}
	var names []string
	for _, e := range es {
		if strings.HasPrefix(e.Name(), "b.") {
			names = append(names, e.Name())
		}
	}
	return names
}
