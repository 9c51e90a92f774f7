package srv

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkRespond: what a question costs, without the sockets.
func BenchmarkRespond(b *testing.B) {
	s := newTest(b)
	u := Upstream{Name: "app"}
	for i := range 20 {
		u.Servers = append(u.Servers, Server{Address: fmt.Sprintf("10.0.0.%d:8000", i+1), Weight: i + 1})
	}
	if _, err := s.Put(u); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, question string
		kind           uint16
		tcp            bool
	}{{"srv-20-tcp", question("app"), dns.TypeSRV, true}, {"srv-20-truncated", question("app"), dns.TypeSRV, false}, {"a", "10-0-0-1.ip.tidegate.", dns.TypeA, false}} {
		b.Run(c.name, func(b *testing.B) {
			q := new(dns.Msg)
			q.SetQuestion(c.question, c.kind)
			wire, err := q.Pack()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if s.respond(wire, port(1), c.tcp, time.Unix(1, 0)) == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}
