package srv

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func newTest(t testing.TB) *Answerer {
	t.Helper()
	return &Answerer{table: table{services: map[string]*service{}}, m: newMeters(nil)}
}

// port is an asker on this machine.
func port(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(n))
}

// srvQuestion asks for an upstream's servers; the result is the code, with " truncated" where it is.
func srvQuestion(t testing.TB, s *Answerer, name string, from int, tcp bool, now time.Time) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(question(name), dns.TypeSRV)
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(s.respond(wire, port(from), tcp, now)); err != nil {
		t.Fatal(err)
	}
	out := dns.RcodeToString[m.Rcode]
	if m.Truncated {
		out += " truncated"
	}
	return out
}

func TestTheSecondQuestionProvesTheFirstAnswer(t *testing.T) {
	s := newTest(t)
	now := time.Unix(1700000000, 0)
	put := func(one, two int) {
		t.Helper()
		if _, err := s.Put(Upstream{Name: "app", Servers: []Server{{Address: "10.0.0.1:1", Weight: one}, {Address: "10.0.0.2:1", Weight: two}}}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(from int) {
		t.Helper()
		now = now.Add(2 * time.Second)
		if code := srvQuestion(t, s, "app", from, false, now); code != "NOERROR" {
			t.Fatal(code)
		}
	}
	// want one, two: the weights, -1 for not known.
	want := func(one, two int) {
		t.Helper()
		got, known := s.Taken("app", now)
		if known != (one >= 0) {
			t.Fatalf("known %t: %v", known, got)
		}
		if known && (got["10.0.0.1:1"] != one || got["10.0.0.2:1"] != two) {
			t.Fatalf("%v, want %d and %d", got, one, two)
		}
	}
	want(-1, -1)
	put(3, 5)
	ask(1)
	want(-1, -1) // given; whether it was taken is not known
	ask(1)
	want(3, 5)
	put(3, 0)
	want(3, 5) // nobody has asked yet
	ask(2)     // a person
	want(3, 5)
	ask(1)
	want(3, 5) // nginx may still be at the addresses
	ask(2)
	want(3, 5) // what a person asks proves nothing of nginx
	ask(1)
	now = now.Add(13 * time.Second) // the person is gone; nginx is late
	want(3, 0)
	put(3, 9)
	ask(1)
	want(3, 9) // it may have begun to send there
	now = now.Add(16 * time.Second)
	want(-1, -1) // it asks no more
	ask(1)
	put(1, 0)
	ask(3) // a worker after a reload
	want(3, 9)
	ask(3)
	want(3, 9) // the old one may be there yet
	ask(3)
	now = now.Add(10 * time.Second)
	ask(3)
	want(1, 0)
}

func TestATruncatedAnswerProvesNothing(t *testing.T) {
	s := newTest(t)
	now := time.Unix(1700000000, 0)
	u := Upstream{Name: "app"}
	for i := range 40 {
		u.Servers = append(u.Servers, Server{Address: fmt.Sprintf("10.0.0.%d:1", i+1), Weight: 1})
	}
	if _, err := s.Put(u); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := srvQuestion(t, s, "app", 1, false, now); got != "NOERROR truncated" {
			t.Fatal(got)
		}
		if _, known := s.Taken("app", now); known {
			t.Fatal("known, and nobody came by TCP")
		}
	}
	if got := srvQuestion(t, s, "app", 77, true, now); got != "NOERROR" {
		t.Fatal(got)
	}
	if _, known := s.Taken("app", now); known {
		t.Fatal("known before the next question")
	}
	srvQuestion(t, s, "app", 1, false, now)
	if got, known := s.Taken("app", now); !known || len(got) != 40 {
		t.Fatalf("%t %v", known, got)
	}
}

// Whoever asks from many ports pushes nginx's out only when it has proven nothing.
func TestAskersAreBounded(t *testing.T) {
	s := newTest(t)
	now := time.Unix(1700000000, 0)
	if _, err := s.Put(Upstream{Name: "app", Servers: []Server{{Address: "10.0.0.1:1", Weight: 1}}}); err != nil {
		t.Fatal(err)
	}
	srvQuestion(t, s, "app", 1, false, now)
	srvQuestion(t, s, "app", 1, false, now)
	for p := range 1000 {
		srvQuestion(t, s, "app", 1000+p, false, now.Add(time.Second))
	}
	if n := len(s.table.services[question("app")].askers); n > maxAskers {
		t.Fatalf("%d askers are remembered", n)
	}
	if got, known := s.Taken("app", now); !known || got["10.0.0.1:1"] != 1 {
		t.Fatalf("%t %v", known, got)
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	var r rate
	now := time.Unix(1700000000, 0)
	yes := 0
	for range 3 * maxRate {
		if r.allow(now.Add(time.Duration(rand.IntN(1e9)))) {
			yes++
		}
	}
	if yes != maxRate || !r.allow(now.Add(time.Second)) {
		t.Fatalf("%d questions in a second, want %d", yes, maxRate)
	}
}

// While it closes it begins nothing and ends what was begun: a name that fails now would cost nginx that server.
func TestClosingAnswersAddressesAlone(t *testing.T) {
	s := newTest(t)
	if _, err := s.Put(Upstream{Name: "app", Servers: []Server{{Address: "10.0.0.1:1", Weight: 1}}}); err != nil {
		t.Fatal(err)
	}
	s.closing.Store(true)
	if got := srvQuestion(t, s, "app", 1, false, time.Unix(1, 0)); got != "SERVFAIL" {
		t.Fatal(got)
	}
	q := new(dns.Msg)
	q.SetQuestion("10-0-0-1.ip.tidegate.", dns.TypeA)
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(s.respond(wire, port(1), false, time.Unix(1, 0))); err != nil || len(m.Answer) != 1 {
		t.Fatalf("%v\n%v", err, m)
	}
}

func TestAddressNames(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1": "10-0-0-1.ip.tidegate.", "255.255.255.255": "255-255-255-255.ip.tidegate.", "::1": "00000000000000000000000000000001.ip.tidegate.",
	} {
		a := netip.MustParseAddr(text)
		back, ok := addressOf(addressName(a))
		if diff := cmp.Diff(want, addressName(a)); diff != "" || !ok || back != a {
			t.Errorf("%s: %s %v %t", text, diff, back, ok)
		}
	}
}

// FuzzRespond: whatever comes, the answer is one that a client can read, of an allowed length, and never one that would make nginx
// drop the servers it has.
func FuzzRespond(f *testing.F) {
	seed := func(change func(*dns.Msg)) {
		m := new(dns.Msg)
		m.SetQuestion(question("app"), dns.TypeSRV)
		change(m)
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, false)
		f.Add(wire, true)
	}
	seed(func(*dns.Msg) {})
	seed(func(m *dns.Msg) { m.SetEdns0(4096, true) })
	seed(func(m *dns.Msg) { m.SetQuestion("10-0-0-1.ip.tidegate.", dns.TypeA) })
	seed(func(m *dns.Msg) { m.SetQuestion(question("big"), dns.TypeSRV) })
	seed(func(m *dns.Msg) { m.SetUpdate("tidegate.") })
	s := newTest(f)
	big := Upstream{Name: "big"}
	for i := range 100 {
		big.Servers = append(big.Servers, Server{Address: fmt.Sprintf("10.0.0.%d:1", i+1), Weight: 1})
	}
	if _, err := s.Put(big, Upstream{Name: "app", Servers: []Server{{Address: "10.0.0.1:1", Weight: 1}}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire []byte, tcp bool) {
		out := s.respond(wire, port(1), tcp, time.Unix(1700000000, 0))
		if out == nil {
			return
		}
		if !tcp && len(out) > maxUDP {
			t.Fatalf("%d bytes over UDP", len(out))
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil || !m.Response || out[0] != wire[0] || out[1] != wire[1] {
			t.Fatalf("%v\n%x", err, out)
		}
		srvAsked := len(m.Question) == 1 && m.Question[0].Qtype == dns.TypeSRV
		if m.Rcode == dns.RcodeNameError || m.Rcode == dns.RcodeSuccess && srvAsked && len(m.Answer) == 0 && !m.Truncated {
			// An address's name has no servers, and nginx asks no such thing.
			if _, address := addressOf(dns.CanonicalName(m.Question[0].Name)); !address || m.Rcode == dns.RcodeNameError {
				t.Fatalf("nginx would drop its servers:\n%v", m)
			}
		}
	})
}
