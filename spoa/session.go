package spoa

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

// session is the protocol of one connection without its socket: bytes in, bytes out, and nothing that blocks.
//
//	           HELLO                      NOTIFY -> ACK
//	[greeting] -----> [ready] ------------------------------+
//	    |  |             |  ^-------------------------------+
//	    |  | health      | HAPROXY-DISCONNECT, error, idle, shutdown
//	    |  | check       v
//	    |  +--------> [ended]   the last frame out is AGENT-HELLO (check) or AGENT-DISCONNECT
//	    +-- error ------^
type session struct {
	// own is the largest frame we take, limit what was agreed with the peer.
	own, limit uint32
	ready      bool
	ended      bool
	// checked tells that it was a health check, engine is what the HELLO calls HAProxy's end.
	checked bool
	engine  []byte
	// out holds frames to be written, acks says how many of them acknowledge a NOTIFY.
	out  []byte
	acks int
	// taken are the messages read since the owner last emptied it.
	taken    counted
	decoders *decoders
	// unread is how many frames have been acknowledged and not read yet. answers tells that all of them begin with a message
	// about an answered request, as far as a glance can tell.
	unread  int
	answers bool
	// marks are where the payloads of the first of those frames are, marked how many of them are told.
	marks  [mostPending]mark
	marked int
	// draining, when it is there and true, makes health checks fail.
	draining *atomic.Bool
	// note counts and logs why a frame was refused.
	note func(why reason, text string)
}

// mark is where a payload is in what a scan has taken.
type mark struct{ from, to uint32 }

// decoders are the decoders of all connections. One that is not in use belongs to none, so that there are about as many as
// processors, and what they remember and their working memory is at hand in the processor's caches: what a decoder knows of the
// last message serves the next one, from wherever it comes. (Two HAProxys whose messages have other arguments make each other's
// first message of a read one that is read the long way.)
type decoders struct {
	table *nameTable
	pool  sync.Pool
}

func newDecoders(sink Sink, count counter, table *nameTable) *decoders {
	meter, _ := sink.(*Meter)
	p := &decoders{table: table}
	p.pool.New = func() any {
		d := &decoder{names: newNames(table), sink: sink, meter: meter, count: count}
		if meter != nil {
			d.batch = &batch{}
		}
		return d
	}
	return p
}

func (p *decoders) session(maxFrameSize uint32, note func(reason, string)) *session {
	return &session{own: maxFrameSize, limit: maxFrameSize, note: note, decoders: p}
}

// feed takes every whole frame from the front of in and returns how many bytes that was. need is the size that in must
// reach for the next frame, prefix included (at most the limit), once enough is there to know. Answers are appended to
// out. Nothing is taken once the session has ended.
//
// It is scan, which answers, and digest, which reads what the answered frames say, one after the other.
func (s *session) feed(now time.Time, in []byte) (used, need int) {
	used, need = s.scan(in)
	s.digest(now, in[:used])
	return used, need
}

// scan is the part of feed that a peer waits for. What it has taken must be given to digest next, and stay as it is until then.
func (s *session) scan(in []byte) (used, need int) {
	s.answers, s.marked = true, 0
	for more := true; more && !s.ended; {
		used, need, more = s.scanOne(in, s.scanNotifies(in, used))
	}
	return used, need
}

// scanOne takes the frame that begins at used, whatever it is. It returns where it ends, or the same place, and what in must reach
// from there on, when it is not all there.
func (s *session) scanOne(in []byte, used int) (end, need int, ok bool) {
	b := in[used:]
	if len(b) < prefixSize {
		return used, minFrameSize + prefixSize, false
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size < minFrameSize:
		s.end(refuse(statusInvalid, reasonTooSmall, "a frame of %d bytes, the least is %d", size, minFrameSize))
		return used, 0, false
	case size > s.limit:
		s.end(refuse(statusTooBig, reasonTooBig, "a frame of %d bytes, at most %d were agreed", size, s.limit))
		return used, 0, false
	}
	whole := prefixSize + int(size)
	if len(b) < whole {
		return used, whole, false
	}
	if r := s.frame(b[prefixSize:whole]); r != nil {
		s.end(r)
	}
	return used + whole, 0, true
}

// scanNotifies takes the frames from used on that are as nearly all are: whole NOTIFY frames of which nothing is to be said, with
// ids of 8 bytes at most, read in words, and only as long as there is room for their ACKs. It returns where they end.
func (s *session) scanNotifies(in []byte, used int) int {
	const (
		// head is the size of length, type and flags.
		head   = prefixSize + idsAt
		notify = uint64(flagFin)<<32 | uint64(frame.TypeNotify)
	)
	if !s.ready {
		return used
	}
	out, limit, others, first := s.out, uint(s.limit), byte(0), s.unread
	for used <= len(in)-head-8 {
		q := in[used:]
		size, ids := uint(binary.BigEndian.Uint32(q)), binary.LittleEndian.Uint64(q[head:])
		whole, payload := prefixSize+size, head+idsSize(ids)
		if size > limit || whole > uint(len(q)) || binary.LittleEndian.Uint64(q[prefixSize:])&(1<<40-1) != notify ||
			payload > head+8 || payload >= whole || cap(out)-len(out) < maxAck {
			break
		}
		a := (*[maxAck]byte)(out[len(out):cap(out)])
		binary.BigEndian.PutUint64(a[:], uint64(payload-prefixSize+uint(len(ackActions)))<<32|uint64(frame.TypeAgentAck)<<24)
		a[prefixSize+4] = flagFin
		// What this writes beyond the ids is written over.
		binary.LittleEndian.PutUint64(a[head:], ids)
		binary.LittleEndian.PutUint64(a[payload:], ackWord)
		out = out[:len(out)+int(payload)+len(ackActions)]
		others |= q[payload] ^ byte(len(messageDone))
		if s.unread == s.marked && s.marked < len(s.marks) {
			s.marks[s.marked] = mark{uint32(used) + uint32(payload), uint32(used) + uint32(whole)}
			s.marked++
		}
		s.unread++
		used += int(whole)
	}
	s.out = out
	s.acks += s.unread - first
	s.answers = s.answers && others == 0
	return used
}

// frame takes one whole frame. A refusal ends the connection.
func (s *session) frame(body []byte) *refusal {
	ids := idsEnd(body)
	if ids == 0 {
		return refuse(statusInvalid, reasonFrame, "a frame whose stream and frame id cannot be read")
	}
	if flags := binary.BigEndian.Uint32(body[1:]); flags&flagFin == 0 {
		return refuse(statusFragmented, reasonFragment, "a part of a frame, which was not agreed")
	}
	switch kind := frame.Type(body[0]); kind {
	case frame.TypeNotify:
		if !s.ready {
			return refuse(statusInvalid, reasonOrder, "a NOTIFY before the HELLO")
		}
		// A payload that cannot be read is acknowledged all the same: the request has done no wrong and must not wait.
		s.out = appendAck(s.out, body[idsAt:ids])
		s.acks++
		s.unread++
		s.answers = s.answers && ids < len(body) && body[ids] == byte(len(messageDone))
		return nil
	case frame.TypeHaproxyHello:
		if s.ready {
			return refuse(statusInvalid, reasonOrder, "a second HELLO")
		}
		return s.hello(body[ids:])
	case frame.TypeHaproxyDisconnect:
		s.bye(statusNormal, "goodbye")
		return nil
	default:
		return refuse(statusInvalid, reasonFrame, "a frame of type %d", kind)
	}
}

// digest reads the payloads of the frames that scan has just acknowledged: taken is what it took.
func (s *session) digest(now time.Time, taken []byte) {
	if s.unread == 0 {
		return
	}
	// A decoder that panicked is in no state to be used again.
	d := s.decoders.pool.Get().(*decoder)
	d.now = now
	read := uint32(0)
	for _, m := range s.marks[:s.marked] {
		d.payload(taken[m.from:m.to])
		read = m.to
	}
	s.unread -= s.marked
	s.marked, taken = 0, taken[read:]
	// A frame that was refused is the last one, and none follows one that ended the session.
	for ; s.unread > 0; taken = taken[prefixSize+binary.BigEndian.Uint32(taken):] {
		body := taken[prefixSize : prefixSize+binary.BigEndian.Uint32(taken)]
		if frame.Type(body[0]) == frame.TypeNotify {
			s.unread--
			d.payload(body[idsEnd(body):])
		}
	}
	d.settle()
	s.taken.dones += d.dones
	s.taken.beats += d.beats
	s.taken.arrivals += d.arrivals
	d.counted = counted{}
	s.decoders.pool.Put(d)
}

func (s *session) hello(payload []byte) *refusal {
	h, r := parseHello(payload)
	if r != nil {
		return r
	}
	if h.healthcheck && s.draining != nil && s.draining.Load() {
		s.checked = true
		s.bye(statusUnknown, "the agent shuts down")
		return nil
	}
	s.limit = min(h.maxFrameSize, s.own)
	out, err := appendHello(s.out, h, s.limit)
	if err != nil {
		return refuse(statusUnknown, reasonHello, "%v", err)
	}
	s.out, s.ready, s.engine = out, true, bytes.Clone(h.engine)
	if h.healthcheck {
		s.ended, s.checked = true, true
	}
	return nil
}

// end says why the connection ends, to the peer and to ourselves.
func (s *session) end(r *refusal) {
	s.note(r.why, r.text)
	s.bye(r.status, r.text)
}

// bye appends an AGENT-DISCONNECT, once.
func (s *session) bye(status uint32, text string) {
	if s.ended {
		return
	}
	s.ended = true
	if out, err := appendDisconnect(s.out, status, text); err == nil {
		s.out = out
	}
}
