package spoa

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
	"github.com/negasus/haproxy-spoe-go/varint"
)

// What follows plays HAProxy, for faults a real one does not show and for speed. The real one is in conf/haproxy.

func putVarint(b []byte, v uint64) []byte {
	var tmp [10]byte
	return append(b, tmp[:varint.PutUvarint(tmp[:], v)]...)
}

func putString(b []byte, s string) []byte { return append(putVarint(b, uint64(len(s))), s...) }

// arg is a name and a value; int is sent as HAProxy does (64 bits), nil as NULL, []byte as it stands, type included.
type arg struct {
	name  string
	value any
}

func putArg(b []byte, a arg) []byte {
	b = putString(b, a.name)
	switch v := a.value.(type) {
	case nil:
		return append(b, typeddata.TypeNull)
	case bool:
		if v {
			return append(b, typeddata.TypeBoolean|0x10)
		}
		return append(b, typeddata.TypeBoolean)
	case int:
		return putVarint(append(b, typeddata.TypeInt64), uint64(v))
	case uint32:
		return putVarint(append(b, typeddata.TypeUInt32), uint64(v))
	case string:
		return putString(append(b, typeddata.TypeString), v)
	case []byte:
		return append(b, v...)
	}
	panic("no such type")
}

func message(name string, args ...arg) []byte {
	b := append(putString(nil, name), byte(len(args)))
	for _, a := range args {
		b = putArg(b, a)
	}
	return b
}

// rawFrame is a whole frame around a body.
func rawFrame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func frameOf(kind frame.Type, stream, id uint64, payload []byte) []byte {
	b := []byte{byte(kind), 0, 0, 0, flagFin}
	return rawFrame(append(putVarint(putVarint(b, stream), id), payload...))
}

func helloFrame(args ...arg) []byte {
	var b []byte
	for _, a := range args {
		b = putArg(b, a)
	}
	return frameOf(frame.TypeHaproxyHello, 0, 0, b)
}

func goodHello(more ...arg) []byte {
	return helloFrame(append([]arg{
		{"supported-versions", "2.0"}, {"max-frame-size", uint32(16380)}, {"capabilities", "pipelining,async"}, {"engine-id", "e"},
	}, more...)...)
}

func notifyFrame(stream uint64, messages ...[]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = append(b, m...)
	}
	return frameOf(frame.TypeNotify, stream, 1, b)
}

// doneArgs is a message as HAProxy 2.6 sends it with the files of an earlier tidegate: 2 ms in the queue, 1 ms to connect, 40.5 ms to answer.
func doneArgs() []arg {
	return []arg{
		{"id", "3af8b9dc-37fa-4c6d-ae75-b9cd2ea78cb3"}, {"boot", "1795302633168830"}, {"be", "app"}, {"srv", "s1"}, {"st", 200},
		{"tw", 2}, {"tc", 1}, {"rc", "0"}, {"sconn", 3},
		{"t0", 1795302633168830}, {"t1", 1795302633168830 + 3300}, {"t2", 1795302633168830 + 3300 + 40500},
		{"conn", 5}, {"q", 1}, {"started", 10}, {"cur", 5}, {"noresp", 0},
	}
}

// leanArgs is the same as the shipped files for 2.6 send it.
func leanArgs() []arg {
	return []arg{
		{"boot", "1795302633168830"}, {"be", "app"}, {"srv", "s1"}, {"st", 200}, {"w", "2/1/0/3/1795302633172130"},
		{"t0", 1795302633168830}, {"t2", 1795302633168830 + 3300 + 40500}, {"q", 1}, {"started", 10}, {"cur", 5}, {"noresp", 0},
	}
}

// with returns the arguments with some values replaced.
func with(args []arg, changes ...arg) []arg {
	out := append([]arg(nil), args...)
	for _, c := range changes {
		found := false
		for i := range out {
			if out[i].name == c.name {
				out[i].value, found = c.value, true
			}
		}
		if !found {
			out = append(out, c)
		}
	}
	return out
}

func heartbeatArgs() []arg {
	return []arg{
		{"boot", "1795302633168830"}, {"be", "app"}, {"conn", 5}, {"q", 1}, {"up", 2},
		{"started", 10}, {"cur", 5}, {"noresp", 1}, {"c.s1", 3}, {"c.s2", 1},
	}
}

// spy is a sink that keeps copies.
type spy struct {
	mu    sync.Mutex
	dones []Sample
	beats []Gauges
}

func (s *spy) Done(_ time.Time, d *Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *d
	c.ID = append([]byte(nil), d.ID...)
	s.dones = append(s.dones, c)
}

func (s *spy) Heartbeat(_ time.Time, g *Gauges) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *g
	c.Servers = append([]ServerGauge(nil), g.Servers...)
	s.beats = append(s.beats, c)
}

// tally is a counter for tests.
type tally struct{ bad map[string]int }

func newTally() *tally { return &tally{bad: map[string]int{}} }

func (t *tally) malformed(r reason) { t.bad[r.String()]++ }

// header is a frame taken apart.
type header struct {
	kind    frame.Type
	flags   uint32
	ids     []byte
	payload []byte
}

func splitHeader(body []byte) (h header, ok bool) {
	n := idsEnd(body)
	if n == 0 {
		return h, false
	}
	return header{frame.Type(body[0]), binary.BigEndian.Uint32(body[1:]), body[idsAt:n], body[n:]}, true
}

// readFrames takes a stream of frames apart.
func readFrames(b []byte) (frames []header, ok bool) {
	for len(b) > 0 {
		if len(b) < prefixSize {
			return frames, false
		}
		size := int(binary.BigEndian.Uint32(b))
		if len(b) < prefixSize+size {
			return frames, false
		}
		h, ok := splitHeader(b[prefixSize : prefixSize+size])
		if !ok {
			return frames, false
		}
		frames, b = append(frames, h), b[prefixSize+size:]
	}
	return frames, true
}

// pairs reads the names and values of a HELLO or DISCONNECT.
func pairs(b []byte) map[string]any {
	m := map[string]any{}
	for len(b) > 0 {
		name, rest, ok := readString(b)
		if !ok {
			return nil
		}
		v, rest, ok := readValue(rest)
		if !ok {
			return nil
		}
		if v.kind == typeddata.TypeString {
			m[string(name)] = string(v.str)
		} else {
			m[string(name)] = int(v.num)
		}
		b = rest
	}
	return m
}

func newPrivateSet() *metrics.Set { return metrics.NewSet() }

func newSession(sink Sink, count counter, names *nameTable, maxFrameSize uint32, note func(reason, string)) *session {
	return newDecoders(sink, count, names).session(maxFrameSize, note)
}
