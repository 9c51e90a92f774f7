package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Frame and data types of SPOP 2.0 (HAProxy's doc/SPOE.txt, 3.1 and 3.2). This is code of its own, so that the agent is
// not measured with its own encoder.
const (
	kindHello      = 1
	kindDisconnect = 2
	kindNotify     = 3
	kindAgentHello = 101
	kindAgentAck   = 103

	typeBool   = 1
	typeUInt32 = 3
	typeInt64  = 4
	typeString = 8
	trueFlag   = 0x10

	flagFin      = 1
	prefixSize   = 4
	maxFrameSize = 16380
)

func putVarint(b []byte, v uint64) []byte {
	if v < 240 {
		return append(b, byte(v))
	}
	b = append(b, byte(v)|0xf0)
	for v = (v - 240) >> 4; v >= 128; v = (v - 128) >> 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func putString(b []byte, s string) []byte { return append(putVarint(b, uint64(len(s))), s...) }

func putText(b []byte, name, value string) []byte {
	return putString(append(putString(b, name), typeString), value)
}

func putInt(b []byte, name string, v uint64) []byte {
	return putVarint(append(putString(b, name), typeInt64), v)
}

func putFrame(b []byte, kind byte, stream, id uint64, payload []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, kind, 0, 0, 0, flagFin)
	b = append(putVarint(putVarint(b, stream), id), payload...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-prefixSize))
	return b
}

// helloFrame is what HAProxy 2.6 sends first.
func helloFrame() []byte {
	b := putText(nil, "supported-versions", "2.0")
	b = putVarint(append(putString(b, "max-frame-size"), typeUInt32), maxFrameSize)
	b = putText(b, "capabilities", "pipelining,async")
	b = putText(b, "engine-id", "8e1c4d3a-5a0b-4a5e-9f5e-0f6d6a0c7d21")
	return putFrame(nil, kindHello, 0, 0, b)
}

// boot is the start of the HAProxy that is played: before any agent's, so that counting begins at the first message.
const boot = "1600000000000000"

// done is one request that a server answered, in microseconds.
type done struct {
	backend, server          string
	queue, connect, response uint64
	started                  uint64
}

const (
	doneName = "tidegate-done"
	doneArgs = 11
	arrived  = 1_795_302_633_168_830
)

// putDone appends the message the shipped SPOE file for 2.6 sends, and tells where in b the value of `started` is.
func putDone(b []byte, d done) (out []byte, startedAt int) {
	b = append(putString(b, doneName), doneArgs)
	b = putText(b, "boot", boot)
	b = putText(b, "be", d.backend)
	b = putText(b, "srv", d.server)
	b = putInt(b, "st", 200)
	b = putText(b, "w", fmt.Sprintf("%d/%d/0/3/%d", d.queue/1000, d.connect/1000, arrived+d.queue+d.connect))
	b = putInt(b, "t0", arrived)
	b = putInt(b, "t2", arrived+d.queue+d.connect+d.response)
	b = putInt(b, "q", 1)
	startedAt = len(b) + len("started") + 2
	b = putInt(b, "started", d.started)
	b = putInt(b, "cur", 5)
	return putInt(b, "noresp", 0), startedAt
}

// heartbeatFrame is a backend's gauges with the requests on each server.
func heartbeatFrame(backend string, servers []string) []byte {
	b := append(putString(nil, "tidegate-heartbeat-1"), byte(8+len(servers)))
	b = putText(b, "boot", boot)
	b = putText(b, "be", backend)
	for _, name := range []string{"conn", "q", "up"} {
		b = putInt(b, name, 5)
	}
	b = putInt(putInt(putInt(b, "started", 1000), "cur", 5), "noresp", 0)
	for _, s := range servers {
		b = putInt(b, "c."+s, 1)
	}
	return putFrame(nil, kindNotify, 1, 1, b)
}

// The counter `started` is five bytes long from firstCount on, so that it can be written in place, and stays so for four
// billion requests.
const (
	firstCount = 100_000_000
	countSize  = 5
)

func writeCount(b []byte, v uint64) {
	b[0] = byte(v) | 0xf0
	v = (v - 240) >> 4
	for i := 1; i < countSize-1; i++ {
		b[i] = byte(v) | 0x80
		v = (v - 128) >> 7
	}
	b[countSize-1] = byte(v)
}

// counts are HAProxy's own counters of arrivals, one a backend, which all connections to one agent share.
type counts [backends]struct {
	n atomic.Uint64
	_ [56]byte
}

const (
	backends   = 4
	servers    = 4
	ringFrames = 128
)

// ring is a run of encoded NOTIFY frames that one connection sends over and over. Counters advance as HAProxy's do, for
// an agent that keeps them must do its work.
type ring struct {
	counts *counts
	bytes  []byte
	// frame i is bytes[at[i]:at[i+1]]; count[i] is where its counter is. The first frames stand at the end once more, so
	// that any window can be sent in one piece.
	at, count []int
	next      int
}

func newRing(c *counts, window int, seed uint64) *ring {
	rng := rand.New(rand.NewPCG(seed, 26))
	r := &ring{counts: c, at: []int{0}}
	for i := range ringFrames + window {
		i %= ringFrames
		payload, at := putDone(nil, done{
			backend: fmt.Sprintf("shop-%d", i%backends), server: fmt.Sprintf("node-%d", i/backends%servers),
			queue: uint64(rng.IntN(3)) * 1500, connect: 300, response: 2000 + uint64(rng.ExpFloat64()*40_000), started: firstCount,
		})
		header := len(putFrame(nil, kindNotify, uint64(i+1), 1, nil))
		r.count = append(r.count, len(r.bytes)+header+at)
		r.bytes = putFrame(r.bytes, kindNotify, uint64(i+1), 1, payload)
		r.at = append(r.at, len(r.bytes))
	}
	return r
}

// take returns the next n frames, at most the window.
func (r *ring) take(n int) []byte {
	var have [backends]uint64
	for i := range have {
		// Frame i belongs to backend i mod backends: n frames have at most this many of each.
		share := uint64((n + backends - 1) / backends)
		have[i] = firstCount + r.counts[i].n.Add(share) - share
	}
	from := r.next
	for i := from; i < from+n; i++ {
		b := i % backends
		have[b]++
		writeCount(r.bytes[r.count[i]:], have[b])
	}
	r.next = (from + n) % ringFrames
	return r.bytes[r.at[from]:r.at[from+n]]
}

var errNotAck = errors.New("the agent sent something that is no ACK")

// countAcks counts the whole ACKs in front of b and tells how many bytes they take.
func countAcks(b []byte) (n, used int, err error) {
	for len(b)-used >= prefixSize+1 {
		size := prefixSize + int(binary.BigEndian.Uint32(b[used:]))
		if size > maxFrameSize || b[used+prefixSize] != kindAgentAck {
			return n, used, errNotAck
		}
		if len(b)-used < size {
			break
		}
		used += size
		n++
	}
	return n, used, nil
}
