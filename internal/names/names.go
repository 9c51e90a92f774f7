package names

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// timeout bounds one look-up.
	timeout = 5 * time.Second
	// retry is the distance of look-ups of a name that could not be resolved; DefaultEvery that of the others.
	retry = 5 * time.Second
	// DefaultEvery is how often a name is looked up unless the options say otherwise.
	DefaultEvery = 30 * time.Second
)

// Lookup asks for the addresses of a name.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// Options of a Resolver. All may be left out.
type Options struct {
	// File keeps the last good answers over a restart; "" for none.
	File string
	// Lookup is the system's resolver unless it is given.
	Lookup Lookup
	Log    *slog.Logger
}

// Resolver knows what the wanted names stand for. Its methods may be called from any goroutine.
type Resolver struct {
	lookup Lookup
	log    *slog.Logger
	file   string
	kick   chan struct{}
	saving sync.Mutex

	mu     sync.Mutex
	every  time.Duration
	wanted map[string]*answer
	known  map[string]netip.Addr // last good answers, those of former names too
	stored map[string]netip.Addr // what the file holds
	broken error                 // why the file cannot be used
}

// answer is what became of a name's last look-up.
type answer struct {
	due     time.Time
	asked   bool
	err     error
	several int
}

// New makes a resolver that wants no name yet, and reads the answers of the last run.
func New(o Options) *Resolver {
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{lookup: o.Lookup, log: o.Log, file: o.File, kick: make(chan struct{}, 1), every: DefaultEvery,
		wanted: map[string]*answer{}, known: map[string]netip.Addr{}}
	r.load()
	return r
}

// Host returns the name in "host:port", "" when there is none: in an IP address and a port, and in a socket's path.
func Host(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil || strings.HasPrefix(address, "unix:") || net.ParseIP(host) != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Want replaces the wanted names by those in the addresses, which are to be looked up every so often (0: DefaultEvery), and
// looks up those that are new, all at once. It returns when they are known, or after five seconds at most.
func (r *Resolver) Want(ctx context.Context, addresses []string, every time.Duration) {
	r.mu.Lock()
	if every <= 0 {
		every = DefaultEvery
	}
	r.every = every
	next := map[string]*answer{}
	for _, a := range addresses {
		host := Host(a)
		if host == "" {
			continue
		}
		next[host] = r.wanted[host]
		if next[host] == nil {
			next[host] = &answer{}
		}
	}
	r.wanted = next
	r.mu.Unlock()
	r.ask(ctx, time.Now())
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run looks names up until ctx ends.
func (r *Resolver) Run(ctx context.Context) {
	for {
		timer := time.NewTimer(r.pause(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.kick:
			timer.Stop()
		case <-timer.C:
			r.ask(ctx, time.Now())
		}
	}
}

// pause is the time until the next name is due, an hour without one.
func (r *Resolver) pause(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := time.Hour
	for _, a := range r.wanted {
		wait = min(wait, a.due.Sub(now))
	}
	return max(wait, 10*time.Millisecond)
}

// ask looks up the names that are due, all at once.
func (r *Resolver) ask(ctx context.Context, now time.Time) {
	r.mu.Lock()
	var due []string
	for host, a := range r.wanted {
		if !a.due.After(now) {
			// Nobody else asks for it meanwhile.
			a.due = now.Add(timeout + retry)
			due = append(due, host)
		}
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, host := range due {
		wg.Go(func() {
			addrs, err := r.lookup(ctx, host)
			r.note(host, addrs, err)
		})
	}
	wg.Wait()
	if len(due) > 0 {
		r.save()
	}
}

// note takes a look-up's result.
func (r *Resolver) note(host string, addrs []netip.Addr, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.wanted[host]
	if a == nil {
		return
	}
	addrs = usable(addrs)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address that a server can have")
	}
	a.asked, a.err, a.due = true, err, time.Now().Add(min(retry, r.every))
	if err != nil {
		return
	}
	a.due = time.Now().Add(r.every)
	before, known := r.known[host]
	now := choose(before, addrs)
	if len(addrs) > 1 && a.several != len(addrs) {
		r.log.Info("a name has several addresses; one of them is used", "name", host, "addresses", len(addrs), "used", now)
	}
	a.several = len(addrs)
	if known && now != before {
		r.log.Info("a name stands for another address", "name", host, "before", before, "now", now)
	}
	r.known[host] = now
}

// usable leaves the addresses that a server can have, sorted: IPv4 first, the lowest first.
func usable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// choose keeps the address in use while it is among the answers, else takes the first.
func choose(before netip.Addr, addrs []netip.Addr) netip.Addr {
	if slices.Contains(addrs, before) {
		return before
	}
	return addrs[0]
}

// Address returns an address without a name as it is, and one with a name with the IP address that the name stands for, or ""
// as long as that is not known. It does not wait.
func (r *Resolver) Address(address string) string {
	host := Host(address)
	if host == "" {
		return address
	}
	_, port, _ := net.SplitHostPort(address)
	n, err := strconv.ParseUint(port, 10, 16)
	r.mu.Lock()
	defer r.mu.Unlock()
	ip, ok := r.known[host]
	if err != nil || !ok {
		return ""
	}
	return netip.AddrPortFrom(ip, uint16(n)).String()
}

// Trouble says which names could not be resolved when they were last looked up, and what holds meanwhile; nil for none.
func (r *Resolver) Trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var texts []string
	for host, a := range r.wanted {
		ip, known := r.known[host]
		switch {
		case a.err != nil && known:
			texts = append(texts, fmt.Sprintf("%s cannot be resolved (%s), its last address %s stays in use", host, plain(a.err), ip))
		case a.err != nil:
			texts = append(texts, fmt.Sprintf("%s cannot be resolved (%s), and no address of it is known: its servers are left out", host, plain(a.err)))
		case !a.asked && !known:
			texts = append(texts, host+" has not been resolved yet")
		}
	}
	slices.Sort(texts)
	if r.broken != nil {
		texts = append(texts, r.broken.Error())
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// plain leaves out of a resolver's error the name, which is said already.
func plain(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return err.Error()
}
