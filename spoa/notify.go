package spoa

import (
	"bytes"
	"time"

	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// The names of the messages in the shipped SPOE files; see package haproxyconf.
const (
	messageDone      = "tidegate-done"
	messageHeartbeat = "tidegate-heartbeat"
)

const (
	maxTimer = 24 * time.Hour
	maxID    = 64
	// maxGauge bounds what can be a number of requests, connections or servers.
	maxGauge   = 1 << 31
	maxCounter = 1<<32 - 1
	minStatus  = 100
	maxStatus  = 599
	// clockSlack is by how much two of HAProxy's whole-millisecond timers may differ from its microsecond stamps.
	clockSlack = time.Millisecond
	// maxServersPerMessage bounds a heartbeat message; nb-args is one byte, so that HAProxy cannot send more.
	maxServersPerMessage = 255
)

// decoder reads NOTIFY payloads in place. It keeps its working memory from message to message.
type decoder struct {
	now     time.Time // of the payload
	names   *names
	sink    Sink
	count   counter
	sample  Sample
	gauges  Gauges
	stamps  [3]int64 // microseconds of the arrival, of the server connection and of the answer
	timers  [3]int64 // Tw, Tc and Tr in milliseconds
	present counterBits
	layout  layout
	// stencils are a short cut before the layout.
	stencils stencils
	// along tells that the last done message was read along the layout.
	along bool
	// meter is the sink when it is one that can make use of what is known of a sample's server.
	meter    *Meter
	knowns   *knownServers
	stranger known
	// boot is the process's name that came last, which is never written to; nil as long as none has come. It is common if it has bootSize
	// bytes, which are in bootWords, too.
	boot         *string
	bootIsCommon bool
	bootWords    [2]uint64
	bootNames    bootNames
	batch        *batch // what waits, nil where there is no meter
	answer       answer // in place of the batch then
	arrival      Arrival
	counted
}

// counted are numbers of messages taken: about answered requests, heartbeats and arrivals, which are optional.
type counted struct{ dones, beats, arrivals int }

// counterBits remembers which of the counters came.
type counterBits uint8

const (
	haveStarted counterBits = 1 << iota
	haveCurrent
	haveNoResponse
	haveAnswered
	haveAll = haveStarted | haveCurrent | haveNoResponse
)

// mark tells in c which of its counters came.
func (p counterBits) mark(c *Counters) {
	c.Known, c.AnswersKnown = p&haveAll == haveAll, p&haveAnswered != 0
}

// notify hands every message of one NOTIFY payload to the sink. What is malformed is counted; when the rest cannot be
// read because of it, the rest is left out.
func (d *decoder) notify(now time.Time, b []byte) {
	d.now = now
	d.payload(b)
}

// payload is notify, at the time of the last one.
func (d *decoder) payload(b []byte) {
	if s := d.stencils.of(len(b)); len(b) == s.size && cap(b) >= stencilRoom && d.cut(b, s) {
		return
	}
	whole := b
	for len(b) > 0 {
		name, rest, ok := readString(b)
		if !ok || len(rest) == 0 {
			d.count.malformed(reasonMessage)
			return
		}
		n := int(rest[0])
		b = rest[1:]
		switch {
		case string(name) == messageDone:
			if b, ok = d.done(b, n); len(b) == 0 && d.along {
				d.stencils.learn(&d.layout, whole)
			}
		case bytes.HasPrefix(name, []byte(messageHeartbeat)):
			d.settle()
			b, ok = d.heartbeat(b, n)
		case string(name) == messageArrive:
			d.settle()
			b, ok = d.arrive(b, n)
		default:
			d.count.malformed(reasonUnknown)
			b, ok = skip(b, n)
		}
		if !ok {
			d.count.malformed(reasonMessage)
			return
		}
	}
}

func skip(b []byte, n int) (rest []byte, ok bool) {
	for range n {
		if _, _, b, ok = readArgument(b); !ok {
			return nil, false
		}
	}
	return b, true
}

// cut reads a payload that may fit the stencil; false, and nothing is done, where it does not or has something to be counted or refused.
func (d *decoder) cut(b []byte, s *stencil) bool {
	m := (*[stencilRoom]byte)(b[:stencilRoom])
	if !s.fits(m) || !s.read(m, &d.layout.nums) || !d.take(b, &s.texts, s) {
		s.missed()
		return false
	}
	s.fitted()
	return true
}

// done reads one message about a request that has been answered: along the layout of the last one if it looks the same.
func (d *decoder) done(b []byte, n int) (rest []byte, ok bool) {
	used := 0
	if used, d.along = d.layout.read(b, n); d.along {
		if d.along = d.take(b, &d.layout.texts, nil); d.along {
			return b[used:], true
		}
	}
	good := true
	if rest, good, ok = d.doneArgs(b, n); !ok {
		return nil, false
	}
	d.layout.learn(b, n)
	d.stencils.forget()
	switch {
	case !good:
	case d.sample.Backend == "":
		d.count.malformed(reasonName)
	case !d.sample.timing(&d.stamps, &d.timers):
		d.count.malformed(reasonTimer)
	default:
		d.present.mark(&d.sample.Counters)
		d.sample.BackendConns = d.sample.backendConns()
		d.dones++
		d.settle()
		d.sink.Done(d.now, &d.sample)
	}
	return rest, true
}

// doneArgs reads the arguments one by one; not good when one of them makes the message unusable.
func (d *decoder) doneArgs(b []byte, n int) (rest []byte, good, ok bool) {
	d.sample = Sample{Status: Absent, Retries: Absent, ServerConns: Absent, BackendConns: Absent, Queued: Absent}
	d.stamps, d.timers, d.present = [3]int64{Absent, Absent, Absent}, [3]int64{Absent, Absent, Absent}, 0
	good = true
	for range n {
		var key []byte
		var v value
		if key, v, b, ok = readArgument(b); !ok {
			return nil, false, false
		}
		if v.kind == typeddata.TypeNull {
			continue
		}
		good = d.doneArg(key, v) && good
	}
	return b, good, true
}

// doneArg takes one argument; false when its value makes the whole message unusable.
func (d *decoder) doneArg(key []byte, v value) bool {
	s := &d.sample
	switch string(key) {
	case "id":
		if d.isString(v) {
			s.ID = v.str[:min(len(v.str), maxID)]
		}
	case "boot":
		return d.name(v, &s.Boot)
	case "be":
		return d.name(v, &s.Backend)
	case "srv":
		return d.name(v, &s.Server)
	case "st":
		return d.status(v)
	case "t0":
		d.number(v, &d.stamps[0])
	case "t1":
		d.number(v, &d.stamps[1])
	case "t2":
		d.number(v, &d.stamps[2])
	case "tw":
		d.number(v, &d.timers[0])
	case "tc":
		d.number(v, &d.timers[1])
	case "tr":
		d.number(v, &d.timers[2])
	case "w":
		return d.logTimes(v)
	case "rc":
		d.retries(v)
	case "rd":
		s.Redispatched = s.Redispatched || v.num != 0
	case "sconn":
		d.gauge(v, &s.ServerConns)
	case "conn":
		d.gauge(v, &s.BackendConns)
	case "q":
		d.gauge(v, &s.Queued)
	default:
		d.counterArg(key, v, &s.Counters)
	}
	return true
}

// heartbeat reads one message about a backend.
func (d *decoder) heartbeat(b []byte, n int) (rest []byte, ok bool) {
	g := &d.gauges
	*g = Gauges{InFlight: Absent, Queued: Absent, Up: Absent, Servers: g.Servers[:0]}
	d.present = 0
	good := true
	for range n {
		var key []byte
		var v value
		if key, v, b, ok = readArgument(b); !ok {
			return nil, false
		}
		if v.kind == typeddata.TypeNull {
			continue
		}
		switch string(key) {
		case "boot":
			good = d.name(v, &g.Boot) && good
		case "be":
			good = d.name(v, &g.Backend) && good
		case "conn":
			d.gauge(v, &g.InFlight)
		case "q":
			d.gauge(v, &g.Queued)
		case "up":
			d.gauge(v, &g.Up)
		default:
			if server, found := bytes.CutPrefix(key, []byte("c.")); found {
				d.serverGauge(server, v)
			} else {
				d.counterArg(key, v, &g.Counters)
			}
		}
	}
	if good && g.Backend == "" {
		d.count.malformed(reasonName)
		good = false
	}
	if good {
		d.present.mark(&g.Counters)
		d.beats++
		d.sink.Heartbeat(d.now, g)
	}
	return b, true
}

func (d *decoder) serverGauge(server []byte, v value) {
	conns := Absent
	d.gauge(v, &conns)
	name, ok := d.names.of(d.now, server)
	if !ok {
		d.count.malformed(reasonName)
		return
	}
	if conns != Absent && len(d.gauges.Servers) < maxServersPerMessage {
		d.gauges.Servers = append(d.gauges.Servers, ServerGauge{name, conns})
	}
}

// counterArg takes one of the cumulative counters; other names are skipped, so that a newer file works with an older
// agent.
func (d *decoder) counterArg(key []byte, v value, c *Counters) {
	var to *uint32
	var bit counterBits
	switch string(key) {
	case "started":
		to, bit = &c.Started, haveStarted
	case "cur":
		to, bit = &c.Current, haveCurrent
	case "noresp":
		to, bit = &c.NoResponse, haveNoResponse
	case "answered":
		to, bit = &c.Answered, haveAnswered
	default:
		return
	}
	n := int64(Absent)
	d.number(v, &n)
	switch {
	case n >= 0 && n <= maxCounter:
		*to = uint32(n)
		d.present |= bit
	case v.isInt():
		d.count.malformed(reasonCounter)
	}
}
