package spoa

import (
	"bytes"
	"encoding/binary"
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
	dec  decoder
	// draining, when it is there and true, makes health checks fail.
	draining *atomic.Bool
	// note counts and logs why a frame was refused.
	note func(why reason, text string)
}

func newSession(sink Sink, count counter, names *nameTable, maxFrameSize uint32, note func(reason, string)) *session {
	meter, _ := sink.(*Meter)
	return &session{
		own: maxFrameSize, limit: maxFrameSize, note: note,
		dec: decoder{names: newNames(names), sink: sink, meter: meter, count: count},
	}
}

// feed takes every whole frame from the front of in and returns how many bytes that was. need is the size that in must
// reach for the next frame, prefix included (at most the limit), once enough is there to know. Answers are appended to
// out. Nothing is taken once the session has ended.
func (s *session) feed(now time.Time, in []byte) (used, need int) {
	used, need = s.frames(now, in)
	s.dec.settle()
	return used, need
}

func (s *session) frames(now time.Time, in []byte) (used, need int) {
	for !s.ended {
		b := in[used:]
		if len(b) < prefixSize {
			return used, minFrameSize + prefixSize
		}
		size := binary.BigEndian.Uint32(b)
		switch {
		case size < minFrameSize:
			s.end(refuse(statusInvalid, reasonTooSmall, "a frame of %d bytes, the least is %d", size, minFrameSize))
			return used, 0
		case size > s.limit:
			s.end(refuse(statusTooBig, reasonTooBig, "a frame of %d bytes, at most %d were agreed", size, s.limit))
			return used, 0
		}
		whole := prefixSize + int(size)
		if len(b) < whole {
			return used, whole
		}
		used += whole
		if r := s.frame(now, b[prefixSize:whole]); r != nil {
			s.end(r)
		}
	}
	return used, 0
}

// frame takes one whole frame. A refusal ends the connection.
func (s *session) frame(now time.Time, body []byte) *refusal {
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
		s.dec.notify(now, body[ids:])
		s.out = appendAck(s.out, body[idsAt:ids])
		s.acks++
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
