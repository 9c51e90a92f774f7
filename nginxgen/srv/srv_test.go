package srv_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/nginxgen/srv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o srv.Options, upstreams ...srv.Upstream) *srv.Answerer {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := srv.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Put(upstreams...); err != nil {
		t.Fatal(err)
	}
	return s
}

// app has two servers that serve, one that does not, and a backup on IPv6.
var app = srv.Upstream{Name: "App_1.x", Servers: []srv.Server{
	{Address: "10.0.0.1:8001", Weight: 3}, {Address: "10.0.0.2:8002", Weight: 7}, {Address: "10.0.0.3:8003"},
	{Address: "[fd00::1]:8004", Weight: 1, Backup: true},
}}

const appQuestion = "_http._tcp.app_1.x.tidegate."

// ask sends one question with a real client and checks that the answer is to it.
func ask(t *testing.T, s *srv.Answerer, network, name string, kind uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	for range 3 { // a loaded machine may lose a datagram
		if in, _, err := c.Exchange(q, s.Addr()); err == nil {
			if in.Id != q.Id || !in.Response || !cmp.Equal(in.Question, q.Question) {
				t.Fatalf("the answer is not to the question:\n%v", in)
			}
			return in
		}
	}
	t.Fatalf("no answer to %s %s over %s", name, dns.TypeToString[kind], network)
	return nil
}

func servers(m *dns.Msg) []string {
	var out []string
	for _, rr := range m.Answer {
		r, ok := rr.(*dns.SRV)
		if !ok {
			out = append(out, "not an SRV record: "+rr.String())
			continue
		}
		out = append(out, fmt.Sprint(r.Priority, " ", r.Weight, " ", r.Port, " ", r.Target, " ttl ", r.Hdr.Ttl))
	}
	return out
}

func TestServersWeightsPrioritiesAndAddresses(t *testing.T) {
	s := start(t, srv.Options{}, app)
	want := []string{
		"1 3 8001 10-0-0-1.ip.tidegate. ttl 1", "1 7 8002 10-0-0-2.ip.tidegate. ttl 1",
		"2 1 8004 fd000000000000000000000000000001.ip.tidegate. ttl 1",
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, name := range []string{appQuestion, "_HTTP._tcp.App_1.X.Tidegate."} {
			if diff := cmp.Diff(want, servers(ask(t, s, network, name, dns.TypeSRV))); diff != "" {
				t.Fatalf("%s over %s: %s", name, network, diff)
			}
		}
	}
	four := ask(t, s, "udp", "10-0-0-1.ip.tidegate.", dns.TypeA)
	if len(four.Answer) != 1 || four.Answer[0].(*dns.A).A.String() != "10.0.0.1" {
		t.Fatalf("%v", four)
	}
	six := ask(t, s, "udp", "fd000000000000000000000000000001.ip.tidegate.", dns.TypeAAAA)
	if len(six.Answer) != 1 || six.Answer[0].(*dns.AAAA).AAAA.String() != "fd00::1" {
		t.Fatalf("%v", six)
	}
	// A name without an address of one kind has one of the other.
	for name, kind := range map[string]uint16{"10-0-0-1.ip.tidegate.": dns.TypeAAAA, "fd000000000000000000000000000001.ip.tidegate.": dns.TypeA, appQuestion: dns.TypeA} {
		if in := ask(t, s, "udp", name, kind); in.Rcode != dns.RcodeSuccess || len(in.Answer) != 0 || len(in.Ns) != 1 {
			t.Fatalf("%s: want no data, got\n%v", name, in)
		}
	}
}

// Go's own resolver follows the records as nginx does.
func TestGoResolver(t *testing.T) {
	s := start(t, srv.Options{}, app)
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Addr())
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, records, err := r.LookupSRV(ctx, srv.Service, "tcp", srv.Host("App_1.x"))
	if err != nil || len(records) != 3 {
		t.Fatalf("%v %v", records, err)
	}
	var addrs []string
	for _, rec := range records {
		ips, err := r.LookupHost(ctx, rec.Target)
		if err != nil || len(ips) != 1 {
			t.Fatalf("%s: %v %v", rec.Target, ips, err)
		}
		addrs = append(addrs, fmt.Sprint(ips[0], " ", rec.Port, " ", rec.Weight))
	}
	slices.Sort(addrs)
	if diff := cmp.Diff([]string{"10.0.0.1 8001 3", "10.0.0.2 8002 7", "fd00::1 8004 1"}, addrs); diff != "" {
		t.Fatal(diff)
	}
}

// No question is answered in a way that makes nginx drop its servers: NXDOMAIN, or no error and no record.
func TestWhatIsNotKnownIsNotDenied(t *testing.T) {
	s := start(t, srv.Options{})
	fail := func(name string, kind uint16, code int) {
		t.Helper()
		if in := ask(t, s, "udp", name, kind); in.Rcode != code || len(in.Answer) != 0 {
			t.Fatalf("%s: want %s, got\n%v", name, dns.RcodeToString[code], in)
		}
	}
	fail(appQuestion, dns.TypeSRV, dns.RcodeServerFailure) // not known yet
	if _, err := s.Put(app); err != nil {
		t.Fatal(err)
	}
	if got := servers(ask(t, s, "udp", appQuestion, dns.TypeSRV)); len(got) != 3 {
		t.Fatal(got)
	}
	fail("_http._tcp.other.tidegate.", dns.TypeSRV, dns.RcodeServerFailure)
	fail("10-0-0-256.ip.tidegate.", dns.TypeA, dns.RcodeServerFailure)
	fail("010-0-0-1.ip.tidegate.", dns.TypeA, dns.RcodeServerFailure)
	fail("00000000000000000000ffff0a0000-1.ip.tidegate.", dns.TypeAAAA, dns.RcodeServerFailure)
	fail("example.com.", dns.TypeA, dns.RcodeRefused)
	fail(".", dns.TypeNS, dns.RcodeRefused)
	s.Retain(nil)
	fail(appQuestion, dns.TypeSRV, dns.RcodeServerFailure)
}

func TestAnAnswerIsNeverEmpty(t *testing.T) {
	s := start(t, srv.Options{}, app)
	before := servers(ask(t, s, "udp", appQuestion, dns.TypeSRV))
	none := app
	none.Servers = []srv.Server{{Address: "10.0.0.1:8001"}}
	changed, err := s.Put(none, srv.Upstream{Name: "b", Servers: []srv.Server{{Address: "10.0.0.9:1", Weight: 1}}})
	if !changed || err == nil || err.Error() != "upstream App_1.x: no server would be left, so the last answer stays" {
		t.Fatalf("%t %v", changed, err)
	}
	if diff := cmp.Diff(before, servers(ask(t, s, "udp", appQuestion, dns.TypeSRV))); diff != "" {
		t.Fatal(diff)
	}
	if got := servers(ask(t, s, "udp", "_http._tcp.b.tidegate.", dns.TypeSRV)); len(got) != 1 {
		t.Fatalf("the other upstream's answer: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, srv.Options{}, app)
	for name, c := range map[string]struct {
		u    srv.Upstream
		want string
	}{
		"unix socket":   {srv.Upstream{Name: "a", Servers: []srv.Server{{Address: "unix:/run/a.sock", Weight: 1}}}, "no place for a unix socket"},
		"host name":     {srv.Upstream{Name: "a", Servers: []srv.Server{{Address: "db:80", Weight: 1}}}, "an IP address and a port"},
		"port 0":        {srv.Upstream{Name: "a", Servers: []srv.Server{{Address: "10.0.0.1:0", Weight: 1}}}, "an IP address and a port"},
		"twice":         {srv.Upstream{Name: "a", Servers: []srv.Server{{Address: "10.0.0.1:1", Weight: 1}, {Address: "10.0.0.1:1", Weight: 2}}}, "the address is there twice"},
		"heavy":         {srv.Upstream{Name: "a", Servers: []srv.Server{{Address: "10.0.0.1:1", Weight: 65536}}}, "weight 65536 is not allowed: 0 to 65535"},
		"many":          {srv.Upstream{Name: "a", Servers: make([]srv.Server, 1001)}, "1001 servers, at most 1000"},
		"empty label":   {srv.Upstream{Name: "a..b"}, "cannot be asked for through DNS"},
		"long label":    {srv.Upstream{Name: strings.Repeat("a", 64)}, "cannot be asked for through DNS"},
		"not for a DNS": {srv.Upstream{Name: "a b"}, "cannot be asked for through DNS"},
		"no name":       {srv.Upstream{}, "cannot be asked for through DNS"},
		"no servers":    {srv.Upstream{Name: "a"}, "no server would be left"},
	} {
		if changed, err := s.Put(c.u); changed || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %t %v, want %q", name, changed, err, c.want)
		}
	}
	for _, listen := range []string{"0.0.0.0:53", "10.0.0.1:53", "localhost:53", "", "127.0.0.1"} {
		if s, err := srv.Start(srv.Options{Listen: listen}); err == nil || !strings.Contains(err.Error(), "a loopback address and a port") {
			t.Errorf("%s: %v %v", listen, s, err)
		}
	}
	if _, err := srv.Start(srv.Options{Listen: s.Addr()}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func many(name string, n int, six bool) srv.Upstream {
	u := srv.Upstream{Name: name}
	for i := range n {
		addr := fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, 8000+i)
		if six {
			addr = fmt.Sprintf("[fd00::%x]:%d", i+1, 8000+i)
		}
		u.Servers = append(u.Servers, srv.Server{Address: addr, Weight: i%64 + 1})
	}
	return u
}

// An answer that is too long for the asker comes truncated, and whole over TCP; 1,000 servers with IPv6 addresses fit.
func TestLongAnswersComeOverTCP(t *testing.T) {
	long := strings.Repeat("many", 15) + "." + strings.Repeat("x.", 69) + "x"
	s := start(t, srv.Options{}, many(long, 1000, true))
	name := "_http._tcp." + srv.Host(long) + "."
	in := ask(t, s, "udp", name, dns.TypeSRV)
	if !in.Truncated || len(in.Answer) != 0 || in.Rcode != dns.RcodeSuccess {
		t.Fatalf("want a truncated answer, got\n%v", in)
	}
	if got := len(ask(t, s, "tcp", name, dns.TypeSRV).Answer); got != 1000 {
		t.Fatalf("%d records over TCP", got)
	}
	name = "_http._tcp.many.tidegate."
	for _, n := range []int{5, 16, 40} {
		if _, err := s.Put(many("many", n, false)); err != nil {
			t.Fatal(err)
		}
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeSRV)
		for _, size := range []uint16{0, 512, 1232, 4096, 65000} {
			if size > 0 {
				q.Extra = nil
				q.SetEdns0(size, false)
			}
			c := dns.Client{Timeout: 5 * time.Second, UDPSize: 65000}
			in, _, err := c.Exchange(q, s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			in.Compress = true
			wire, err := in.Pack()
			if err != nil {
				t.Fatal(err)
			}
			fits := len(in.Answer) == n
			if in.Truncated == fits || len(wire) > max(512, min(int(size), 4096)) {
				t.Fatalf("%d servers, %d bytes allowed: truncated %t with %d records in %d bytes", n, size, in.Truncated, len(in.Answer), len(wire))
			}
			if want := n <= 5 || size >= 4096 || n == 16 && size >= 1232; fits != want {
				t.Fatalf("%d servers in %d bytes: whole %t, want %t", n, size, fits, want)
			}
		}
	}
}

// raw sends bytes and returns what comes back; nil when nothing does before the answer to a question sent after it.
func raw(t *testing.T, s *srv.Answerer, wire []byte) []byte {
	t.Helper()
	c, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	after := new(dns.Msg)
	after.SetQuestion("10-0-0-1.ip.tidegate.", dns.TypeA)
	after.Id = 0xffff
	last, err := after.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range [][]byte{wire, last} {
		if _, err := c.Write(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if n > 2 && buf[0] == 0xff && buf[1] == 0xff {
		return nil
	}
	return buf[:n]
}

func TestTheWireIsNotTrusted(t *testing.T) {
	set := metrics.NewSet()
	s := start(t, srv.Options{Metrics: set}, app)
	good := func(change func(*dns.Msg)) []byte {
		m := new(dns.Msg)
		m.SetQuestion(appQuestion, dns.TypeSRV)
		m.Id = 7
		change(m)
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	for name, c := range map[string]struct {
		wire []byte
		code int // -1: no answer
	}{
		"an answer":        {good(func(m *dns.Msg) { m.Response = true }), -1},
		"nothing":          {[]byte{1}, -1},
		"half a header":    {good(func(*dns.Msg) {})[:11], -1},
		"too long":         {append(good(func(*dns.Msg) {}), make([]byte, 1100)...), -1},
		"half a question":  {good(func(*dns.Msg) {})[:20], dns.RcodeFormatError},
		"no question":      {good(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		"two questions":    {good(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"an update":        {good(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"of another class": {good(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
	} {
		out := raw(t, s, c.wire)
		if c.code < 0 {
			if out != nil {
				t.Errorf("%s was answered: %x", name, out)
			}
			continue
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil || m.Rcode != c.code || m.Id != 7 || !m.Response || len(m.Answer) != 0 {
			t.Errorf("%s: %v, want %s\n%v", name, err, dns.RcodeToString[c.code], m)
		}
	}
	// Over TCP a message that is too long, or is no question, ends the connection.
	for _, wire := range [][]byte{{0xff, 0xff, 1}, {0, 1, 1}} {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(wire); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%x: %d bytes, %v", wire, n, err)
		}
		c.Close()
	}
	if n := metric(t, set, `tidegate_nginx_dns_queries_total{type="none",answer="formerr"}`); n != 3 {
		t.Errorf("%v malformed questions were counted", n)
	}
}

func metric(t *testing.T, set *metrics.Set, name string) float64 {
	t.Helper()
	var b bytes.Buffer
	set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			var f float64
			if _, err := fmt.Sscan(v, &f); err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return -2
}

func TestMetricsOutliveNothing(t *testing.T) {
	set := metrics.NewSet()
	s := start(t, srv.Options{Metrics: set}, app)
	const age = `tidegate_nginx_dns_query_age_seconds{upstream="App_1.x"}`
	if got := metric(t, set, age); got != -1 {
		t.Fatalf("the age is %v before the first question", got)
	}
	ask(t, s, "udp", appQuestion, dns.TypeSRV)
	if got := metric(t, set, age); got < 0 || got > 60 || s.LastAsked("App_1.x").IsZero() {
		t.Fatalf("the age is %v", got)
	}
	if n := metric(t, set, `tidegate_nginx_dns_queries_total{type="srv",answer="ok"}`); n != 1 {
		t.Fatalf("%v questions were counted", n)
	}
	s.Retain([]string{"other"})
	if got := metric(t, set, age); got != -2 {
		t.Fatalf("the series outlives the upstream: %v", got)
	}
}

// There are never more than 128 connections, and old ones go on.
func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, srv.Options{}, app)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 140 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	works := 0
	for _, c := range conns {
		q := new(dns.Msg)
		q.SetQuestion(appQuestion, dns.TypeSRV)
		co := dns.Conn{Conn: c}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if err := co.WriteMsg(q); err != nil {
			continue
		}
		if _, err := co.ReadMsg(); err == nil {
			works++
		} else if !strings.Contains(err.Error(), "reset") && err != io.EOF {
			t.Fatal(err)
		}
	}
	if works != 128 {
		t.Fatalf("%d of 140 connections were served, want 128", works)
	}
}
