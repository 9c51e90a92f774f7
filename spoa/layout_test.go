package spoa

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/negasus/haproxy-spoe-go/typeddata"
	"github.com/negasus/haproxy-spoe-go/varint"
	"pgregory.net/rapid"
)

// pair is a decoder that keeps its layout, and one that reads every message the long way.
type pair struct {
	table                 *nameTable
	quick                 decoder
	quickSink, longSink   *spy
	quickCount, longCount *tally
}

func newPair() *pair {
	p := &pair{table: newNameTable(), quickSink: &spy{}, longSink: &spy{}, quickCount: newTally(), longCount: newTally()}
	p.quick = decoder{names: newNames(newNameTable()), sink: p.quickSink, count: p.quickCount}
	return p
}

// notify gives both the payload and compares what they make of it.
func (p *pair) notify(t interface{ Fatalf(string, ...any) }, payload []byte) {
	now := time.Unix(1000, 0)
	long := decoder{names: newNames(p.table), sink: p.longSink, count: p.longCount}
	for rest := payload; ; {
		// A decoder that has read nothing yet knows no layout; one message is what it takes to learn one.
		before := len(rest)
		rest = long.first(now, rest)
		long.layout = layout{}
		if len(rest) == 0 || len(rest) == before {
			break
		}
	}
	p.quick.notify(now, payload)
	if d := cmp.Diff(p.longSink.dones, p.quickSink.dones, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("samples of %x (-long way +along the layout):\n%s", payload, d)
	}
	if d := cmp.Diff(p.longCount.bad, p.quickCount.bad); d != "" {
		t.Fatalf("malformed in %x (-long way +along the layout):\n%s", payload, d)
	}
	if long.dones != p.quick.dones {
		t.Fatalf("%d messages the long way, %d along the layout", long.dones, p.quick.dones)
	}
	p.quick.dones = 0
	p.quickSink.dones, p.longSink.dones = nil, nil
}

// first reads the first message of a payload of done messages and returns the others.
func (d *decoder) first(now time.Time, b []byte) (rest []byte) {
	name, rest, ok := readString(b)
	if !ok || len(rest) == 0 || string(name) != messageDone {
		d.notify(now, b)
		return nil
	}
	d.now = now
	if rest, ok = d.done(rest[1:], int(rest[0])); !ok {
		d.count.malformed(reasonMessage)
		return nil
	}
	return rest
}

// sampledArgs is what HAProxy 3.0 sends of a share of the requests.
func sampledArgs() []arg {
	return []arg{
		{"id", "3af8b9dc-37fa-4c6d-ae75-b9cd2ea78cb3"}, {"boot", "1795302633168830"}, {"be", "app"}, {"srv", "s1"}, {"st", 200},
		{"tw", 2}, {"tc", 1}, {"tr", 40}, {"rc", 1}, {"rd", true}, {"t0", 1795302633168830}, {"t1", nil}, {"t2", 1795302633268830},
		{"conn", 5}, {"q", 1}, {"started", 10}, {"cur", 5}, {"noresp", 0}, {"answered", 9},
	}
}

func TestShippedMessagesAreReadAlongTheirLayout(t *testing.T) {
	for name, args := range map[string][]arg{"2.6": leanArgs(), "2.6, older": doneArgs(), "3.0, sampled": sampledArgs()} {
		var d decoder
		body := func(args []arg) []byte {
			b := message(messageDone, args...)[len(messageDone)+2:]
			return append(make([]byte, 0, len(b)+slack), b...)
		}
		d = decoder{names: newNames(newNameTable()), sink: noSink{}, count: newTally()}
		if _, ok := d.done(body(args), len(args)); !ok {
			t.Fatalf("%s: refused", name)
		}
		for what, change := range map[string][]arg{
			"the same": nil, "other values": {{"be", "another"}, {"t0", 5}, {"q", 70_000}, {"st", 503}, {"boot", nil}},
			"no server": {{"srv", nil}, {"t2", nil}}, "a stamp more": {{"t2", 1795302633268831}},
		} {
			b := body(with(args, change...))
			if used, ok := d.layout.read(b, len(args)); !ok || used != len(b) {
				t.Errorf("%s, %s: %d of %d bytes were read along the layout, %v", name, what, used, len(b), ok)
			}
		}
		if b := body(args); d.layout.n == 0 {
			t.Errorf("%s: no layout for %x", name, b)
		}
	}
}

// Cut anywhere, with its own end behind the cut or with nothing, and as the first or as the second message.
func TestCutMessagesAreReadAsTheLongWay(t *testing.T) {
	for _, args := range [][]arg{doneArgs(), leanArgs(), sampledArgs()} {
		whole := message(messageDone, args...)
		two := append(bytes.Clone(whole), whole...)
		for i := range two {
			p := newPair()
			p.notify(t, append(make([]byte, 0, len(whole)+slack), whole...))
			p.notify(t, two[:i])
			p.notify(t, bytes.Clone(two[:i]))
			p.notify(t, two)
		}
	}
}

var (
	drawnKeys = []string{
		"id", "boot", "be", "srv", "st", "w", "tw", "tc", "tr", "rc", "rd", "t0", "t1", "t2", "sconn", "conn", "q", "started", "cur", "noresp",
		"", "b", "bee", "startee", "answered", "answeree", "a-long-name-1", "a-long-name-2", "a-long-name-12", "a-long-name-of-more-than-fifteen",
	}
	drawnTexts = []string{"", "app", "shop-1", "shop-2", "s1", "a b", "(other)", "1795302633168830", "+1", "+", "0", "12", "x", "1234567", "0/0/0/1/1795302633168830", "-1/3/+1/2147483648/5", "1/2/+/1/5", strings.Repeat("n", 128), strings.Repeat("n", 250)}
	drawnInts  = []int{0, 1, -1, 99, 100, 239, 240, 599, 600, 2287, 2288, 86_400_000, 86_400_001, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1795302633168830, 1795302633178830, 1 << 55, 1<<60 - 1, 1 << 60, 1<<63 - 1, -1 << 63}
)

func drawValue(t *rapid.T, last any) any {
	switch rapid.IntRange(0, 9).Draw(t, "kind of value") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return []byte{typeddata.TypeIPv4 | 0x30, 1, 2, 3, 4}
	case 3:
		return []byte{typeddata.TypeBinary, 2, 'x', 'y'}
	case 4:
		return append([]byte{typeddata.TypeUInt64 | 0x50}, putVarint(nil, uint64(rapid.SampledFrom(drawnInts).Draw(t, "number")))...)
	case 5:
		return rapid.SampledFrom(drawnTexts).Draw(t, "text")
	case 6:
		return rapid.SampledFrom(drawnInts).Draw(t, "number")
	}
	// The same type as before, as HAProxy does.
	switch last.(type) {
	case string:
		return rapid.SampledFrom(drawnTexts).Draw(t, "text")
	case int:
		return rapid.SampledFrom(drawnInts).Draw(t, "number")
	}
	return last
}

// Whatever the layouts and however they change, both ways take and refuse the same.
func TestAlongTheLayoutIsAsTheLongWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair()
		args := rapid.SampledFrom([]func() []arg{doneArgs, leanArgs, sampledArgs}).Draw(t, "files")()
		for range rapid.IntRange(2, 12).Draw(t, "messages") {
			switch i := rapid.IntRange(0, len(args)-1).Draw(t, "place"); rapid.IntRange(0, 9).Draw(t, "change") {
			case 0:
				args[i].name = rapid.SampledFrom(drawnKeys).Draw(t, "name")
			case 1:
				j := rapid.IntRange(0, len(args)-1).Draw(t, "other place")
				args[i], args[j] = args[j], args[i]
			case 2:
				args = append(args, arg{rapid.SampledFrom(drawnKeys).Draw(t, "name"), drawValue(t, "app")})
			case 3:
				if len(args) > 1 {
					args = append(args[:i], args[i+1:]...)
				}
			default:
				args[i].value = drawValue(t, args[i].value)
			}
			b := message(messageDone, args...)
			if rapid.IntRange(0, 5).Draw(t, "how many") == 0 {
				b = append(b, b...)
			}
			b = append(b, make([]byte, slack)...)
			end := len(b) - slack
			if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
				end = rapid.IntRange(0, end).Draw(t, "end")
			}
			if rapid.IntRange(0, 7).Draw(t, "turn a bit") == 0 && end > 0 {
				b[rapid.IntRange(0, end-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			}
			switch rapid.IntRange(0, 3).Draw(t, "room") {
			case 0:
				p.notify(t, bytes.Clone(b[:end]))
			case 1:
				p.notify(t, b[:end])
			default:
				for range rapid.IntRange(1, 3).Draw(t, "times") {
					p.notify(t, roomy(b[:end]))
				}
			}
		}
	})
}

// The same from bytes: two payloads, one after the other, behind a message as HAProxy sends it.
func FuzzLayout(f *testing.F) {
	done, sampled := message(messageDone, leanArgs()...), message(messageDone, sampledArgs()...)
	f.Add(done, sampled)
	f.Add(append(bytes.Clone(done), done...), done[:80])
	f.Add(sampled[:len(sampled)-3], message(messageHeartbeat+"-1", heartbeatArgs()...))
	f.Add(message(messageDone, arg{"a-long-name-1", 1}, arg{"be", "x"}), message(messageDone, arg{"a-long-name-2", 1}, arg{"be", "x"}))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		p := newPair()
		// With room for stencils, and with as much as a layout needs.
		room := roomy
		for range 3 {
			p.notify(t, room(done))
		}
		p.notify(t, room(first))
		p.notify(t, room(first))
		room = func(b []byte) []byte { return append(make([]byte, 0, len(b)+2*slack), b...) }
		p.notify(t, room(first))
		p.notify(t, room(second))
		p.notify(t, room(first))
	})
}

// Every length, against the library's reader.
func TestVarints(t *testing.T) {
	f := func(b []byte) {
		t.Helper()
		want, n := varint.Uvarint(b[:min(len(b), maxVarint)])
		if n < 0 {
			want, n = 0, 0
		}
		if v, used := readVarint(b); v != want || used != n {
			t.Errorf("readVarint(% x) = %d, %d bytes; want %d, %d", b, v, used, want, n)
		}
	}
	var values []uint64
	for shift := range 64 {
		for d := range uint64(3) {
			values = append(values, 1<<shift+d-1, 240+1<<shift*16-1+d)
		}
	}
	for _, v := range values {
		b := putVarint(nil, v)
		for i := range len(b) + 1 {
			f(b[:i])
			f(append(bytes.Clone(b[:i]), bytes.Repeat([]byte{0xff}, 12)...))
			f(append(bytes.Clone(b[:i]), make([]byte, 12)...))
		}
	}
}

// A connection does not tell apart servers of the same last letters less well than others.
func TestKnownServersAreToldApart(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0), MaxServers: 200})
	s := newSession(m, newTally(), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	for round := range 3 {
		for i := range 150 {
			b := notifyFrame(1, message(messageDone, with(doneArgs(), arg{"be", fmt.Sprint("shop-", i%2)}, arg{"srv", fmt.Sprintf("%d-on-the-same-node", i)})...))
			s.feed(now, append(make([]byte, 0, len(b)+slack), b...))
		}
		if round == 1 {
			// All are forgotten, and what the connection keeps is of no more use.
			m.opts.Forget = 1
			m.Take(now.Add(time.Minute))
			m.opts.Forget = time.Hour
			now = now.Add(2 * time.Minute)
		}
	}
	reports := m.Take(now)
	if len(reports) != 2 {
		t.Fatalf("%d backends, want 2", len(reports))
	}
	for _, r := range reports {
		if len(r.Servers) != 75 || r.Completions != 75 {
			t.Errorf("%s: %d servers, %d completions; want 75 of each", r.Name, len(r.Servers), r.Completions)
		}
		for _, v := range r.Servers {
			if v.Requests != 1 {
				t.Errorf("%s/%s has %d requests, want 1", r.Name, v.Name, v.Requests)
			}
		}
	}
}

// What stands for names without a place is not taken for a name that was on the wire.
func TestOtherIsNotRememberedAsAName(t *testing.T) {
	table, now := newNameTable(), time.Unix(1000, 0)
	for i := range maxNames + 1 {
		table.of(now, fmt.Appendf(nil, "server-%d", i))
	}
	for i := len(table.known); i < maxNames; i++ {
		table.of(now, fmt.Appendf(nil, "more-%d", i))
	}
	sink, count := &spy{}, newTally()
	d := decoder{names: newNames(table), sink: sink, count: count}
	send := func(boot, name string) {
		b := message(messageDone, with(doneArgs(), arg{"be", name}, arg{"srv", name}, arg{"boot", boot})...)
		d.notify(now, append(make([]byte, 0, len(b)+slack), b...))
	}
	const strangers = 20 * maxKnown
	for i := range strangers {
		send("1795302633168830", fmt.Sprint("stranger-", i))
	}
	if n := len(sink.dones); n != strangers || sink.dones[n-1].Backend != Other || sink.dones[n-1].Server != Other || sink.dones[n-1].Boot != Other {
		t.Fatalf("%d samples, want %d of %s: %+v", n, strangers, Other, sink.dones[len(sink.dones)-1])
	}
	send(Other, "stranger-1")
	send("1795302633168830", Other)
	if n := len(sink.dones) - strangers; n != 0 || count.bad["name"] != 3 {
		t.Errorf("%d samples with the name %s, malformed %v; want none, and three bad names", n, Other, count.bad)
	}
}
