package spoa

import (
	"bytes"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/negasus/haproxy-spoe-go/varint"
	"pgregory.net/rapid"
)

// roomy is b in a buffer with room behind it, filled with what must not be taken for a part of it.
func roomy(b []byte) []byte {
	c := append(make([]byte, 0, len(b)+stencilRoom), b...)
	rest := c[len(c):cap(c)]
	for i := range rest {
		rest[i] = byte(i * 37)
	}
	return c
}

// cutter is a layout with a stencil cut along it.
type cutter struct {
	layout  layout
	stencil stencil
	// fitted counts payloads that the stencil took.
	fitted int
}

// argsAt is where the arguments of a done message begin.
const argsAt = 1 + len(messageDone) + 1

// newCutter learns from a payload; ok is false when there is nothing for a stencil in it.
func newCutter(payload []byte) (c *cutter, ok bool) {
	c = &cutter{}
	b := roomy(payload)
	c.layout.learn(b[argsAt:], int(b[argsAt-1]))
	used, ok := c.layout.read(b[argsAt:], int(b[argsAt-1]))
	return c, ok && used == len(b)-argsAt && len(b) <= stencilBytes && c.stencil.cut(&c.layout, b)
}

// compare gives a payload of the stencil's size to it, and if it takes it, to the layout.
func (c *cutter) compare(t interface{ Fatalf(string, ...any) }, payload []byte) {
	b := roomy(payload)
	m := (*[stencilRoom]byte)(b[:stencilRoom])
	if len(b) < argsAt || !c.stencil.fits(m) {
		return
	}
	l := c.layout
	if !c.stencil.read(m, &l.nums) {
		return
	}
	c.fitted++
	along := c.layout
	used, ok := along.read(b[argsAt:], int(b[argsAt-1]))
	if !ok || used != len(b)-argsAt || !bytes.HasPrefix(b[1:], []byte(messageDone)) {
		t.Fatalf("%q fits its stencil, and not its layout", payload)
	}
	if l.nums != along.nums {
		t.Fatalf("%q has the numbers %v by its stencil, %v along its layout", payload, l.nums, along.nums)
	}
	for i := range textCount {
		if got, want := c.stencil.texts[i].of(b), along.texts[i].of(b[argsAt:]); !bytes.Equal(got, want) {
			t.Fatalf("%q has the texts %q by its stencil, %q along its layout", payload, got, want)
		}
	}
}

// What fits a stencil is read as along the layout: what real HAProxys of every version have sent, with any byte in any place.
func TestStencilReadsWhatTheLayoutReads(t *testing.T) {
	payloads := recorded(t, "FuzzMessages")
	maps.DeleteFunc(payloads, func(name string, _ []byte) bool { return !strings.HasSuffix(name, "-done") })
	for name, args := range map[string][]arg{"2.6": leanArgs(), "2.6, older": doneArgs(), "3.0, sampled": with(sampledArgs(), arg{"t1", 1795302633168930})} {
		payloads[name] = message(messageDone, args...)
	}
	for name, b := range payloads {
		c, ok := newCutter(b)
		if !ok {
			t.Errorf("%s: no stencil for %q", name, b)
			continue
		}
		if c.compare(t, b); c.fitted != 1 {
			t.Errorf("%s: %q does not fit the stencil cut from it", name, b)
		}
		for i := range b {
			changed := bytes.Clone(b)
			for v := range 256 {
				changed[i] = byte(v)
				c.compare(t, changed)
			}
		}
		if c.fitted < 500 {
			t.Errorf("%s: only %d changed messages fitted", name, c.fitted)
		}
	}
}

// The same with values of all kinds, and with many bytes changed.
func TestStencilReadsWhatTheLayoutReadsAtRandom(t *testing.T) {
	fitted := 0
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SampledFrom([]func() []arg{doneArgs, leanArgs, sampledArgs}).Draw(t, "files")()
		for range rapid.IntRange(0, 6).Draw(t, "changes") {
			i := rapid.IntRange(0, len(args)-1).Draw(t, "place")
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				args[i].name = rapid.SampledFrom(drawnKeys).Draw(t, "name")
			} else {
				args[i].value = drawValue(t, args[i].value)
			}
		}
		b := message(messageDone, args...)
		c, ok := newCutter(b)
		if !ok {
			return
		}
		for range 4 {
			for i := range args {
				if rapid.Bool().Draw(t, "again") {
					args[i].value = drawValue(t, args[i].value)
				}
			}
			next := message(messageDone, args...)
			if len(next) == len(b) {
				c.compare(t, next)
			}
			next = bytes.Clone(b)
			for range rapid.IntRange(0, 12).Draw(t, "bytes") {
				next[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] = rapid.Byte().Draw(t, "value")
			}
			c.compare(t, next)
		}
		fitted += c.fitted
	})
	if fitted == 0 {
		t.Error("nothing fitted")
	}
}

// A decoder with a stencil makes of every payload what one does that reads it the long way, also after its stencil has been given up.
func TestThroughStencilsIsAsTheLongWay(t *testing.T) {
	for _, args := range [][]arg{doneArgs(), leanArgs(), with(sampledArgs(), arg{"t1", 1795302633168930})} {
		whole, p := message(messageDone, args...), newPair()
		learn := func() {
			for range 3 {
				p.notify(t, roomy(whole))
			}
			if s := p.quick.stencils.of(len(whole)); s.size != len(whole) || !s.fits((*[stencilRoom]byte)(roomy(whole)[:stencilRoom])) {
				p.quick.stencils.forget()
				p.notify(t, roomy(whole))
			}
		}
		for i := range whole {
			for _, bit := range []int{0, 4, 7} {
				learn()
				changed := roomy(whole)
				changed[i] ^= 1 << bit
				p.notify(t, changed)
			}
			learn()
			p.notify(t, roomy(whole[:i]))
		}
	}
}

// The bytes that stand for a name that was never told are none: a stencil leaves out what a name is, so that it must be looked at.
func TestStencilsTrustNoName(t *testing.T) {
	for _, what := range []string{"boot", "be", "srv"} {
		for _, odd := range []byte{0, 0xff, ' '} {
			p := newPair()
			for range 3 {
				p.notify(t, roomy(message(messageDone, leanArgs()...)))
			}
			// The last process heard of has a name of another length.
			p.notify(t, roomy(message(messageDone, with(leanArgs(), arg{"boot", "x"})...)))
			p.notify(t, roomy(message(messageDone, leanArgs()...)))
			p.notify(t, roomy(message(messageDone, with(leanArgs(), arg{"boot", "x"})...)))
			for _, a := range leanArgs() {
				if a.name == what {
					name := string(bytes.Repeat([]byte{odd}, len(a.value.(string))))
					p.notify(t, roomy(message(messageDone, with(leanArgs(), arg{what, name})...)))
				}
			}
		}
	}
}

// Where sizes say little of what is in a message, stencils are given up, and come back where they say much.
func TestStencilsAreGivenUpAndComeBack(t *testing.T) {
	sink := &spy{}
	d := decoder{names: newNames(newNameTable()), sink: sink, count: newTally()}
	one, other := message(messageDone, leanArgs()...), message(messageDone, with(leanArgs(), arg{"be", "appl"}, arg{"srv", "s"})...)
	if len(one) != len(other) {
		t.Fatalf("the messages have %d and %d bytes", len(one), len(other))
	}
	now, sent := time.Unix(1000, 0), 0
	send := func(b []byte, times int) {
		for range times {
			d.notify(now, roomy(b))
			sent++
		}
	}
	send(one, 10)
	s := d.stencils.of(len(one))
	if s.size != len(one) {
		t.Fatal("no stencil after ten messages of one kind")
	}
	for range 2 * mostWorth {
		send(one, 1)
		send(other, 1)
	}
	if s.size != 0 {
		t.Error("a stencil that every second message missed was kept")
	}
	send(other, learnEvery+1)
	if s.size != len(one) || !s.fits((*[stencilRoom]byte)(roomy(other)[:stencilRoom])) {
		t.Error("no stencil after many messages of another kind")
	}
	// One of another size with the same place.
	longer := message(messageDone, with(leanArgs(), arg{"be", "app" + strings.Repeat("x", maxStencils)})...)
	send(longer, mostWorth+learnEvery)
	if s.size != len(longer) {
		t.Errorf("the stencil is for %d bytes, though there were many messages of %d", s.size, len(longer))
	}
	if len(sink.dones) != sent {
		t.Errorf("%d samples of %d messages", len(sink.dones), sent)
	}
}

// Two processes whose messages come by turns cost no memory.
func TestProcessesByTurnsAllocateNothing(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0)})
	s := newSession(m, newTally(), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	var in []byte
	for i := range 4 {
		in = append(in, notifyFrame(7, message(messageDone, with(leanArgs(), arg{"boot", fmt.Sprint(1795302633168830 + i)})...))...)
	}
	in = roomy(in)
	step := func() {
		s.out = s.out[:0]
		now = now.Add(time.Microsecond)
		s.feed(now, in)
	}
	for range 100 {
		step()
	}
	if allocs := testing.AllocsPerRun(1000, step); allocs != 0 && !raceEnabled {
		t.Errorf("%v allocations for four processes by turns", allocs)
	}
}

// The frames that are taken in words give the same answers as those taken one by one.
func TestFramesInWordsAreAsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		quick, slow := newNoting(), newNoting()
		hello := helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(256)}, arg{"capabilities", "pipelining"})
		for _, s := range []*noting{quick, slow} {
			s.feed(time.Unix(1000, 0), hello)
			s.out = s.out[:0]
		}
		var in []byte
		for range rapid.IntRange(1, 80).Draw(t, "frames") {
			id := func(what string) []byte {
				return putVarint(nil, rapid.Uint64().Draw(t, what)>>rapid.IntRange(0, 63).Draw(t, "shift"))
			}
			payload := message(messageDone, leanArgs()...)
			switch rapid.IntRange(0, 40).Draw(t, "payload") {
			case 0, 1, 2, 3:
				payload = message(messageHeartbeat+"-1", heartbeatArgs()...)
			case 4, 5, 6, 7:
				payload = nil
			case 8:
				// More than was agreed.
				payload = append(payload, payload...)
			}
			body := slices.Concat([]byte{3, 0, 0, 0, flagFin}, id("stream"), id("frame"), payload)
			if rapid.IntRange(0, 60).Draw(t, "other") == 0 {
				body[rapid.IntRange(0, len(body)-1).Draw(t, "place")] = rapid.Byte().Draw(t, "byte")
			}
			if rapid.IntRange(0, 30).Draw(t, "cut off") == 0 {
				body = body[:rapid.IntRange(5, min(len(body), 12)).Draw(t, "size")]
			}
			in = append(in, rawFrame(body)...)
		}
		in = in[:rapid.IntRange(0, len(in)).Draw(t, "end")]
		used, need := quick.scan(in)
		slowUsed, slowNeed := slow.scanOneByOne(in)
		if used != slowUsed || need != slowNeed || !bytes.Equal(quick.out, slow.out) || quick.acks != slow.acks || quick.unread != slow.unread ||
			quick.answers != slow.answers || quick.ended != slow.ended || !slices.Equal(quick.notes, slow.notes) {
			t.Fatalf("in words: %d used, %d needed, %d ACKs, %d unread, answers %v, ended %v, %q;\none by one: %d, %d, %d, %d, %v, %v, %q\n%x\n%x",
				used, need, quick.acks, quick.unread, quick.answers, quick.ended, quick.notes,
				slowUsed, slowNeed, slow.acks, slow.unread, slow.answers, slow.ended, slow.notes, quick.out, slow.out)
		}
		quick.digest(time.Unix(1000, 0), in[:used])
		slow.digest(time.Unix(1000, 0), in[:used])
		if quick.taken != slow.taken || quick.unread != 0 {
			t.Fatalf("taken in words %+v, one by one %+v", quick.taken, slow.taken)
		}
	})
}

// noting is a session that keeps its notes.
type noting struct {
	*session
	notes []string
}

func newNoting() *noting {
	n := &noting{}
	n.session = newSession(noSink{}, newTally(), newNameTable(), 16380, func(_ reason, text string) { n.notes = append(n.notes, text) })
	return n
}

// scanOneByOne is scan without what reads frames in words.
func (n *noting) scanOneByOne(in []byte) (used, need int) {
	n.answers, n.marked = true, 0
	for more := true; more && !n.ended; {
		used, need, more = n.scanOne(in, used)
	}
	return used, need
}

// The sizes of both ids, against the library's reader.
func TestIDSizes(t *testing.T) {
	f := func(b [8]byte) {
		t.Helper()
		want := uint(0)
		for range 2 {
			rest := b[min(want, 8):]
			_, n := varint.Uvarint(rest)
			if n <= 0 || len(rest) == 0 {
				want = 9
				break
			}
			want += uint(n)
		}
		w := uint64(0)
		for i, v := range b {
			w |= uint64(v) << (8 * i)
		}
		if got := idsSize(w); got != want && (got <= 8 || want <= 8) {
			t.Errorf("% x: the ids take %d bytes, want %d", b, got, want)
		}
	}
	edges := []byte{0, 1, 0x7f, 0x80, 0xef, 0xf0, 0xff}
	for i := range 7 * 7 * 7 * 7 * 7 * 7 * 7 * 7 {
		var b [8]byte
		for j, k := 0, i; j < 8; j, k = j+1, k/7 {
			b[j] = edges[k%7]
		}
		f(b)
	}
}

// Endings are the same only if all of them are.
func TestEndingsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := endings{rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b"), rapid.Uint64().Draw(t, "c"), rapid.Uint64().Draw(t, "d"), rapid.Uint64().Draw(t, "e")}
		o := e
		if e.differ(&o) != 0 {
			t.Fatalf("%+v differs from itself", e)
		}
		*[]*uint64{&o.backend, &o.server, &o.backend2, &o.server2, &o.sizes}[rapid.IntRange(0, 4).Draw(t, "which")] ^= 1 << rapid.IntRange(0, 63).Draw(t, "bit")
		if e.differ(&o) == 0 || o.differ(&e) == 0 {
			t.Fatalf("%+v does not differ from %+v", e, o)
		}
	})
}

// joinSevens against one byte after the other.
func TestJoinSevens(t *testing.T) {
	for i := range 64 {
		for j := range 64 {
			w := (uint64(1)<<i | bits.RotateLeft64(0x0123456789abcdef, j)) &^ highBits
			want := uint64(0)
			for k := range 8 {
				want |= (w >> (8 * k) & 0x7f) << (7 * k)
			}
			if got := joinSevens(w); got != want {
				t.Fatalf("%x: %x, want %x", w, got, want)
			}
		}
	}
}
