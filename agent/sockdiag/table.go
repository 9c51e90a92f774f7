package sockdiag

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freshFor is how long an answer serves all sources, half of the usual time between two scans.
	freshFor = 50 * time.Millisecond
	// oldest is the age up to which an answer serves when asking is costly.
	oldest = time.Second
	// restFactor times the cost of an answer is what it serves for at least.
	restFactor = 100
	// costSamples are the answers whose lowest cost counts: a busy machine makes single ones look dear.
	costSamples = 4
	// filterPorts bounds the ports that the kernel filters by; it checks the filter in quadratic time.
	filterPorts = 64
)

// Table asks the kernel for the sockets of all sources of one agent. It opens nothing before it is asked. It is safe for
// concurrent use.
type Table struct {
	mu   sync.Mutex
	conn *conn
	open func() (link, error)
	now  func() time.Time
	rest time.Duration // restFactor, but in tests that cannot wait
	// users are the sources that have asked, with whether they count busy workers.
	users map[*Sockets]bool

	listening, accepted answer
	listeners           []listener
	byAddress           map[endpoint]int
	byName              map[string]int
}

// answer is the age and the cost of what is known.
type answer struct {
	at    time.Time
	costs [costSamples]time.Duration
	n     int
	err   error
	valid bool
}

// listener is a listening TCP socket or (with a name) unix socket.
type listener struct {
	endpoint
	v6only        bool
	name          string
	queued, limit int
}

// NewTable returns a table that knows nothing yet.
func NewTable() *Table {
	return &Table{users: map[*Sockets]bool{}, now: time.Now, rest: restFactor, open: func() (link, error) { return open() }}
}

// read brings the listeners, and with busy the accepted connections, up to date and calls use with the table locked; age is
// that of the older one.
func (t *Table) read(s *Sockets, busy bool, use func(age time.Duration) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if counts, known := t.users[s]; !known || busy && !counts {
		// What is known was not asked for this one.
		t.users[s] = busy
		t.listening.valid, t.accepted.valid = false, false
	}
	if err := t.refresh(&t.listening, t.askListeners); err != nil {
		return fmt.Errorf("ask the kernel for listening sockets: %w", err)
	}
	asked := t.listening.at
	if busy {
		if err := t.refresh(&t.accepted, t.askAccepted); err != nil {
			return fmt.Errorf("ask the kernel for accepted connections: %w", err)
		}
		if t.accepted.at.Before(asked) {
			asked = t.accepted.at
		}
	}
	return use(max(t.now().Sub(asked), 0))
}

// leave forgets what s wanted. The netlink socket is closed when nobody is left.
func (t *Table) leave(s *Sockets) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.users, s)
	if len(t.users) > 0 {
		return nil
	}
	t.listening.valid, t.accepted.valid = false, false
	return t.hangUp()
}

// refresh asks again when the answer is too old. The netlink socket is opened anew after an error. An error serves as long
// as an answer does.
func (t *Table) refresh(a *answer, ask func() error) error {
	begin := t.now()
	if age := begin.Sub(a.at); a.valid && age >= 0 && age < a.serves(t.rest) {
		return a.err
	}
	a.err = t.connect()
	if a.err == nil {
		a.err = ask()
	}
	end := t.now()
	a.at, a.valid = end, true
	a.costs[a.n%costSamples] = end.Sub(begin)
	a.n++
	if a.err != nil {
		a.err = errors.Join(a.err, t.hangUp())
	}
	return a.err
}

// serves is how long the answer is used.
func (a *answer) serves(rest time.Duration) time.Duration {
	cost := slices.Min(a.costs[:min(max(a.n, 1), costSamples)])
	return min(max(freshFor, rest*cost), oldest)
}

func (t *Table) connect() error {
	if t.conn != nil {
		return nil
	}
	l, err := t.open()
	if err != nil {
		return err
	}
	t.conn = &conn{link: l}
	return nil
}

func (t *Table) hangUp() error {
	if t.conn == nil {
		return nil
	}
	c := t.conn
	t.conn = nil
	return c.link.close()
}

func states(all ...uint32) (mask uint32) {
	for _, s := range all {
		mask |= 1 << s
	}
	return mask
}

// askListeners reads the listening sockets of the families that somebody wants.
func (t *Table) askListeners() error {
	var tcp, named []listener
	inet, names := t.wants()
	if inet {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			before := len(tcp)
			err := t.conn.ask(inetRequest(family, states(stateListen), nil), func() { tcp = tcp[:before] }, func(b []byte) error {
				s, err := parseInet(b)
				if err == nil && s.state == stateListen {
					tcp = append(tcp, listener{endpoint: s.endpoint, v6only: s.v6only, queued: int(s.received), limit: int(s.sent)})
				}
				return err
			})
			// A kernel without IPv6 has no sockets of it.
			if err != nil && !(family == unix.AF_INET6 && errors.Is(err, unix.ENOENT)) {
				return err
			}
		}
	}
	if names {
		err := t.conn.ask(unixRequest(states(stateListen), showName|showQueue), func() { named = named[:0] }, func(b []byte) error {
			s, err := parseUnix(b)
			if err == nil && s.state == stateListen && s.stream && s.name != "" {
				named = append(named, listener{name: s.name, queued: int(s.received), limit: int(s.sent)})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	t.listeners = append(tcp, named...)
	return nil
}

// wants tells whether anybody asks for TCP and for unix sockets.
func (t *Table) wants() (inet, names bool) {
	for s := range t.users {
		inet, names = inet || len(s.inet) > 0, names || len(s.paths) > 0
	}
	return inet, names
}

// askAccepted counts the accepted connections of the listeners whose requests somebody wants to count.
func (t *Table) askAccepted() error {
	ports, names := map[byte]map[uint16]bool{unix.AF_INET: {}, unix.AF_INET6: {}}, false
	for s, counts := range t.users {
		if !counts {
			continue
		}
		names = names || len(s.paths) > 0
		for _, l := range s.matching(t.listeners) {
			if l.name == "" {
				ports[family(l.v6)][l.addr.Port()] = true
			}
		}
	}
	byAddress, byName := map[endpoint]int{}, map[string]int{}
	for _, v6 := range []bool{false, true} {
		wanted := slices.Sorted(maps.Keys(ports[family(v6)]))
		if len(wanted) == 0 {
			continue
		}
		if len(wanted) > filterPorts {
			wanted = nil
		}
		forget := func() { maps.DeleteFunc(byAddress, func(e endpoint, _ int) bool { return e.v6 == v6 }) }
		err := t.conn.ask(inetRequest(family(v6), states(stateEstablished, stateCloseWait), wanted), forget, func(b []byte) error {
			s, err := parseInet(b)
			if err == nil && s.inode != 0 && s.v6 == v6 {
				byAddress[s.endpoint]++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if names {
		err := t.conn.ask(unixRequest(states(stateEstablished), showName), func() { clear(byName) }, func(b []byte) error {
			s, err := parseUnix(b)
			if err == nil && s.inode != 0 && s.stream && s.name != "" {
				byName[s.name]++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	t.byAddress, t.byName = byAddress, byName
	return nil
}

func family(v6 bool) byte {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}
