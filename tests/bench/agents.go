package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	nagent "github.com/negasus/haproxy-spoe-go/agent"
	"github.com/negasus/haproxy-spoe-go/logger"
	"github.com/negasus/haproxy-spoe-go/message"
	"github.com/negasus/haproxy-spoe-go/request"

	"github.com/tidegate/tidegate/internal/sched"
	"github.com/tidegate/tidegate/spoa"
)

// Contestants, in the order of a round.
const (
	peer  = "negasus"
	ours  = "ours"
	limit = "echo"
	// normal is ours under the scheduling policy that every process has, SCHED_OTHER. Not in each comparison.
	normal = "ours-normal"
)

var contestants = []string{peer, ours, limit}

// taken is what an agent says it has taken.
type taken struct {
	Frames, Done      uint64
	Malformed         map[string]uint64
	Backends, Servers int
}

// serveAgent listens at addr ("unix:/path" or "IP:port"), serves in the background and returns how to ask for its counts.
func serveAgent(kind, addr string) (func() taken, error) {
	ln, err := spoa.Listen(addr)
	if err != nil {
		return nil, err
	}
	// The controller runs under SCHED_BATCH, and so does what runs as it does.
	if kind == ours || kind == limit {
		if err := sched.Batch(); err != nil {
			return nil, err
		}
	}
	switch kind {
	case ours, normal:
		return serveOurs(ln), nil
	case peer:
		return servePeer(ln), nil
	case limit:
		return serveEcho(ln), nil
	}
	return nil, fmt.Errorf("agent %q: it is one of %v", kind, append(contestants, normal))
}

// serveOurs is what the controller does, its decisions aside: it takes a report every second, and keeps as much of it.
func serveOurs(ln net.Listener) func() taken {
	meter := spoa.NewMeter(spoa.MeterOptions{})
	server := spoa.New(spoa.Options{Sink: meter})
	var backends, servers atomic.Int64
	go func() { _ = server.Serve(context.Background(), ln) }()
	go func() {
		for now := range time.Tick(time.Second) {
			responses, s := map[string][]time.Duration{}, 0
			meter.Each(now, func(r *spoa.BackendReport) {
				of := []time.Duration(nil)
				for _, t := range r.Samples {
					of = append(of, t.Response)
				}
				responses[r.Name] = of
				s += len(r.Servers)
			})
			backends.Store(int64(len(responses)))
			servers.Store(int64(s))
		}
	}()
	return func() taken {
		st := server.Stats()
		return taken{st.Frames, st.Done, st.Malformed, int(backends.Load()), int(servers.Load())}
	}
}

// record is what the peer's handler reads a message into: the same arguments, to the same types.
type record struct {
	boot, backend, server, times                string
	status, queued, t0, t2                      int64
	started, current, noResponse, serverAnswers int64
}

func servePeer(ln net.Listener) func() taken {
	var frames, dones, errors, micros atomic.Uint64
	handle := func(r *request.Request) {
		frames.Add(1)
		for i := range r.Messages.Len() {
			m, err := r.Messages.GetByIndex(i)
			if err != nil || m.Name != doneName {
				continue
			}
			var rec record
			rec.read(m)
			dones.Add(1)
			micros.Add(uint64(rec.t2 - rec.t0))
			if rec.status >= 500 {
				errors.Add(1)
			}
		}
	}
	go func() { _ = nagent.New(handle, logger.NewNop()).Serve(ln) }()
	return func() taken { return taken{Frames: frames.Load(), Done: dones.Load()} }
}

func (r *record) read(m *message.Message) {
	for _, item := range m.KV.Data() {
		switch v := item.Value.(type) {
		case string:
			switch item.Name {
			case "boot":
				r.boot = v
			case "be":
				r.backend = v
			case "srv":
				r.server = v
			case "w":
				r.times = v
			}
		case int64:
			if to := r.number(item.Name); to != nil {
				*to = v
			}
		}
	}
}

func (r *record) number(name string) *int64 {
	switch name {
	case "st":
		return &r.status
	case "q":
		return &r.queued
	case "t0":
		return &r.t0
	case "t2":
		return &r.t2
	case "started":
		return &r.started
	case "cur":
		return &r.current
	case "noresp":
		return &r.noResponse
	case "answered":
		return &r.serverAnswers
	}
	return nil
}

// serveEcho acknowledges whatever it gets. It trusts its peer, which is this program or the HAProxy it started.
func serveEcho(ln net.Listener) func() taken {
	var frames atomic.Uint64
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go echo(nc, &frames)
		}
	}()
	return func() taken { n := frames.Load(); return taken{Frames: n, Done: n} }
}

func echo(nc net.Conn, frames *atomic.Uint64) {
	defer nc.Close()
	in, out := make([]byte, 64<<10), []byte(nil)
	have := 0
	for {
		n, err := nc.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		used, acks := 0, uint64(0)
		out = out[:0]
		for have-used >= prefixSize {
			size := int(binary.BigEndian.Uint32(in[used:]))
			if size < 7 || size > maxFrameSize {
				return
			}
			if have-used < prefixSize+size {
				break
			}
			body := in[used+prefixSize : used+prefixSize+size]
			used += prefixSize + size
			switch body[0] {
			case kindNotify:
				out = putAck(out, body[5:])
				acks++
			case kindHello:
				out = append(out, agentHello...)
			default:
				return
			}
		}
		frames.Add(acks)
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				return
			}
		}
		have = copy(in, in[used:have])
	}
}

// ackActions is the action every ACK of ours carries too, so that both write as much.
var ackActions = []byte{0x01, 0x03, 0x02, 3, 'a', 'c', 'k', 0x11}

// putAck appends an ACK with the stream and frame id that ids begins with.
func putAck(out, ids []byte) []byte {
	n := 0
	for range 2 {
		more := ids[n] >= 240
		n++
		for more {
			more = ids[n] >= 128
			n++
		}
	}
	size := 5 + n + len(ackActions)
	out = append(out, 0, 0, byte(size>>8), byte(size), kindAgentAck, 0, 0, 0, flagFin)
	return append(append(out, ids[:n]...), ackActions...)
}

var agentHello = func() []byte {
	b := putText(nil, "version", "2.0")
	b = putVarint(append(putString(b, "max-frame-size"), typeUInt32), maxFrameSize)
	return putFrame(nil, kindAgentHello, 0, 0, putText(b, "capabilities", "pipelining"))
}()
