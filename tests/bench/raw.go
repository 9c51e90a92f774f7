package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

const (
	window   = 64
	rawWarm  = 150 * time.Millisecond
	idleRest = 20 * time.Millisecond
)

// What frames are sent by.
const (
	loops      = "loops"
	goroutines = "goroutines"
)

var connCounts = []int{1, 8, 40}

// raw compares the agents by frames of our own making.
type raw struct {
	*report
	opts   options
	dir    string
	seats  *seats
	agents map[string]*agentProc
}

func runRaw(rep *report, o options, dir string) error {
	seats, err := shareOut(o.free, runtime.NumCPU()/2)
	if err != nil {
		return err
	}
	for _, transport := range o.transports {
		r := raw{report: rep, opts: o, dir: dir, seats: seats, agents: map[string]*agentProc{}}
		if err := r.compare(transport); err != nil {
			return fmt.Errorf("raw SPOP over %s: %w", transport, err)
		}
	}
	return nil
}

func (r *raw) stop() {
	for _, a := range r.agents {
		a.stop()
	}
	clear(r.agents)
}

// sittings is rounds with new agents now and then.
func (r *raw) sittings(transport string, f func(who string) error) error {
	for left := r.opts.rounds; left > 0; left -= sitting {
		err := r.start(transport)
		if err == nil {
			err = rounds(min(left, sitting), contestants, f)
		}
		r.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *raw) start(transport string) error {
	for _, kind := range contestants {
		addr := "unix:" + filepath.Join(r.dir, kind+"-raw.sock")
		if transport == "tcp" {
			var err error
			if addr, err = freeAddr(); err != nil {
				return err
			}
		}
		a, err := startSeatedAgent(r.seats, kind, addr)
		if err != nil {
			return err
		}
		r.agents[kind] = a
		if err := checkIDs(addr); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (r *raw) compare(transport string) error {
	suffix := ""
	if transport != "unix" {
		suffix = "/" + transport
	}
	err := r.seats.take()
	for _, by := range r.opts.loads {
		for _, conns := range connCounts {
			if err == nil {
				err = r.pipelined(transport, suffix, by, conns)
			}
		}
	}
	if err = firstOf(err, r.seats.leave()); err != nil {
		return err
	}
	// With one frame in flight, only one of the two has something to do at a time: the kernel knows best where.
	r.seats = nil
	return r.roundTrips(transport, suffix)
}

// rounds calls f for every contestant in turn, forwards and backwards.
func rounds(n int, who []string, f func(who string) error) error {
	order := slices.Clone(who)
	for range n {
		for _, w := range order {
			if err := f(w); err != nil {
				return err
			}
			time.Sleep(idleRest)
		}
		slices.Reverse(order)
	}
	return nil
}

func (r *raw) pipelined(transport, suffix, by string, conns int) error {
	sent, more := rawLoad{conns: conns, window: window, warm: rawWarm, long: r.opts.slot}, ""
	if by == goroutines {
		sent.goroutines, more = true, ", sent by goroutines"
		suffix += "/" + goroutines
	}
	r.printf("\n== SPOP over %s, %d in flight on each of %d connections%s (%s)\n", transport, window, conns, more, r.seats.told("the agent", "the load"))
	speed, cpu, loads, allocs := series{}, series{}, series{}, series{}
	err := r.sittings(transport, func(who string) error {
		s, err := pipelined(r.agents[who], sent)
		speed.add(who, s.perSecond)
		cpu.add(who, s.cpuMicros)
		loads.add(who, s.loadMicros)
		allocs.add(who, s.allocs)
		return err
	})
	if err != nil {
		return err
	}
	r.table(contestants, []string{"frames/s", "agent CPU us/frame", "load CPU us/frame", "allocations/frame"}, []series{speed, cpu, loads, allocs})
	toPeer, toLimit, price := speed.ratios(ours, peer), speed.ratios(ours, limit), cpu.ratios(peer, ours)
	r.printf("  ours is %s x negasus and %s x echo in frames/s; negasus takes %s x our CPU\n", spread(toPeer), spread(toLimit), spread(price))
	r.line(speed.conclude(fmt.Sprintf("spoa/pipelined/conns=%d%s", conns, suffix), "frames/s"))
	r.line(cpu.conclude(fmt.Sprintf("spoa/cpu/conns=%d%s", conns, suffix), "us/frame"))
	free := allocs.conclude(fmt.Sprintf("spoa/allocs/conns=%d%s", conns, suffix), "allocations/frame")
	free.VsPeer, free.VsLimit = 0, 0 // ratios of nothing to nothing
	r.line(free)
	if transport == r.opts.transports[0] {
		with := fmt.Sprintf(" (connections: %d%s)", conns, more)
		r.goal("pipelined frames/s >= 15 x negasus"+with, toPeer, 15, false)
		r.goal("pipelined frames/s >= 0.5 x echo"+with, toLimit, 0.5, false)
		r.goal("CPU per frame <= 1/15 of negasus (>= 15 x)"+with, price, 15, false)
		r.goal("0 allocations per frame (< 0.001)"+with, allocs[ours], 0.001, true)
	}
	return r.profile(transport, sent)
}

// profile gives each contestant one more turn, with a CPU profile.
func (r *raw) profile(transport string, sent rawLoad) error {
	if r.opts.profiles == "" || sent.conns == 40 || sent.goroutines {
		return nil
	}
	sent.long = 3 * time.Second
	defer r.stop()
	if err := r.start(transport); err != nil {
		return err
	}
	for _, who := range contestants {
		a := r.agents[who]
		if _, err := a.ask("profile " + filepath.Join(r.opts.profiles, fmt.Sprintf("%s-%d.pprof", who, sent.conns))); err != nil {
			return err
		}
		if _, err := pipelined(a, sent); err != nil {
			return err
		}
		if _, err := a.ask("stop"); err != nil {
			return err
		}
	}
	return nil
}

func (r *raw) roundTrips(transport, suffix string) error {
	r.printf("\n== SPOP over %s, one frame in flight on one connection\n", transport)
	p50, p99, cpu := series{}, series{}, series{}
	err := r.sittings(transport, func(who string) error {
		s, err := roundTrips(r.agents[who], rawWarm, r.opts.slot)
		p50.add(who, s.p50)
		p99.add(who, s.p99)
		cpu.add(who, s.cpuMicros)
		return err
	})
	if err != nil {
		return err
	}
	r.table(contestants, []string{"p50 us", "p99 us", "agent CPU us/frame"}, []series{p50, p99, cpu})
	r.line(p50.conclude("spoa/roundtrip/p50"+suffix, "us"))
	r.line(p99.conclude("spoa/roundtrip/p99"+suffix, "us"))
	return nil
}
