package srv

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxServers bounds the servers of an upstream: their answer fits into one message over TCP, 65,535 bytes.
	maxServers = 1000
	// maxAskers bounds the ports that are remembered for an upstream: one per nginx worker that asks for it, and a few people.
	maxAskers = 16
	// quiet is how long an asker is believed to be there: nginx asks every two seconds, or eight after a failure.
	quiet = 15 * time.Second
	// ttl of all records, in seconds.
	ttl = 1
)

// Upstream is what shall be answered for one upstream.
type Upstream struct {
	// Name is nginx's; CheckName says which are good.
	Name string
	// Servers may have at most 1,000 entries, with different addresses.
	Servers []Server
}

// Server is a server of an upstream.
type Server struct {
	// Address is "ip:port" or "[ipv6]:port".
	Address string
	// Weight is 1 to 65,535; a server with 0 is left out of the answer.
	Weight int
	// Backup serves when no other does.
	Backup bool
}

// answer is one immutable set of records.
type answer struct {
	records []dns.RR
	weights map[string]int // by address
}

// asker is one address that asks for an upstream: a worker of nginx, as a rule.
type asker struct {
	last time.Time
	// given is the last answer; whole is false as long as only its truncated form was given.
	given *answer
	whole bool
	// taken is the last answer that was followed by another question.
	taken *answer
}

// service is one upstream that is answered for.
type service struct {
	name   string
	answer *answer
	asked  time.Time
	askers map[netip.AddrPort]*asker
}

// table is all that is answered, by question.
type table struct {
	mu       sync.Mutex
	services map[string]*service
}

// put makes an upstream's servers the answer, and tells whether that changes it. Without a server that serves, the last answer
// stays and an error says so.
func (t *table) put(u Upstream) (bool, error) {
	if err := CheckName(u.Name); err != nil {
		return false, err
	}
	next, err := newAnswer(u)
	if err != nil {
		return false, fmt.Errorf("upstream %s: %w", u.Name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	q := question(u.Name)
	s := t.services[q]
	if s == nil {
		s = &service{name: u.Name, askers: map[netip.AddrPort]*asker{}}
		t.services[q] = s
	}
	if s.answer != nil && slices.EqualFunc(s.answer.records, next.records, func(a, b dns.RR) bool { return a.String() == b.String() }) {
		return false, nil
	}
	s.answer = next
	return true, nil
}

func newAnswer(u Upstream) (*answer, error) {
	if len(u.Servers) > maxServers {
		return nil, fmt.Errorf("%d servers, at most %d can be told through DNS", len(u.Servers), maxServers)
	}
	a := &answer{weights: map[string]int{}}
	seen := map[netip.AddrPort]bool{}
	for _, s := range u.Servers {
		addr, err := Address(s.Address)
		if err != nil {
			return nil, err
		}
		if s.Weight < 0 || s.Weight > 65535 {
			return nil, fmt.Errorf("server %s: weight %d is not allowed: 0 to 65535", s.Address, s.Weight)
		}
		if seen[addr] {
			return nil, fmt.Errorf("server %s: the address is there twice", s.Address)
		}
		seen[addr] = true
		if s.Weight == 0 {
			continue
		}
		priority := uint16(1)
		if s.Backup {
			priority = 2
		}
		a.records = append(a.records, &dns.SRV{
			Hdr:      dns.RR_Header{Name: question(u.Name), Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: ttl},
			Priority: priority, Weight: uint16(s.Weight), Port: addr.Port(), Target: addressName(addr.Addr()),
		})
		a.weights[s.Address] = s.Weight
	}
	if len(a.records) == 0 {
		return nil, errors.New("no server would be left, so the last answer stays")
	}
	return a, nil
}

// retain drops every upstream but these, and returns the names of those that were dropped.
func (t *table) retain(names []string) (gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := map[string]bool{}
	for _, n := range names {
		keep[question(n)] = true
	}
	for q, s := range t.services {
		if !keep[q] {
			gone = append(gone, s.name)
			delete(t.services, q)
		}
	}
	return gone
}

func (t *table) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, s := range t.services {
		out = append(out, s.name)
	}
	return out
}

// records are the answer to a question, nil when there is none, with its mark for asked.
func (t *table) records(question string) (*answer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[question]
	if s == nil {
		return nil, false
	}
	return s.answer, true
}

// asked notes who got which answer: whole over UDP, truncated over UDP, or whole over TCP, where the port says nothing about who
// it is; so that is every asker who was told to come by TCP.
func (t *table) asked(question string, from netip.AddrPort, a *answer, tcp, truncated bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[question]
	if s == nil {
		return
	}
	s.asked = now
	if tcp {
		for _, k := range s.askers {
			if !k.whole {
				k.given, k.whole = a, true
			}
		}
		return
	}
	k := s.askers[from]
	if k == nil {
		s.room(now)
		k = &asker{}
		s.askers[from] = k
	}
	if k.whole {
		k.taken = k.given
	}
	k.last, k.given, k.whole = now, a, !truncated
}

// room forgets askers that are gone; when there are too many, the one that has proven least and asked longest ago.
func (s *service) room(now time.Time) {
	maps.DeleteFunc(s.askers, func(_ netip.AddrPort, k *asker) bool { return now.Sub(k.last) > quiet })
	if len(s.askers) < maxAskers {
		return
	}
	var worst netip.AddrPort
	var w *asker
	for from, k := range s.askers {
		if w == nil || (k.taken == nil) && (w.taken != nil) || (k.taken == nil) == (w.taken == nil) && k.last.Before(w.last) {
			worst, w = from, k
		}
	}
	delete(s.askers, worst)
}

// taken is what nginx may send requests to: the highest weight of each address in the answers that were given last and in those
// that are proven to be taken. False: nobody has asked twice from one port lately.
func (t *table) taken(upstream string, now time.Time) (map[string]int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[question(upstream)]
	if s == nil {
		return nil, false
	}
	out, known := map[string]int{}, false
	for _, k := range s.askers {
		if now.Sub(k.last) > quiet {
			continue
		}
		known = known || k.taken != nil
		for _, a := range []*answer{k.given, k.taken} {
			if a == nil {
				continue
			}
			for addr, weight := range a.weights {
				out[addr] = max(out[addr], weight)
			}
		}
	}
	return out, known
}

// lastAsked is when anybody asked for an upstream, the zero time for never.
func (t *table) lastAsked(upstream string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.services[question(upstream)]; s != nil {
		return s.asked
	}
	return time.Time{}
}
