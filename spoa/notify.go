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

func (d *decoder) isString(v value) bool {
	if v.kind != typeddata.TypeString {
		d.count.malformed(reasonType)
		return false
	}
	return true
}

// number stores an integer; another type is counted and skipped.
func (d *decoder) number(v value, to *int64) {
	if !v.isInt() {
		d.count.malformed(reasonType)
		return
	}
	*to = v.num
}

// gauge stores a number of things; what cannot be one is counted and skipped.
func (d *decoder) gauge(v value, to *int) {
	n := int64(Absent)
	d.number(v, &n)
	if n >= 0 && n < maxGauge {
		*to = int(n)
	} else if v.isInt() {
		d.count.malformed(reasonGauge)
	}
}

// name stores a name; false when it is none.
func (d *decoder) name(v value, to *string) bool {
	if !d.isString(v) {
		return false
	}
	if len(v.str) == 0 {
		return true
	}
	name, ok := d.names.of(d.now, v.str)
	if !ok {
		d.count.malformed(reasonName)
		return false
	}
	*to = name
	return true
}

func (d *decoder) status(v value) bool {
	n := int64(Absent)
	d.number(v, &n)
	if n == Absent {
		return true
	}
	if n < minStatus || n > maxStatus {
		d.count.malformed(reasonStatus)
		return false
	}
	d.sample.Status = int(n)
	return true
}

// retries takes a number, or the text of the log's %rc, in which a plus sign tells of a redispatch.
func (d *decoder) retries(v value) {
	if v.kind != typeddata.TypeString {
		d.gauge(v, &d.sample.Retries)
		return
	}
	n, redispatched, ok := parseRetries(v.str)
	d.sample.Redispatched = d.sample.Redispatched || redispatched
	if !ok {
		d.count.malformed(reasonGauge)
	} else if n != Absent {
		d.sample.Retries = n
	}
}

// logTimes takes several times and numbers in one text; false when it is none.
func (d *decoder) logTimes(v value) bool {
	if !d.isString(v) {
		return false
	}
	if len(v.str) == 0 {
		return true
	}
	var t logTimes
	if !t.parse(v.str) {
		d.count.malformed(reasonTimer)
		return false
	}
	t.set(&d.sample, &d.stamps, &d.timers)
	return true
}

// parseRetries reads the text of the log's %rc. n is Absent when there is no number in it.
func parseRetries(text []byte) (n int, redispatched, ok bool) {
	if len(text) > 0 && text[0] == '+' {
		redispatched, text = true, text[1:]
	}
	if len(text) == 0 || len(text) > 6 {
		return Absent, redispatched, len(text) == 0
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return Absent, redispatched, false
		}
		n = n*10 + int(c-'0')
	}
	return n, redispatched, true
}

// timing works out the three times from stamps in microseconds and timers in milliseconds; false when one of them is beyond
// a day.
func (s *Sample) timing(stamps, timers *[3]int64) bool {
	queue, connect, response, ok := spans(stamps[0], stamps[1], stamps[2], timers[0], timers[1], timers[2])
	s.Queue, s.Connect, s.Response = duration(queue), duration(connect), duration(response)
	return ok
}

// spans are the three times in microseconds, or Absent, from the stamps t0 to t2 in microseconds and the timers tw, tc and tr in
// milliseconds; not ok when one of them is beyond a day.
func spans(t0, t1, t2, tw, tc, tr int64) (queue, connect, response int64, ok bool) {
	const most = int64(maxTimer / time.Millisecond)
	if tw > most || tc > most || tr > most {
		return 0, 0, 0, false
	}
	before, ok := elapsed(t0, t1)
	if !ok {
		return 0, 0, 0, false
	}
	after, ok := elapsed(t1, t2)
	if !ok {
		return 0, 0, 0, false
	}
	queue, connect, response = milliseconds(tw), milliseconds(tc), milliseconds(tr)
	if after != Absent && (response < 0 || near(after, response)) {
		response = after
	}
	// The stamps cannot part queue from connect, but they know the microseconds of the sum. They also hold what the
	// configuration did before the queue (a rule that waits for the body, say), hence the comparison.
	if queue >= 0 && connect >= 0 && before != Absent && near(before, queue+connect) {
		if queue == 0 {
			connect = before
		} else {
			queue = max(0, before-connect)
		}
	}
	return queue, connect, response, true
}

// milliseconds are n of them in microseconds.
func milliseconds(n int64) int64 {
	if n < 0 {
		return Absent
	}
	return n * 1000
}

// duration is that of so many microseconds, or Absent.
func duration(us int64) time.Duration {
	if us < 0 {
		return Absent
	}
	return time.Duration(us) * time.Microsecond
}

func near(a, b int64) bool {
	const slack = int64(clockSlack / time.Microsecond)
	return a-b <= slack && b-a <= slack
}

// elapsed are the microseconds between two stamps; Absent when one is missing or the clock went back; not ok when they are more
// than a day.
func elapsed(from, to int64) (us int64, ok bool) {
	if from <= 0 || to <= 0 || to < from {
		return Absent, true
	}
	us = to - from
	return us, us <= int64(maxTimer/time.Microsecond)
}
