package spoa

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/negasus/haproxy-spoe-go/frame"
)

func newTestSession() (*session, *spy, *tally) {
	sink, count := &spy{}, newTally()
	return newSession(sink, count, newNameTable(), 16380, func(why reason, _ string) { count.malformed(why) }), sink, count
}

func TestSession(t *testing.T) {
	now := time.Unix(1000, 0)
	done := message(messageDone, doneArgs()...)
	without := func(name string) []byte {
		var args []arg
		for _, a := range []arg{{"supported-versions", "2.0"}, {"max-frame-size", uint32(16380)}, {"capabilities", "pipelining"}} {
			if a.name != name {
				args = append(args, a)
			}
		}
		return helloFrame(args...)
	}
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	fragment := notifyFrame(1, done)
	fragment[8] = 0
	helloAnswer := map[string]any{"version": "2.0", "max-frame-size": 16380, "capabilities": "pipelining"}
	tests := map[string]struct {
		in []byte
		// hello is what our HELLO says, nil when there is none; acks the number of ACKs; status that of the disconnect, -1
		// when there is none.
		hello  map[string]any
		acks   int
		status int
		reason string
	}{
		"a hello":                    {goodHello(), helloAnswer, 0, -1, ""},
		"a hello and requests":       {join(goodHello(), notifyFrame(1, done), notifyFrame(300, done, done)), helloAnswer, 2, -1, ""},
		"without pipelining":         {goodHello(arg{"capabilities", "async"}), map[string]any{"version": "2.0", "max-frame-size": 16380, "capabilities": ""}, 0, -1, ""},
		"spaces in lists":            {helloFrame(arg{"supported-versions", "1.0, 2.4"}, arg{"max-frame-size", uint32(16380)}, arg{"capabilities", "async , pipelining"}), helloAnswer, 0, -1, ""},
		"smaller frames":             {helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(256)}, arg{"capabilities", ""}), map[string]any{"version": "2.0", "max-frame-size": 256, "capabilities": ""}, 0, -1, ""},
		"larger frames":              {helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(1 << 31)}, arg{"capabilities", "pipelining"}), helloAnswer, 0, -1, ""},
		"a health check":             {goodHello(arg{"healthcheck", true}), helloAnswer, 0, -1, ""},
		"a goodbye":                  {join(goodHello(), notifyFrame(1, done), frameOf(frame.TypeHaproxyDisconnect, 0, 0, nil), notifyFrame(2, done)), helloAnswer, 1, statusNormal, ""},
		"a broken payload":           {join(goodHello(), notifyFrame(1, []byte{200, 1}), notifyFrame(2, done)), helloAnswer, 2, -1, "message"},
		"no versions":                {without("supported-versions"), nil, 0, statusNoVersion, "hello"},
		"no frame size":              {without("max-frame-size"), nil, 0, statusNoFrameSize, "hello"},
		"no capabilities":            {without("capabilities"), nil, 0, statusNoCaps, "hello"},
		"versions of the wrong type": {goodHello(arg{"supported-versions", 2}), nil, 0, statusNoVersion, "hello"},
		"an old version":             {helloFrame(arg{"supported-versions", "1.0"}, arg{"max-frame-size", uint32(16380)}, arg{"capabilities", ""}), nil, 0, statusBadVersion, "version"},
		"a version that is none":     {helloFrame(arg{"supported-versions", "2"}, arg{"max-frame-size", uint32(16380)}, arg{"capabilities", ""}), nil, 0, statusBadVersion, "version"},
		"frames too small to agree":  {helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(255)}, arg{"capabilities", ""}), nil, 0, statusBadFrameSize, "hello"},
		"a hello cut short":          {frameOf(frame.TypeHaproxyHello, 0, 0, []byte{50, 'x'}), nil, 0, statusInvalid, "hello"},
		"a value cut short":          {frameOf(frame.TypeHaproxyHello, 0, 0, append(putString(nil, "x"), 8, 200)), nil, 0, statusInvalid, "hello"},
		"a second hello":             {join(goodHello(), goodHello()), helloAnswer, 0, statusInvalid, "order"},
		"a request before the hello": {notifyFrame(1, done), nil, 0, statusInvalid, "order"},
		"an empty frame":             {length(0), nil, 0, statusInvalid, "frame_too_small"},
		"a frame of six bytes":       {length(6), nil, 0, statusInvalid, "frame_too_small"},
		"four gigabytes":             {length(1<<32 - 1), nil, 0, statusTooBig, "frame_too_big"},
		"one byte too many":          {join(goodHello(), length(16381)), helloAnswer, 0, statusTooBig, "frame_too_big"},
		"more than was agreed":       {join(helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(256)}, arg{"capabilities", ""}), length(257)), map[string]any{"version": "2.0", "max-frame-size": 256, "capabilities": ""}, 0, statusTooBig, "frame_too_big"},
		"HTTP":                       {[]byte("GET / HTTP/1.1\r\n\r\n"), nil, 0, statusTooBig, "frame_too_big"},
		"a frame type of an agent":   {frameOf(frame.TypeAgentAck, 1, 1, nil), nil, 0, statusInvalid, "frame"},
		"ids that do not end":        {rawFrame([]byte{3, 0, 0, 0, 1, 0xff, 0xff, 0xff}), nil, 0, statusInvalid, "frame"},
		"a fragment":                 {join(goodHello(), fragment), helloAnswer, 0, statusFragmented, "fragment"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range []int{len(tt.in), 1, 7} {
				s, _, count := newTestSession()
				feedInChunks(s, now, tt.in, chunk)
				frames, ok := readFrames(s.out)
				if !ok {
					t.Fatalf("chunks of %d: the answer is not made of whole frames: %x", chunk, s.out)
				}
				var hello map[string]any
				acks, status := 0, -1
				for i, f := range frames {
					switch f.kind {
					case frame.TypeAgentHello:
						hello = pairs(f.payload)
					case frame.TypeAgentAck:
						acks++
						if !bytes.Equal(f.payload, ackActions[:]) {
							t.Errorf("an ACK carries %x", f.payload)
						}
					case frame.TypeAgentDisconnect:
						status, _ = pairs(f.payload)["status-code"].(int)
						if i != len(frames)-1 || !s.ended {
							t.Error("something follows the disconnect")
						}
					}
				}
				if d := cmp.Diff(tt.hello, hello, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("chunks of %d: our HELLO (-want +got):\n%s", chunk, d)
				}
				if acks != tt.acks || acks != s.acks || status != tt.status {
					t.Errorf("chunks of %d: %d ACKs (%d counted), status %d; want %d, status %d", chunk, acks, s.acks, status, tt.acks, tt.status)
				}
				if (tt.reason == "") != (len(count.bad) == 0) || (tt.reason != "" && count.bad[tt.reason] != 1) {
					t.Errorf("chunks of %d: malformed %v, want %q", chunk, count.bad, tt.reason)
				}
			}
		})
	}
}

// feedInChunks gives the session what a connection would: ever more bytes, less those it has taken.
func feedInChunks(s *session, now time.Time, in []byte, chunk int) {
	from := 0
	for to := 0; to < len(in) && !s.ended; {
		to = min(to+max(chunk, 1), len(in))
		used, _ := s.feed(now, in[from:to])
		from += used
	}
}

// The ids must come back exactly as they were sent, however they were encoded.
func TestAckCarriesTheIds(t *testing.T) {
	for _, id := range []uint64{0, 1, 239, 240, 2287, 2288, 1 << 32, 1<<64 - 1} {
		s, _, _ := newTestSession()
		feedInChunks(s, time.Now(), append(goodHello(), frameOf(frame.TypeNotify, id, id/2, nil)...), 1<<20)
		frames, ok := readFrames(s.out)
		if !ok || len(frames) != 2 {
			t.Fatalf("%d frames, want a HELLO and an ACK", len(frames))
		}
		want := putVarint(putVarint(nil, id), id/2)
		if !bytes.Equal(frames[1].ids, want) {
			t.Errorf("id %d came back as %x, want %x", id, frames[1].ids, want)
		}
	}
}

func TestNothingAllocatesPerFrame(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0)})
	count := newTally()
	s := newSession(m, count, newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	in := append(notifyFrame(7, message(messageDone, doneArgs()...)), notifyFrame(9, message(messageHeartbeat+"-1", heartbeatArgs()...))...)
	step := func() {
		s.out = s.out[:0]
		now = now.Add(time.Millisecond)
		if used, _ := s.feed(now, in); used != len(in) {
			t.Fatal("not all was taken")
		}
	}
	for range keptTimings {
		step()
	}
	// With the race detector, a pool forgets now and then what it was given.
	if allocs := testing.AllocsPerRun(1000, step); allocs != 0 && !raceEnabled {
		t.Errorf("%v allocations for two frames, want 0", allocs)
	}
	if len(count.bad) != 0 {
		t.Errorf("malformed: %v", count.bad)
	}
}

func BenchmarkDecodeAndRecord(b *testing.B) {
	s := newSession(NewMeter(MeterOptions{Began: time.Unix(900, 0)}), newMeters(newPrivateSet()), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	in := append(newBuffer(mostBuffer)[:0], notifyFrame(7, message(messageDone, doneArgs()...))...)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		s.out = s.out[:0]
		now = now.Add(100 * time.Microsecond)
		s.feed(now, in)
	}
}

// Whatever comes, the session must not fail, must answer with whole frames only, none of them empty, and must not believe
// what cannot be. The corpora hold what real HAProxys have sent (TestRecordSeeds of package haproxyconf).
func FuzzFrames(f *testing.F) {
	done, beat := message(messageDone, doneArgs()...), message(messageHeartbeat+"-1", heartbeatArgs()...)
	f.Add(goodHello())
	f.Add(append(goodHello(), notifyFrame(1, done, beat, message(messageArrive, arriveArgs()...))...))
	f.Add(append(goodHello(arg{"healthcheck", true}), notifyFrame(1, done)...))
	f.Add(append(goodHello(), notifyFrame(1, done[:40])...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(rawFrame([]byte{3, 0, 0, 0, 1, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var acks []int
		for _, chunk := range []int{64, len(in)} {
			sink := &arrivals{}
			s := newSession(sink, newTally(), newNameTable(), 16380, func(reason, string) {})
			feedInChunks(s, time.Unix(1000, 0), in, chunk)
			checkAnswer(t, s, sink)
			acks = append(acks, s.acks)
		}
		if acks[0] != acks[1] {
			t.Fatalf("%d ACKs when it comes in pieces, %d in one", acks[0], acks[1])
		}
	})
}

// The same behind a good HELLO, in a NOTIFY, so that mutations reach the messages: it is acknowledged whatever it holds, and
// what is good behind it is read.
func FuzzMessages(f *testing.F) {
	done, beat, arrive := message(messageDone, doneArgs()...), message(messageHeartbeat+"-1", heartbeatArgs()...), message(messageArrive, arriveArgs()...)
	for _, m := range [][]byte{done, beat, arrive, append(append([]byte{}, arrive...), done...), done[:40], message("x"), {0, 0}} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		sink := &arrivals{}
		s := newSession(sink, newTally(), newNameTable(), 16380, func(reason, string) {})
		feedInChunks(s, time.Unix(1000, 0), append(goodHello(), notifyFrame(1, in[:min(len(in), 16000)])...), 1<<20)
		checkAnswer(t, s, sink)
		if s.acks != 1 || s.ended {
			t.Fatalf("%d ACKs, ended %v; want one whatever the payload", s.acks, s.ended)
		}
		before := len(sink.dones)
		feedInChunks(s, time.Unix(1000, 0), notifyFrame(2, done), 1<<20)
		if len(sink.dones) != before+1 || sink.dones[before].Backend != "app" || sink.dones[before].Status != 200 {
			t.Fatalf("a good message after it was not read: %+v", sink.dones[before:])
		}
	})
}

func checkAnswer(t *testing.T, s *session, sink *arrivals) {
	t.Helper()
	frames, ok := readFrames(s.out)
	if !ok {
		t.Fatalf("the answer is not made of whole frames: %x", s.out)
	}
	for _, f := range frames {
		if len(f.payload) == 0 {
			t.Fatalf("an empty frame of type %d", f.kind)
		}
	}
	for _, d := range sink.dones {
		if d.Backend == "" || !validName([]byte(d.Backend)) || len(d.ID) > maxID || (d.Status != Absent && (d.Status < 100 || d.Status > 599)) ||
			d.Queue < Absent || d.Connect < Absent || d.Response < Absent || d.Queue > maxTimer || d.Connect > maxTimer || d.Response > maxTimer ||
			d.BackendConns < Absent || d.Queued < Absent || d.ServerConns < Absent || d.Retries < Absent {
			t.Fatalf("a sample that cannot be: %+v", d)
		}
	}
	for _, a := range sink.list {
		if !validName([]byte(a.Backend)) || len(a.ID) == 0 || len(a.ID) > maxID || a.BackendConns < Absent || a.Queued < Absent {
			t.Fatalf("an arrival that cannot be: %+v", a)
		}
	}
	for _, g := range sink.beats {
		if g.Backend == "" || g.InFlight < Absent || g.Queued < Absent || g.Up < Absent {
			t.Fatalf("gauges that cannot be: %+v", g)
		}
		for _, v := range g.Servers {
			if !validName([]byte(v.Name)) || v.Conns < 0 {
				t.Fatalf("a server that cannot be: %+v", v)
			}
		}
	}
}
