package spoa

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

func decode(payload ...[]byte) (*spy, *tally) {
	sink, count := &spy{}, newTally()
	d := decoder{names: newNames(newNameTable()), sink: sink, count: count}
	var all []byte
	for _, p := range payload {
		all = append(all, p...)
	}
	d.notify(time.Unix(1000, 0), all)
	return sink, count
}

func TestDoneMessage(t *testing.T) {
	const ms = time.Millisecond
	good := Sample{
		ID: []byte("3af8b9dc-37fa-4c6d-ae75-b9cd2ea78cb3"), Boot: "1795302633168830", Backend: "app", Server: "s1", Status: 200,
		Queue: 2300 * time.Microsecond, Connect: ms, Response: 40500 * time.Microsecond,
		ServerConns: 3, BackendConns: 5, Queued: 1, Counters: Counters{Started: 10, Current: 5, Known: true},
	}
	sample := func(change func(s *Sample)) *Sample {
		s := good
		change(&s)
		return &s
	}
	stamp := 1795302633168830
	tests := map[string]struct {
		change []arg
		want   *Sample
		bad    map[string]int
	}{
		"as 2.6 sends it":            {nil, sample(func(*Sample) {}), nil},
		"an unknown argument":        {[]arg{{"new", "x"}, {"newer", nil}, {"newest", []byte{typeddata.TypeIPv4, 1, 2, 3, 4}}}, sample(func(*Sample) {}), nil},
		"no id":                      {[]arg{{"id", nil}}, sample(func(s *Sample) { s.ID = nil }), nil},
		"a long id":                  {[]arg{{"id", strings.Repeat("x", 500)}}, sample(func(s *Sample) { s.ID = []byte(strings.Repeat("x", 64)) }), nil},
		"an id of the wrong type":    {[]arg{{"id", 5}}, sample(func(s *Sample) { s.ID = nil }), map[string]int{"type": 1}},
		"no server, as from a cache": {[]arg{{"srv", nil}}, sample(func(s *Sample) { s.Server = "" }), nil},
		"no status":                  {[]arg{{"st", nil}}, sample(func(s *Sample) { s.Status = Absent }), nil},
		"retries as a number":        {[]arg{{"rc", 2}}, sample(func(s *Sample) { s.Retries = 2 }), nil},
		"a redispatch in the text":   {[]arg{{"rc", "+1"}}, sample(func(s *Sample) { s.Retries, s.Redispatched = 1, true }), nil},
		"a redispatch flag":          {[]arg{{"rd", true}}, sample(func(s *Sample) { s.Redispatched = true }), nil},
		"retries that are none":      {[]arg{{"rc", "x"}}, sample(func(s *Sample) { s.Retries = Absent }), map[string]int{"gauge": 1}},
		"retries of many digits":     {[]arg{{"rc", "99999999"}}, sample(func(s *Sample) { s.Retries = Absent }), map[string]int{"gauge": 1}},
		"negative timers": {[]arg{{"tw", -1}, {"tc", -1}, {"t1", nil}}, sample(func(s *Sample) {
			s.Queue, s.Connect, s.Response = Absent, Absent, Absent
		}), nil},
		"only whole milliseconds, as without stamps": {[]arg{{"t0", nil}, {"t1", nil}, {"t2", nil}, {"tr", 40}}, sample(func(s *Sample) {
			s.Queue, s.Connect, s.Response = 2*ms, ms, 40*ms
		}), nil},
		"no queue: the microseconds are the connect's": {[]arg{{"tw", 0}, {"tc", 3}}, sample(func(s *Sample) { s.Queue, s.Connect = 0, 3300*time.Microsecond }), nil},
		"time before the queue is not the queue's":     {[]arg{{"t0", stamp - 5_000_000}}, sample(func(s *Sample) { s.Queue, s.Connect = 2*ms, ms }), nil},
		"a clock set back during the request":          {[]arg{{"t2", stamp - 1000}}, sample(func(s *Sample) { s.Response = Absent }), nil},
		"a clock set on during the request, with %Tr":  {[]arg{{"t2", stamp + 60_000_000}, {"tr", 40}}, sample(func(s *Sample) { s.Response = 40 * ms }), nil},
		"a time of the wrong type":                     {[]arg{{"tw", "2"}}, sample(func(s *Sample) { s.Queue = Absent }), map[string]int{"type": 1}},
		"a negative gauge: the counter says it, too":   {[]arg{{"conn", -5}}, sample(func(*Sample) {}), map[string]int{"gauge": 1}},
		"a negative gauge, no counter":                 {[]arg{{"conn", -5}, {"cur", nil}}, sample(func(s *Sample) { s.BackendConns, s.Counters = Absent, Counters{Started: 10} }), map[string]int{"gauge": 1}},
		"an enormous gauge":                            {[]arg{{"q", 1 << 40}}, sample(func(s *Sample) { s.Queued = Absent }), map[string]int{"gauge": 1}},
		"answers, with a sample":                       {[]arg{{"answered", 7}}, sample(func(s *Sample) { s.Counters.Answered, s.Counters.AnswersKnown = 7, true }), nil},
		"answers that are no number":                   {[]arg{{"answered", "7"}}, sample(func(*Sample) {}), map[string]int{"type": 1}},
		"answers beyond 32 bits":                       {[]arg{{"answered", 1 << 32}}, sample(func(*Sample) {}), map[string]int{"counter": 1}},
		"a counter that is missing":                    {[]arg{{"cur", nil}}, sample(func(s *Sample) { s.Counters = Counters{Started: 10} }), nil},
		"a counter beyond 32 bits":                     {[]arg{{"started", 1 << 32}}, sample(func(s *Sample) { s.Counters = Counters{Current: 5} }), map[string]int{"counter": 1}},
		"no backend":                                   {[]arg{{"be", nil}}, nil, map[string]int{"name": 1}},
		"a backend of the wrong type":                  {[]arg{{"be", 7}}, nil, map[string]int{"type": 1}},
		"a backend with a quote":                       {[]arg{{"be", `a"b`}}, nil, map[string]int{"name": 1}},
		"a backend with a line break":                  {[]arg{{"be", "a\nb"}}, nil, map[string]int{"name": 1}},
		"a backend name too long":                      {[]arg{{"be", strings.Repeat("b", 129)}}, nil, map[string]int{"name": 1}},
		"a server name that is none":                   {[]arg{{"srv", "s 1"}}, nil, map[string]int{"name": 1}},
		"a status below the lowest":                    {[]arg{{"st", 99}}, nil, map[string]int{"status": 1}},
		"a status above the highest":                   {[]arg{{"st", 600}}, nil, map[string]int{"status": 1}},
		"a queue time above a day":                     {[]arg{{"tw", 86_400_001}}, nil, map[string]int{"timer": 1}},
		"a response time above a day":                  {[]arg{{"t2", stamp + 86_400_000_000 + 3301}}, nil, map[string]int{"timer": 1}},
		"stamps without a sense":                       {[]arg{{"t0", 1}}, nil, map[string]int{"timer": 1}},
		"the largest integers":                         {[]arg{{"t2", 1<<63 - 1}}, nil, map[string]int{"timer": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink, count := decode(message(messageDone, with(doneArgs(), tt.change...)...), message(messageHeartbeat+"-1", heartbeatArgs()...))
			var want []Sample
			if tt.want != nil {
				want = []Sample{*tt.want}
			}
			if d := cmp.Diff(want, sink.dones, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("samples (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.bad, count.bad, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("malformed (-want +got):\n%s", d)
			}
			if len(sink.beats) != 1 {
				t.Error("the message after it was lost")
			}
		})
	}
}

// The shipped files for 2.6 send several times and numbers in one text, and no number that another argument tells.
func TestLogTimes(t *testing.T) {
	const ms = time.Millisecond
	good := Sample{
		Boot: "1795302633168830", Backend: "app", Server: "s1", Status: 200, Queue: 2300 * time.Microsecond, Connect: ms, Response: 40500 * time.Microsecond,
		ServerConns: 3, BackendConns: 5, Queued: 1, Counters: Counters{Started: 10, Current: 5, Known: true},
	}
	sample := func(change func(s *Sample)) *Sample {
		s := good
		change(&s)
		return &s
	}
	nothing := sample(func(s *Sample) {
		s.Queue, s.Connect, s.Response, s.Retries, s.ServerConns = Absent, Absent, Absent, Absent, Absent
	})
	const t1 = "/1795302633172130"
	tests := map[string]struct {
		w    any
		want *Sample
		bad  map[string]int
	}{
		"as 2.6 sends it":      {"2/1/0/3" + t1, sample(func(*Sample) {}), nil},
		"a redispatch":         {"2/1/+1/3" + t1, sample(func(s *Sample) { s.Retries, s.Redispatched = 1, true }), nil},
		"retries":              {"2/1/2/3" + t1, sample(func(s *Sample) { s.Retries = 2 }), nil},
		"no queue":             {"0/3/0/3" + t1, sample(func(s *Sample) { s.Queue, s.Connect = 0, 3300*time.Microsecond }), nil},
		"no connection":        {"2/-1/0/0" + t1, sample(func(s *Sample) { s.Queue, s.Connect, s.ServerConns = 2*ms, Absent, 0 }), nil},
		"none":                 {nil, nothing, nil},
		"an empty one":         {"", nothing, nil},
		"a number":             {5, nil, map[string]int{"type": 1}},
		"too few parts":        {"2/1/0/3", nil, map[string]int{"timer": 1}},
		"too many parts":       {"2/1/0/3/4" + t1, nil, map[string]int{"timer": 1}},
		"an empty part":        {"2//0/3" + t1, nil, map[string]int{"timer": 1}},
		"a part of letters":    {"2/x/0/3" + t1, nil, map[string]int{"timer": 1}},
		"a sign alone":         {"2/-/0/3" + t1, nil, map[string]int{"timer": 1}},
		"too many digits":      {"2/1/0/3/1795302633172130000", nil, map[string]int{"timer": 1}},
		"bad retries":          {"2/1/x/3" + t1, nil, map[string]int{"timer": 1}},
		"a queue above a day":  {"86400001/1/0/3" + t1, nil, map[string]int{"timer": 1}},
		"too many on a server": {"2/1/0/2147483648" + t1, nil, map[string]int{"timer": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// The second and the third are read along the layout of the first, but for what is refused.
			first, again := message(messageDone, leanArgs()...), message(messageDone, with(leanArgs(), arg{"w", tt.w})...)
			sink, count := decode(first, again, first, message(messageHeartbeat+"-1", heartbeatArgs()...))
			want := []Sample{good, good}
			if tt.want != nil {
				want = []Sample{good, *tt.want, good}
			}
			if d := cmp.Diff(want, sink.dones, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("samples (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.bad, count.bad, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("malformed (-want +got):\n%s", d)
			}
			// And the same as the very first, where nothing is known of it.
			alone, _ := decode(again)
			if tt.want != nil && (len(alone.dones) != 1 || !cmp.Equal(alone.dones[0], *tt.want, cmpopts.EquateEmpty())) {
				t.Errorf("alone: %+v, want %+v", alone.dones, *tt.want)
			}
			if len(sink.beats) != 1 {
				t.Error("the message after it was lost")
			}
		})
	}
}

// The short message has no number of open requests of its own: while no heartbeat tells it, the counter of those still there
// does, and arrivals are known by the message, not by the heartbeat alone.
func TestShortMessagesTellGaugesAndArrivals(t *testing.T) {
	m := NewMeter(MeterOptions{Began: time.Unix(900, 0)})
	s := newSession(m, newTally(), newNameTable(), 16380, func(reason, string) {})
	now := time.Unix(1000, 0)
	s.feed(now, goodHello())
	send := func(started, current int) BackendReport {
		t.Helper()
		b := notifyFrame(1, message(messageDone, with(leanArgs(), arg{"started", started}, arg{"cur", current})...))
		s.feed(now, append(make([]byte, 0, len(b)+slack), b...))
		reports := m.Take(now)
		if len(reports) != 1 {
			t.Fatalf("%d backends, want 1", len(reports))
		}
		return reports[0]
	}
	send(10, 5)
	for i, want := range []struct{ started, current int }{{12, 6}, {12, 5}, {17, 2}} {
		now = now.Add(30 * time.Millisecond)
		r := send(want.started, want.current)
		if r.InFlight != want.current || r.Queued != 1 || r.Servers[0].InFlight != 3 || int(r.Started) != want.started {
			t.Errorf("message %d: %d open, %d queued, %d on the server, %d arrived; want %d, 1, 3, %d", i, r.InFlight, r.Queued, r.Servers[0].InFlight, r.Started, want.current, want.started)
		}
	}
}

func TestHeartbeatMessage(t *testing.T) {
	good := Gauges{
		Boot: "1795302633168830", Backend: "app", InFlight: 5, Queued: 1, Up: 2,
		Counters: Counters{Started: 10, Current: 5, NoResponse: 1, Known: true},
		Servers:  []ServerGauge{{"s1", 3}, {"s2", 1}},
	}
	tests := map[string]struct {
		change []arg
		want   func(g *Gauges)
		bad    map[string]int
	}{
		"as HAProxy sends it":           {nil, func(*Gauges) {}, nil},
		"answers, with a sample":        {[]arg{{"answered", 7}}, func(g *Gauges) { g.Counters.Answered, g.Counters.AnswersKnown = 7, true }, nil},
		"a server with a strange name":  {[]arg{{"c.web:80_x-1.y", 4}}, func(g *Gauges) { g.Servers = append(g.Servers, ServerGauge{"web:80_x-1.y", 4}) }, nil},
		"a server name that is none":    {[]arg{{"c.", 4}, {"c.a b", 4}}, func(*Gauges) {}, map[string]int{"name": 2}},
		"a server without a number":     {[]arg{{"c.s1", nil}}, func(g *Gauges) { g.Servers = g.Servers[1:] }, nil},
		"a server with a negative one":  {[]arg{{"c.s1", -1}}, func(g *Gauges) { g.Servers = g.Servers[1:] }, map[string]int{"gauge": 1}},
		"gauges that are missing":       {[]arg{{"conn", nil}, {"q", nil}, {"up", nil}}, func(g *Gauges) { g.InFlight, g.Queued, g.Up = Absent, Absent, Absent }, nil},
		"a gauge of the wrong type":     {[]arg{{"conn", "5"}}, func(g *Gauges) { g.InFlight = Absent }, map[string]int{"type": 1}},
		"an argument of a later agent":  {[]arg{{"later", 1}}, func(*Gauges) {}, nil},
		"no boot, as without a counter": {[]arg{{"boot", nil}}, func(g *Gauges) { g.Boot = "" }, nil},
		"no backend":                    {[]arg{{"be", nil}}, nil, map[string]int{"name": 1}},
		"a backend name that is none":   {[]arg{{"be", "é"}}, nil, map[string]int{"name": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink, count := decode(message(messageHeartbeat+"-1", with(heartbeatArgs(), tt.change...)...))
			var want []Gauges
			if tt.want != nil {
				g := good
				g.Servers = append([]ServerGauge(nil), good.Servers...)
				tt.want(&g)
				want = []Gauges{g}
			}
			if d := cmp.Diff(want, sink.beats, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("gauges (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.bad, count.bad, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("malformed (-want +got):\n%s", d)
			}
		})
	}
}

// What cannot be read ends the frame's messages there; those before it count.
func TestBrokenPayloads(t *testing.T) {
	whole := message(messageDone, doneArgs()...)
	tests := map[string]struct {
		payload []byte
		dones   int
		reason  string
	}{
		"nothing":                          {nil, 0, ""},
		"only a name":                      {putString(nil, messageDone), 0, "message"},
		"a name longer than the frame":     {[]byte{200, 'x'}, 0, "message"},
		"a varint without end":             {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0, "message"},
		"a length near 2^64":               {append(putVarint(nil, 1<<64-2), "tidegate"...), 0, "message"},
		"more arguments than there are":    {append(putString(nil, messageDone), 255), 0, "message"},
		"a type that does not exist":       {append(append(putString(nil, messageDone), 1), append(putString(nil, "st"), 15)...), 0, "message"},
		"an address cut short":             {append(append(putString(nil, messageDone), 1), append(putString(nil, "x"), typeddata.TypeIPv6, 1)...), 0, "message"},
		"a second message without end":     {append(append([]byte(nil), whole...), putString(nil, messageDone)...), 1, "message"},
		"an unknown message before":        {append(message("other", doneArgs()...), whole...), 1, "unknown_message"},
		"an unknown message without end":   {append(putString(nil, "other"), 3), 0, "unknown_message"},
		"a message with no arguments":      {message(messageDone), 0, "name"},
		"a heartbeat with no arguments":    {message(messageHeartbeat), 0, "name"},
		"a message with an empty name":     {message(""), 0, "unknown_message"},
		"a second value that is cut short": {whole[:len(whole)-1], 0, "message"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink, count := decode(tt.payload)
			if len(sink.dones) != tt.dones || (count.bad[tt.reason] == 0) != (tt.reason == "") {
				t.Errorf("%d samples, malformed %v; want %d and %q", len(sink.dones), count.bad, tt.dones, tt.reason)
			}
		})
	}
	// Cut anywhere, the decoder must neither fail nor take half a message.
	for i := range whole {
		if sink, _ := decode(whole[:i]); len(sink.dones) != 0 {
			t.Errorf("%d of %d bytes were taken for a whole message", i, len(whole))
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	n, now := newNames(newNameTable()), time.Unix(1000, 0)
	for i := range 2*maxNames + 1 {
		n.of(now, fmt.Appendf(nil, "server-%d", i))
	}
	if len(n.table.known) > maxNames {
		t.Errorf("%d names kept, at most %d are allowed", len(n.table.known), maxNames)
	}
	if s, ok := n.of(now, []byte("one-too-many")); !ok || s != Other {
		t.Errorf("a name beyond the bound is %q, want %q", s, Other)
	}
	if s, _ := n.of(now.Add(namesResetEvery), []byte("later")); s != "later" {
		t.Errorf("a minute later a new name is %q, want its own", s)
	}
	if s, ok := n.of(now, nil); ok {
		t.Errorf("nothing is taken for the name %q", s)
	}
}

// Connections share one copy of a name.
func TestNamesAreShared(t *testing.T) {
	table, now := newNameTable(), time.Unix(1000, 0)
	a, _ := newNames(table).of(now, []byte("app"))
	b, _ := newNames(table).of(now, []byte("app"))
	if unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("two connections hold two copies of one name")
	}
}
