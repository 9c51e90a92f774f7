package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What HAProxy tells of each request in this part: the stamp at the end of the first is the time of the answer's headers, the
// second that of the line. Between the two, there is the exchange (and a body of three bytes). HAProxy's own timers have
// milliseconds.
const (
	logGlobal   = "    log stdout format raw local0\n"
	logFrontend = "    log global\n" + `    log-format "T %[var(txn.tidegate_w)] %[date(0,us)] %[var(txn.tidegate.err)]"` + "\n"
)

// crowdedSlots is how many times as long as others turns are here: at 200 requests a second, ends of a distribution take a while.
const crowdedSlots = 3

var crowdedRates = []int{200, 1000}

// runCrowded compares the agent's scheduling policies beside processes that want all processors for themselves: what a
// request waits for the agent, and how often for as long as HAProxy lets it.
func runCrowded(rep *report, o options, dir string) error {
	e := &e2e{report: rep, opts: o, dir: dir, scenarios: map[string]*scenario{}, logged: true}
	defer e.close()
	names := []string{none, ours, normal}
	what, err := e.start(names...)
	if err != nil {
		return fmt.Errorf("crowded: %w", err)
	}
	e.printf("\n== Through HAProxy (%s)\n", what)
	for _, n := range o.beside {
		if err := e.crowded(names, n); err != nil {
			return fmt.Errorf("crowded, %d busy loops: %w", n, err)
		}
	}
	return nil
}

func (e *e2e) crowded(names []string, loops int) error {
	for range loops {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: e.opts.sessions}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	for _, rate := range crowdedRates {
		e.printf("  open loop, %d requests/s, %d busy loops beside\n", rate, loops)
		if err := e.crowdedAt(names, loops, rate); err != nil {
			return err
		}
	}
	return nil
}

func (e *e2e) crowdedAt(names []string, loops, rate int) error {
	m := crowdFigures{series{}, series{}, series{}, series{}, series{}, series{}, map[string][2]int{}}
	err := rounds(e.opts.e2eRounds, names, func(name string) error { return m.turn(e, e.scenarios[name], rate) })
	if err != nil {
		return err
	}
	e.table(names, []string{"exchange p50 us", "p99 us", "max us", "request p50 us", "p99 us", "seen by the agent"},
		[]series{m.p50, m.p99, m.most, m.request50, m.request99, m.seen})
	e.printf("  ours beside ours-normal, by round: exchange p50 %s, p99 %s; request p50 %s, p99 %s; timed out %d of %d and %d of %d\n",
		spread(m.p50.ratios(ours, normal)), spread(m.p99.ratios(ours, normal)),
		spread(m.request50.ratios(ours, normal)), spread(m.request99.ratios(ours, normal)),
		m.late[ours][0], m.late[ours][1], m.late[normal][0], m.late[normal][1])
	bench := fmt.Sprintf("crowded/loops=%d/rate=%d/", loops, rate)
	e.line(m.p50.conclude(bench+"exchange-p50", "us"))
	e.line(m.p99.conclude(bench+"exchange-p99", "us"))
	e.line(m.request99.conclude(bench+"request-p99", "us"))
	return nil
}

// crowdFigures are microseconds, and how many exchanges came to nothing of how many in all rounds.
type crowdFigures struct {
	p50, p99, most, request50, request99, seen series
	late                                       map[string][2]int
}

func (m *crowdFigures) turn(e *e2e, s *scenario, rate int) error {
	log := filepath.Join(e.dir, s.name+".log")
	from, err := os.Stat(log)
	if err != nil {
		return err
	}
	t, err := s.turn(httpRun{Conns: 8, Rate: rate, Warm: e2eWarm, Long: crowdedSlots * e.opts.e2eSlot})
	if err != nil {
		return err
	}
	m.request50.add(s.name, t.P50)
	m.request99.add(s.name, t.P99)
	if s.agent == nil {
		return nil
	}
	took, errs, err := exchanges(log, from.Size(), t.Total)
	if err != nil {
		return err
	}
	m.p50.add(s.name, took[len(took)/2])
	m.p99.add(s.name, took[len(took)*99/100])
	m.most.add(s.name, took[len(took)-1])
	m.seen.add(s.name, t.seen)
	m.late[s.name] = [2]int{m.late[s.name][0] + errs, m.late[s.name][1] + len(took)}
	return nil
}

// exchanges reads what HAProxy has written about n requests to its log from a place on: what the exchange of each took in
// microseconds, sorted, and how many came to nothing (txn.tidegate.err). A request is logged when its answer has gone out, so
// the last lines may be late.
func exchanges(log string, from int64, n int) (took []float64, errs int, err error) {
	for range 100 {
		text, err := os.ReadFile(log)
		if err != nil {
			return nil, 0, err
		}
		if took, errs, err = parseExchanges(string(text[from:])); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", log, err)
		}
		if len(took) >= n {
			return took, errs, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, 0, fmt.Errorf("%s has lines of %d requests, not of %d", log, len(took), n)
}

// parseExchanges reads lines of logFrontend and passes over others.
func parseExchanges(text string) (took []float64, errs int, err error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "T" {
			continue
		}
		answered, err1 := strconv.ParseInt(f[1][strings.LastIndex(f[1], "/")+1:], 10, 64)
		logged, err2 := strconv.ParseInt(f[2], 10, 64)
		if err := firstOf(err1, err2); err != nil {
			return nil, 0, err
		}
		took = append(took, float64(logged-answered))
		if f[3] != "-" {
			errs++
		}
	}
	slices.Sort(took)
	return took, errs, nil
}
