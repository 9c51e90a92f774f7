package sockdiag

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
)

// Sockets are the listening sockets of one application: a source of busy counts (adapter.Connections) and a queue. It is for
// one goroutine.
type Sockets struct {
	table *Table
	inet  []netip.AddrPort
	paths []string
	// bad is why the sockets cannot be looked for.
	bad error
}

// New returns the source for the sockets that an application listens on: "ADDRESS:PORT" with an IP address, or "unix:/path".
// A listener on all addresses stands for each of them. Nothing is opened; what is none of these is an error of every call.
func New(t *Table, sockets ...string) *Sockets {
	s := &Sockets{table: t}
	if len(sockets) == 0 {
		s.bad = fmt.Errorf("no listening socket is given")
	}
	for _, text := range sockets {
		if path, ok := strings.CutPrefix(text, "unix:"); ok && filepath.IsAbs(path) {
			s.paths = append(s.paths, path)
			continue
		}
		addr, err := netip.ParseAddrPort(text)
		if err != nil || addr.Port() == 0 || addr.Addr().Zone() != "" {
			s.bad = fmt.Errorf("the socket is %.120q, wanted is ADDRESS:PORT with an IP address without a zone, or unix:/path", text)
			continue
		}
		s.inet = append(s.inet, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	}
	return s
}

// Owns are the sockets.
func (s *Sockets) Owns() []string {
	var all []string
	for _, a := range s.inet {
		all = append(all, "the socket "+a.String())
	}
	for _, p := range s.paths {
		all = append(all, "the socket unix:"+p)
	}
	return all
}

// Close lets go of the table; the next call takes it up again.
func (s *Sockets) Close() error { return s.table.leave(s) }

// Queued sums what waits in the queues of the listeners, and how much may.
func (s *Sockets) Queued() (adapter.Waiting, error) {
	var w adapter.Waiting
	err := s.read(false, func(found []listener, _ time.Duration) {
		for _, l := range found {
			w.Queued += l.queued
			w.Limit += l.limit
		}
	})
	return w, err
}

// Count counts the connections that were accepted and not closed yet, of whatever process: too many where connections are
// kept open between requests.
func (s *Sockets) Count(*adapter.Family) (adapter.Count, error) {
	c := adapter.Count{Trust: adapter.Connections}
	err := s.read(true, func(found []listener, age time.Duration) {
		c.Age = age
		c.Busy = s.table.busy(found)
	})
	if err != nil {
		return adapter.Count{}, err
	}
	return c, nil
}

// read asks the table, finds the listeners, and fails when one of the sockets has none.
func (s *Sockets) read(busy bool, use func([]listener, time.Duration)) error {
	if s.bad != nil {
		return s.bad
	}
	return s.table.read(s, busy, func(age time.Duration) error {
		all := s.table.listeners
		for _, a := range s.inet {
			if len(matches(all, a)) == 0 {
				return fmt.Errorf("nothing listens on %v in the agent's network namespace", a)
			}
		}
		for _, p := range s.paths {
			if len(named(all, p)) == 0 {
				return fmt.Errorf("nothing listens on unix:%s in the agent's network namespace, or not under this name", p)
			}
		}
		use(s.matching(all), age)
		return nil
	})
}

// matching are the listeners of the application, each once.
func (s *Sockets) matching(all []listener) []listener {
	taken := make([]bool, len(all))
	for _, a := range s.inet {
		for _, i := range matches(all, a) {
			taken[i] = true
		}
	}
	for _, p := range s.paths {
		for _, i := range named(all, p) {
			taken[i] = true
		}
	}
	var found []listener
	for i, l := range all {
		if taken[i] {
			found = append(found, l)
		}
	}
	return found
}

// matches are the listeners that get the connections to want: those bound to its address, else to all addresses of its
// family, else to all addresses of both. Several share a port with SO_REUSEPORT.
func matches(all []listener, want netip.AddrPort) (found []int) {
	best := 0
	for i, l := range all {
		rank := l.rank(want)
		if rank > best {
			best, found = rank, nil
		}
		if rank == best && rank > 0 {
			found = append(found, i)
		}
	}
	return found
}

// rank tells how closely l fits want; 0 is not at all.
func (l listener) rank(want netip.AddrPort) int {
	addr := l.addr.Addr()
	switch {
	case l.name != "" || l.addr.Port() != want.Port():
		return 0
	case addr == want.Addr():
		return 3
	case addr.IsUnspecified() && addr.Is4() == want.Addr().Is4():
		return 2
	case addr.IsUnspecified() && l.v6 && !l.v6only:
		return 1
	}
	return 0
}

func named(all []listener, path string) (found []int) {
	for i, l := range all {
		if l.name == path {
			found = append(found, i)
		}
	}
	return found
}

// busy counts the accepted connections of some listeners. The table is locked.
func (t *Table) busy(found []listener) (n int) {
	bound := map[endpoint]bool{}
	for _, l := range t.listeners {
		if l.name == "" {
			bound[l.endpoint] = true
		}
	}
	endpoints, names := map[endpoint]bool{}, map[string]bool{}
	for _, l := range found {
		if l.name != "" {
			names[l.name] = true
		} else {
			endpoints[l.endpoint] = true
		}
	}
	for e, count := range t.byAddress {
		// A connection belongs to the listener on its very address, else to one on all addresses.
		switch {
		case endpoints[e]:
			n += count
		case !bound[e] && (endpoints[anyOf(e, false)] || e.v6 && endpoints[anyOf(e, true)]):
			n += count
		}
	}
	for name := range names {
		n += t.byName[name]
	}
	return n
}

// anyOf is the endpoint of all addresses of e's socket family, of a dual-stack socket with its six-byte form.
func anyOf(e endpoint, v6 bool) endpoint {
	addr := netip.IPv4Unspecified()
	if v6 {
		addr = netip.IPv6Unspecified()
	}
	return endpoint{e.v6, netip.AddrPortFrom(addr, e.addr.Port())}
}
