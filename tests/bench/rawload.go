package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// dial opens a connection and shakes hands.
func dial(addr string) (net.Conn, error) {
	network, a := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, a = "unix", path
	}
	nc, err := net.DialTimeout(network, a, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := nc.Write(helloFrame()); err != nil {
		return nil, fmt.Errorf("send the HELLO: %w", err)
	}
	var b [1024]byte
	for have := 0; ; {
		n, err := nc.Read(b[have:])
		if err != nil {
			return nil, fmt.Errorf("read the AGENT-HELLO: %w", err)
		}
		have += n
		if have > prefixSize && have == prefixSize+int(binary.BigEndian.Uint32(b[:])) {
			break
		}
	}
	if b[prefixSize] != kindAgentHello {
		return nil, fmt.Errorf("the agent answered the HELLO with a frame of type %d", b[prefixSize])
	}
	return nc, nc.SetDeadline(time.Now().Add(5 * time.Minute))
}

// sample is what one contestant did in its turn of one round.
type sample struct {
	perSecond, cpuMicros, allocs float64
	// loadMicros is the load's own processor time of a frame, the agent's being cpuMicros.
	loadMicros float64
	p50, p99   float64 // microseconds
}

// blockingOf takes a connection over.
func blockingOf(nc net.Conn) (b blocking, err error) {
	defer nc.Close()
	b.File, err = nc.(interface{ File() (*os.File, error) }).File()
	if err == nil {
		b.fd = int(b.Fd()) // makes it blocking
	}
	return b, err
}

// rawLoad is how frames are sent: by event loops, or by a goroutine for each connection.
type rawLoad struct {
	conns, window int
	goroutines    bool
	warm, long    time.Duration
}

// pipelined measures frames per second and their price.
func pipelined(a *agentProc, o rawLoad) (s sample, err error) {
	c, err := newCrew(a, o)
	defer c.close()
	if err != nil {
		return s, err
	}
	before, err := a.usage()
	if err != nil {
		return s, err
	}
	c.start()
	time.Sleep(o.warm)
	from, err := a.usage()
	t0, n0, load0 := time.Now(), c.acked(), ownUsage(taken{}).CPU
	time.Sleep(o.long)
	to, err2 := a.usage()
	t1, n1, load1 := time.Now(), c.acked(), ownUsage(taken{}).CPU
	if err := firstOf(c.stop(), err, err2); err != nil {
		return s, fmt.Errorf("%s with %d connections: %w", a.kind, o.conns, err)
	}
	n := float64(n1 - n0)
	s.perSecond = n / t1.Sub(t0).Seconds()
	s.cpuMicros, s.loadMicros = micros(to.CPU-from.CPU)/n, micros(load1-load0)/n
	s.allocs = float64(to.Mallocs-from.Mallocs) / n
	return s, a.allTaken(before, c.acked())
}

// allTaken checks that the agent has taken every frame sent as what it is, so that nobody wins by refusing. An agent may
// count a portion only after it has acknowledged it, so the count is given a moment to come up.
func (a *agentProc) allTaken(before usage, sent uint64) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		now, err := a.usage()
		if err != nil {
			return err
		}
		got := now.Done - before.Done
		if got == sent && len(now.Malformed) == 0 {
			return nil
		}
		if got > sent || len(now.Malformed) > 0 || time.Now().After(deadline) {
			return fmt.Errorf("%s took %d of %d messages, malformed: %v", a.kind, got, sent, now.Malformed)
		}
	}
}

// roundTrips measures the time of one exchange with one frame in flight, on a blocking descriptor, so that this side costs
// one write and one read.
func roundTrips(a *agentProc, warm, long time.Duration) (s sample, err error) {
	nc, err := dial(a.addr)
	if err != nil {
		return s, err
	}
	f, err := blockingOf(nc)
	if err != nil {
		return s, err
	}
	defer f.Close()
	before, err := a.usage()
	if err != nil {
		return s, err
	}
	r := newRing(&a.counts, 1, 1)
	var buf [512]byte
	one := func() error {
		if _, err := f.Write(r.take(1)); err != nil {
			return fmt.Errorf("send a frame: %w", err)
		}
		for have := 0; ; {
			n, err := f.Read(buf[have:])
			if err != nil || n == 0 {
				return fmt.Errorf("read an ACK: %d bytes, %w", n, err)
			}
			have += n
			acks, used, err := countAcks(buf[:have])
			if err != nil {
				return err
			}
			if acks == 1 && used == have {
				return nil
			}
		}
	}
	sent := uint64(0)
	for end := time.Now().Add(warm); time.Now().Before(end); sent++ {
		if err := one(); err != nil {
			return s, err
		}
	}
	took := make([]time.Duration, 0, 1<<18)
	from, err := a.usage()
	if err != nil {
		return s, err
	}
	start := time.Now()
	for t := start; t.Sub(start) < long; {
		if err := one(); err != nil {
			return s, err
		}
		now := time.Now()
		took = append(took, now.Sub(t))
		t = now
	}
	to, err := a.usage()
	if err != nil {
		return s, err
	}
	slices.Sort(took)
	n := float64(len(took))
	s.p50, s.p99 = micros(took[len(took)/2]), micros(took[len(took)*99/100])
	s.perSecond, s.cpuMicros, s.allocs = n/long.Seconds(), micros(to.CPU-from.CPU)/n, float64(to.Mallocs-from.Mallocs)/n
	return s, a.allTaken(before, sent+uint64(len(took)))
}

// checkIDs makes one exchange and compares the ids in the ACK with those of the frame.
func checkIDs(addr string) error {
	nc, err := dial(addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	payload, _ := putDone(nil, done{backend: "shop-0", server: "node-0", started: firstCount})
	if _, err := nc.Write(putFrame(nil, kindNotify, 123_456, 7, payload)); err != nil {
		return err
	}
	var b [512]byte
	n, err := nc.Read(b[:])
	if err != nil {
		return fmt.Errorf("read the ACK: %w", err)
	}
	ids := putVarint(putVarint(nil, 123_456), 7)
	if acks, used, err := countAcks(b[:n]); err != nil || acks != 1 || used != n || !bytes.HasPrefix(b[prefixSize+5:n], ids) {
		return fmt.Errorf("the ACK is % x (%v), not one with the ids % x", b[:n], err, ids)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
