package main

import (
	"fmt"
	"time"
)

const (
	openRate = 1000
	// sitting is how many rounds the same processes take. Two HAProxys with the same files differ, by how they happen to lie in
	// memory, so there are new ones now and then.
	sitting = 5
)

// closedLoops are the numbers of connections of the closed loops. With the fewer ones each process waits for another now and then; more
// keep both processors busy.
var closedLoops = []int{32, 128}

// turn makes one run of load on a scenario and tells what it cost.
type turn struct {
	httpResult
	// Microseconds per request; allCPU is that of HAProxy, the agent, the server and the load together.
	proxyCPU, agentCPU, allCPU float64
	seen                       float64 // share of the requests the agent was told of
	idle                       float64 // share of the processors' time
}

func (s *scenario) turn(r httpRun) (t turn, err error) {
	r.Addr = s.front
	var a0, a1 usage
	if s.agent != nil {
		if a0, err = s.agent.usage(); err != nil {
			return t, err
		}
	}
	c0, err := cpuOf(s.pid)
	if err != nil {
		return t, err
	}
	b0, err := cpuOf(s.server)
	if err != nil {
		return t, err
	}
	before := ticks()
	if t.httpResult, err = load(r); err != nil {
		return t, fmt.Errorf("%s: %w", s.name, err)
	}
	t.idle = ticks().idleSince(before)
	c1, err := cpuOf(s.pid)
	if err != nil {
		return t, err
	}
	b1, err := cpuOf(s.server)
	if err != nil {
		return t, err
	}
	n := float64(t.Total)
	t.proxyCPU = micros(c1-c0) / n
	t.allCPU = (micros(c1-c0) + micros(b1-b0) + t.CPU) / n
	if s.agent != nil {
		if a1, err = s.agent.usage(); err != nil {
			return t, err
		}
		t.agentCPU = micros(a1.CPU-a0.CPU) / n
		t.allCPU += t.agentCPU
		// An agent may count a portion only after it has acknowledged it.
		for range 20 {
			if float64(a1.Done-a0.Done) >= n {
				break
			}
			time.Sleep(5 * time.Millisecond)
			if a1, err = s.agent.usage(); err != nil {
				return t, err
			}
		}
		t.seen = float64(a1.Done-a0.Done) / n
	}
	return t, nil
}

// measured are the figures of one kind of load, by scenario.
type measured struct {
	names                                         []string
	run                                           httpRun
	rate, p50, p99, proxy, agent, all, seen, idle series
}

func newMeasured(run httpRun, names ...string) *measured {
	run.Warm = e2eWarm
	return &measured{names, run, series{}, series{}, series{}, series{}, series{}, series{}, series{}, series{}}
}

func (m *measured) rounds(e *e2e, n int) error {
	m.run.Long = e.opts.e2eSlot
	return rounds(n, m.names, func(name string) error {
		t, err := e.scenarios[name].turn(m.run)
		m.rate.add(name, t.PerSecond)
		m.p50.add(name, t.P50)
		m.p99.add(name, t.P99)
		m.proxy.add(name, t.proxyCPU)
		m.all.add(name, t.allCPU)
		m.idle.add(name, t.idle)
		if name != none {
			m.agent.add(name, t.agentCPU)
			m.seen.add(name, t.seen)
		}
		return err
	})
}

// compare puts every load on every scenario. In the open loop there is little to do, and the kernel knows best where.
func (e *e2e) compare(seats *seats) error {
	var closed []*measured
	for _, conns := range closedLoops {
		closed = append(closed, newMeasured(httpRun{Conns: conns}, none, peer, ours, normal, limit, sampled))
	}
	open := newMeasured(httpRun{Conns: 8, Rate: openRate}, none, peer, ours, normal, limit)
	e.seats = seats
	err := seats.take()
	what := ""
	if err == nil {
		what, err = e.sittings(closed...)
	}
	if err = firstOf(err, seats.leave()); err != nil {
		return err
	}
	e.printf("\n== Through HAProxy (%s)\n", what)
	for _, m := range closed {
		e.saturated(m)
	}
	e.seats = nil
	if _, err := e.sittings(open); err != nil {
		return err
	}
	e.open(open)
	return nil
}

// sittings puts the loads, which are of the same scenarios, on all of these, some rounds with the same processes, then with new ones.
func (e *e2e) sittings(loads ...*measured) (what string, err error) {
	for left := e.opts.e2eRounds; left > 0; left -= sitting {
		if what, err = e.start(loads[0].names...); err != nil {
			return "", err
		}
		for _, m := range loads {
			if err := m.rounds(e, min(left, sitting)); err != nil {
				return "", err
			}
		}
		e.close()
	}
	return what, nil
}

func (e *e2e) saturated(m *measured) {
	e.printf("  closed loop, %d connections, %s\n", m.run.Conns, e.seats.told("HAProxy", "all else"))
	relative, share := series{}, series{}
	for _, n := range m.names {
		relative[n] = m.rate.ratios(n, none)
		for i, all := range m.all[n] {
			share[n] = append(share[n], m.all[none][i]/all)
		}
	}
	e.table(m.names, []string{"requests/s", "of none", "none's CPU of its own", "idle", "p50 us", "HAProxy CPU us/request", "agent CPU us/request", "seen by the agent"},
		[]series{m.rate, relative, share, m.idle, m.p50, m.proxy, m.agent, m.seen})
	bench := fmt.Sprintf("e2e/saturated/conns=%d", m.run.Conns)
	e.line(series{none: m.rate[none], ours: m.rate[ours], peer: m.rate[peer], limit: m.rate[limit]}.conclude(bench, "requests/s"))
	e.line(series{none: m.rate[none], ours: m.rate[sampled]}.conclude(bench+"/sampling=10%", "requests/s"))
	e.printf("  ours beside ours-normal, by round: %s x the requests, %s x the processor time of a request\n", spread(m.rate.ratios(ours, normal)), spread(m.all.ratios(ours, normal)))
	e.line(series{ours: m.rate[ours], normal: m.rate[normal]}.conclude(bench+"/batch", "requests/s"))
	e.line(series{ours: m.all[ours], normal: m.all[normal]}.conclude(bench+"/batch/cpu", "us/request"))
	with := fmt.Sprintf(" (connections: %d)", m.run.Conns)
	e.goal("through HAProxy, saturated: >= 0.75 of no filter"+with, relative[ours], 0.75, false)
	e.goal("the same with 10 % sampling: >= 0.85"+with, relative[sampled], 0.85, false)
}

func (e *e2e) open(m *measured) {
	e.printf("  open loop, %d requests/s\n", openRate)
	added := series{}
	for _, n := range m.names {
		added[n] = m.p50.differences(n, none)
	}
	e.table(m.names, []string{"p50 us", "added p50 us", "p99 us", "HAProxy CPU us/request", "agent CPU us/request", "seen by the agent"},
		[]series{m.p50, added, m.p99, m.proxy, m.agent, m.seen})
	over := added.differences(ours, limit)
	r := series{peer: added[peer], ours: added[ours], limit: added[limit]}.conclude("e2e/open/added-p50", "us")
	r.OverLimit = figure(median(over))
	e.line(r)
	e.goal("at 1,000 requests/s: added p50 at most 30 us above echo's", over, 30, true)
}
