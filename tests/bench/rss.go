package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"time"
)

const (
	rssBackends = 1000
	rssServers  = 50
	rssConns    = 200
)

// runRSS measures the memory of our agent when many backends and servers have been seen: first by heartbeats alone, then
// with one answer from every server.
func runRSS(rep *report, _ options, dir string) error {
	a, err := startAgent(ours, "unix:"+filepath.Join(dir, "rss.sock"))
	if err != nil {
		return err
	}
	defer a.stop()
	conns := make([]net.Conn, rssConns)
	for i := range conns {
		if conns[i], err = dial(a.addr); err != nil {
			return err
		}
		defer conns[i].Close()
	}
	rep.printf("\n== Memory of ours: %s backends with %d servers each, %d connections\n", thousands(rssBackends), rssServers, rssConns)
	names := make([]string, rssServers)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	if _, _, err := rep.memory(a, "idle, connected"); err != nil {
		return err
	}
	for b := range rssBackends {
		if err := exchange(conns[rng.IntN(rssConns)], heartbeatFrame(fmt.Sprintf("shop-%d", b), names)); err != nil {
			return err
		}
	}
	if _, _, err := rep.memory(a, "after a heartbeat of each backend"); err != nil {
		return err
	}
	for i, n := range names {
		for b := range rssBackends {
			payload, _ := putDone(nil, done{
				backend: fmt.Sprintf("shop-%d", b), server: n, connect: 300, response: 2000 + rng.Uint64N(100_000), started: 1001 + uint64(i),
			})
			if err := exchange(conns[rng.IntN(rssConns)], putFrame(nil, kindNotify, 1, 1, payload)); err != nil {
				return err
			}
		}
	}
	rss, seen, err := rep.memory(a, "after an answer of each server")
	if err != nil {
		return err
	}
	rep.line(series{ours: {rss}}.conclude("spoa/rss", "MiB"))
	text := fmt.Sprintf("RSS < 40 MB (38.1 MiB) with %s backends x %d servers seen", thousands(rssBackends), rssServers)
	if seen != rssBackends*rssServers {
		text += fmt.Sprintf(" (only %s servers seen)", thousands(int64(seen)))
	}
	rep.goal(text, []float64{rss}, 40e6/(1<<20), true)
	if seen != rssBackends*rssServers {
		rep.goals[len(rep.goals)-1].met = false
	}
	return nil
}

// memory waits for the agent's next reports and prints what it holds.
func (r *report) memory(a *agentProc, when string) (rss float64, servers int, err error) {
	time.Sleep(2500 * time.Millisecond)
	u, err := a.usage()
	if err != nil {
		return 0, 0, err
	}
	if rss, err = statusMiB(a.cmd.Process.Pid, "VmRSS"); err != nil {
		return 0, 0, err
	}
	r.printf("  %-36s RSS %s MiB, heap in use %s MiB; reported: %s backends, %s servers\n",
		when, short(rss), short(u.HeapMiB), thousands(int64(u.Backends)), thousands(int64(u.Servers)))
	return rss, u.Servers, nil
}

// exchange sends one frame and waits for its ACK.
func exchange(nc net.Conn, frame []byte) error {
	if _, err := nc.Write(frame); err != nil {
		return err
	}
	var b [512]byte
	for have := 0; ; {
		n, err := nc.Read(b[have:])
		if err != nil {
			return fmt.Errorf("read an ACK: %w", err)
		}
		have += n
		if acks, _, err := countAcks(b[:have]); err != nil || acks == 1 {
			return err
		}
	}
}
