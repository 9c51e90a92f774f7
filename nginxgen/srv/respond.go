package srv

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxQuestion is the longest message that is read, in bytes; a question has at most 255 for the name and some for EDNS.
	maxQuestion = 1024
	// maxUDP is the longest answer over UDP that is given to askers who allow it; it is nginx's buffer.
	maxUDP = 4096
	// headerLen is the length of a DNS message's header.
	headerLen = 12
)

// respond answers one message from the wire; nil is no answer: what is no question is not answered, or two servers could keep
// each other busy.
func (s *Answerer) respond(wire []byte, from netip.AddrPort, tcp bool, now time.Time) []byte {
	if len(wire) < headerLen || len(wire) > maxQuestion || wire[2]&0x80 != 0 {
		s.m.query("none", "ignored")
		return nil
	}
	var q dns.Msg
	if err := q.Unpack(wire); err != nil || len(q.Question) != 1 && q.Opcode == dns.OpcodeQuery {
		s.m.query("none", "formerr")
		return failure(wire, dns.RcodeFormatError)
	}
	m := new(dns.Msg)
	m.SetReply(&q)
	m.Authoritative, m.Compress = true, true
	size := 512
	if opt := q.IsEdns0(); opt != nil {
		size = min(max(size, int(opt.UDPSize())), maxUDP)
		m.SetEdns0(maxUDP, false)
	}
	if tcp {
		size = dns.MaxMsgSize
	}
	kind, answer := s.fill(m, &q, size, from, tcp, now)
	out, err := m.Pack()
	if err != nil {
		// Nothing that put lets in can do this.
		s.m.query(kind, "servfail")
		return failure(wire, dns.RcodeServerFailure)
	}
	s.m.query(kind, answer)
	return out
}

// fill writes the answer into m and returns the words for the metrics: the type asked for and what became of it.
func (s *Answerer) fill(m, q *dns.Msg, size int, from netip.AddrPort, tcp bool, now time.Time) (kind, answer string) {
	if q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return "other", "notimp"
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	kind = map[uint16]string{dns.TypeSRV: "srv", dns.TypeA: "a", dns.TypeAAAA: "aaaa"}[question.Qtype]
	if kind == "" {
		kind = "other"
	}
	if question.Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeRefused
		return kind, "refused"
	}
	if addr, ok := addressOf(name); ok {
		return kind, address(m, question, addr)
	}
	if a, ok := s.table.records(name); ok {
		return kind, s.service(m, question, name, a, size, from, tcp, now)
	}
	if dns.IsSubDomain(zone, name) {
		// Ours, and not known, or not known yet. "There is no such name" would make nginx drop every server it has.
		m.Rcode = dns.RcodeServerFailure
		return kind, "servfail"
	}
	m.Rcode = dns.RcodeRefused
	return kind, "refused"
}

// service answers for an upstream.
func (s *Answerer) service(m *dns.Msg, q dns.Question, name string, a *answer, size int, from netip.AddrPort, tcp bool, now time.Time) string {
	switch {
	case q.Qtype != dns.TypeSRV:
		m.Ns = soa()
		return "nodata"
	case s.closing.Load():
		// What nginx has begun it may end; it begins nothing new.
		m.Rcode = dns.RcodeServerFailure
		return "servfail"
	}
	m.Answer = a.records
	truncated := m.Len() > size
	if truncated {
		m.Answer, m.Truncated = nil, true
	}
	s.table.asked(name, from, a, tcp, truncated, now)
	if truncated {
		return "truncated"
	}
	return "ok"
}

func address(m *dns.Msg, q dns.Question, a netip.Addr) string {
	hdr := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	switch {
	case q.Qtype == dns.TypeA && a.Is4():
		m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: a.AsSlice()}}
	case q.Qtype == dns.TypeAAAA && a.Is6():
		m.Answer = []dns.RR{&dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()}}
	default:
		m.Ns = soa()
		return "nodata"
	}
	return "ok"
}

// soa says for how long it may be remembered that there is no such record.
func soa() []dns.RR {
	return []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  zone, Mbox: zone, Serial: 1, Refresh: ttl, Retry: ttl, Expire: ttl, Minttl: ttl,
	}}
}

// failure is an answer that is nothing but the header of the question and a code.
func failure(wire []byte, code int) []byte {
	out := make([]byte, headerLen)
	copy(out, wire[:4])
	out[2] = out[2]&0x79 | 0x80 // an answer, with the question's opcode and RD
	out[3] = byte(code)
	return out
}
