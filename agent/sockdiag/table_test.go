package sockdiag

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scripted is a link that answers each request with the next of its answers, and no kernel. A datagram is what one read
// returns.
type scripted struct {
	answers [][]datagram
	asked   [][]byte
	closed  bool
	err     error
}

type datagram struct {
	from uint32
	b    []byte
	err  error
}

func (s *scripted) send(b []byte) error {
	s.asked = append(s.asked, b)
	return s.err
}

func (s *scripted) receive(b []byte) (int, uint32, error) {
	turn := len(s.asked) - 1
	if turn >= len(s.answers) || len(s.answers[turn]) == 0 {
		return 0, 0, unix.EAGAIN // as the time-out of a real one
	}
	d := s.answers[turn][0]
	s.answers[turn] = s.answers[turn][1:]
	return copy(b, d.b), d.from, d.err
}

func (s *scripted) close() error {
	s.closed = true
	return nil
}

// packet makes a netlink message.
func packet(kind, flags uint16, seq uint32, data []byte) []byte {
	b := native.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(data)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 77)
	return append(b, data...)
}

func item(seq uint32, data string) []byte {
	return packet(unix.SOCK_DIAG_BY_FAMILY, 0, seq, []byte(data))
}
func end(seq uint32, flags uint16) []byte {
	return packet(unix.NLMSG_DONE, flags, seq, make([]byte, 4))
}
func kernel(parts ...[]byte) datagram { return datagram{b: joined(parts...)} }

func joined(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// The real kernel shows none of this on demand.
func TestAsk(t *testing.T) {
	number := func(errno int32) []byte { return native.AppendUint32(nil, uint32(-errno)) }
	for _, c := range []struct {
		name    string
		answers [][]datagram
		want    string
		err     string
	}{
		{"two reads", [][]datagram{{kernel(item(1, "aaaa"), item(1, "bbbb")), kernel(item(1, "cccc"), end(1, 0))}}, "aaaabbbbcccc", ""},
		{"a stranger's message", [][]datagram{{{from: 4711, b: item(1, "evil")}, kernel(item(1, "good")), {from: 1, b: end(1, 0)}, kernel(end(1, 0))}}, "good", ""},
		{"another answer's rest", [][]datagram{{kernel(item(0, "old!"), end(0, 0)), kernel(item(1, "good"), end(1, 0))}}, "good", ""},
		{"interrupted once", [][]datagram{{kernel(packet(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP_INTR, 1, []byte("part")), end(1, 0))},
			{kernel(item(2, "full"), end(2, 0))}}, "full", ""},
		{"interrupted at the end", [][]datagram{{kernel(item(1, "part"), end(1, unix.NLM_F_DUMP_INTR))}, {kernel(item(2, "full"), end(2, 0))}}, "full", ""},
		{"interrupted always", [][]datagram{{kernel(end(1, 16))}, {kernel(end(2, 16))}, {kernel(end(3, 16))}, {kernel(end(4, 16))}, {kernel(end(5, 16))}}, "", "interrupted"},
		{"silence", [][]datagram{{kernel(item(1, "aaaa"))}}, "aaaa", "resource temporarily unavailable"},
		{"refused", [][]datagram{{kernel(packet(unix.NLMSG_ERROR, 0, 1, number(int32(unix.EINVAL))))}}, "", "invalid argument"},
		{"refused at the end", [][]datagram{{kernel(packet(unix.NLMSG_DONE, 0, 1, number(int32(unix.ENOMEM))))}}, "", "cannot allocate"},
		{"an error that is none", [][]datagram{{kernel(packet(unix.NLMSG_ERROR, 0, 1, number(0)))}}, "", "none"},
		{"cut off", [][]datagram{{kernel(item(1, "aaaa"), item(1, "bbbb")[:18])}}, "aaaa", "impossible length"},
		{"a cut header", [][]datagram{{kernel(item(1, "aaaa")[:9])}}, "", "cut off"},
		{"length 0", [][]datagram{{kernel(make([]byte, 32))}}, "", "impossible length"},
		{"too long for the buffer", [][]datagram{{{err: errors.New("longer than the buffer")}}}, "", "longer than the buffer"},
	} {
		link := &scripted{answers: c.answers}
		got := ""
		err := (&conn{link: link}).ask([]byte("request!"), func() { got = "" }, func(b []byte) error {
			got += string(b)
			return nil
		})
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v, want %q and %q", c.name, got, err, c.want, c.err)
		}
		if len(link.asked) != len(c.answers) {
			t.Errorf("%s: asked %d times, want %d", c.name, len(link.asked), len(c.answers))
		}
	}
}

// inetMessage is a socket on 127.0.0.1:80.
func inetMessage(state byte, received, sent, inode uint32) []byte {
	b := make([]byte, inetMessageLen)
	b[0], b[1], b[5] = unix.AF_INET, state, 80
	copy(b[8:], []byte{127, 0, 0, 1})
	native.PutUint32(b[56:], received)
	native.PutUint32(b[60:], sent)
	native.PutUint32(b[68:], inode)
	return b
}

// A table with two questions for each reading (listeners of IPv4 and IPv6) and, for a count, one more.
func TestTableSharesAnswersAndReopens(t *testing.T) {
	socket := func(seq uint32, msgs ...[]byte) []datagram {
		var b []byte
		for _, m := range msgs {
			b = append(b, packet(unix.SOCK_DIAG_BY_FAMILY, 0, seq, m)...)
		}
		return []datagram{kernel(b, end(seq, 0))}
	}
	lst := inetMessage(stateListen, 2, 64, 9)
	round := func(seq uint32, conns ...[]byte) [][]datagram {
		return [][]datagram{socket(seq, lst), socket(seq + 1), socket(seq+2, conns...)}
	}
	est := inetMessage(stateEstablished, 0, 0, 5)
	waiting := inetMessage(stateEstablished, 0, 0, 0)
	first := &scripted{answers: append(round(1, est, waiting), round(4, est, est)...)}
	second := &scripted{answers: round(1, est, est, est)}
	links := []*scripted{first, second}
	now, opened := time.Unix(1000, 0), 0
	tab := NewTable()
	tab.now = func() time.Time { return now }
	tab.open = func() (link, error) {
		if opened == len(links) {
			return nil, unix.EMFILE
		}
		opened++
		return links[opened-1], nil
	}
	a, b := New(tab, "127.0.0.1:80"), New(tab, "127.0.0.1:80")
	check := func(s *Sockets, busy int, age time.Duration) {
		t.Helper()
		if c, err := s.Count(nil); err != nil || c.Busy != busy || c.Age != age {
			t.Errorf("%+v, %v, want %d busy, %v old", c, err, busy, age)
		}
		if w, err := s.Queued(); err != nil || w.Queued != 2 || w.Limit != 64 {
			t.Errorf("%+v, %v, want 2 of 64", w, err)
		}
	}
	check(a, 1, 0)
	now = now.Add(10 * time.Millisecond)
	check(a, 1, 10*time.Millisecond)
	if len(first.asked) != 3 {
		t.Errorf("asked %d times, want 3", len(first.asked))
	}
	check(b, 2, 0) // a newcomer is asked for
	check(a, 2, 0) // and the answer is for both
	now = now.Add(freshFor)
	first.err = unix.ECONNREFUSED
	if _, err := a.Count(nil); !errors.Is(err, unix.ECONNREFUSED) || !first.closed {
		t.Errorf("a broken link: %v, closed %v", err, first.closed)
	}
	if _, err := b.Queued(); !errors.Is(err, unix.ECONNREFUSED) || opened != 1 {
		t.Errorf("an error serves as long as an answer: %v, opened %d times", err, opened)
	}
	now = now.Add(freshFor)
	check(a, 3, 0)
	if err := errors.Join(a.Close(), b.Close()); err != nil || !second.closed || tab.conn != nil {
		t.Errorf("closed by both: %v, %v", err, second.closed)
	}
	if _, err := a.Count(nil); !errors.Is(err, unix.EMFILE) {
		t.Errorf("no socket can be opened: %v", err)
	}
}

func TestDearAnswersServeLonger(t *testing.T) {
	for _, c := range []struct {
		costs []time.Duration
		want  time.Duration
	}{
		{nil, freshFor},
		{[]time.Duration{100 * time.Microsecond}, freshFor},
		{[]time.Duration{2 * time.Millisecond}, 200 * time.Millisecond},
		{[]time.Duration{time.Minute}, oldest},
		{[]time.Duration{time.Second, 3 * time.Millisecond, time.Second}, 300 * time.Millisecond}, // the machine was busy
		{[]time.Duration{time.Millisecond, 4e6, 5e6, 6e6, 7e6}, 400 * time.Millisecond},
	} {
		a := answer{n: len(c.costs)}
		for i, d := range c.costs {
			a.costs[i%costSamples] = d
		}
		if got := a.serves(restFactor); got != c.want {
			t.Errorf("%v: serves %v, want %v", c.costs, got, c.want)
		}
	}
}

// Nothing that a read may return makes the parsers panic, or read on for ever.
func FuzzMessages(f *testing.F) {
	name := append([]byte{12, 0, attrName, 0}, "/a.sock\x00"...)
	queue := append(native.AppendUint32([]byte{12, 0, attrQueue, 0}, 3), 16, 0, 0, 0)
	unixMsg := joined([]byte{unix.AF_UNIX, unix.SOCK_STREAM, stateListen, 0, 7, 0, 0, 0}, make([]byte, 8), name, queue)
	f.Add(joined(packet(unix.SOCK_DIAG_BY_FAMILY, 2, 1, inetMessage(stateListen, 1, 2, 3)), end(1, 0)))
	f.Add(joined(packet(unix.SOCK_DIAG_BY_FAMILY, 2, 1, append(inetMessage(stateListen, 1, 2, 3), 5, 0, attrV6Only, 0, 1, 0, 0, 0)), end(1, 0)))
	f.Add(joined(packet(unix.SOCK_DIAG_BY_FAMILY, 2, 1, unixMsg), end(1, 0)))
	f.Add(packet(unix.NLMSG_ERROR, 0, 1, []byte{0xfe, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		link := &scripted{answers: [][]datagram{{kernel(b)}}}
		total := 0
		_ = (&conn{link: link}).ask(nil, func() { total = 0 }, func(data []byte) error {
			total += len(data)
			if s, err := parseInet(data); err == nil && s.addr.Addr().Is4In6() {
				t.Errorf("%v is not unmapped", s.addr)
			}
			if s, err := parseUnix(data); err == nil && strings.ContainsRune(s.name, 0) {
				t.Errorf("a name with a zero byte: %q", s.name)
			}
			return nil
		})
		if total > len(b) {
			t.Errorf("%d bytes of data in %d", total, len(b))
		}
	})
}

func TestUnixMessage(t *testing.T) {
	msg := joined([]byte{unix.AF_UNIX, unix.SOCK_STREAM, stateListen, 0, 7, 0, 0, 0}, make([]byte, 8),
		append([]byte{12, 0, attrName, 0}, "/a.sock\x00"...), append(native.AppendUint32([]byte{12, 0, attrQueue, 0}, 3), 16, 0, 0, 0))
	got, err := parseUnix(msg)
	if want := (unixSocket{name: "/a.sock", state: stateListen, stream: true, received: 3, sent: 16, inode: 7}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for cut := range msg {
		if s, err := parseUnix(msg[:cut]); err == nil && cut != 16 && cut != 28 {
			t.Errorf("cut at %d: %+v", cut, s)
		}
	}
}
