package setup

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tidegate/tidegate/internal/names"
)

// resolve finds out where each server of an upstream is, looking names up as the running tidegate does.
func (r *nginxReader) resolve(ctx context.Context, lookup names.Lookup) {
	a := answers{lookup: lookup, got: map[string][]netip.Addr{}, failed: map[string]error{}}
	if a.lookup == nil {
		a.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	var wanted []string
	for _, u := range r.upstreams {
		for i := range u.Servers {
			v := &u.Servers[i]
			v.written, v.unknown = u.hostPort(v.Address)
			wanted = append(wanted, v.written)
		}
	}
	resolver := names.New(names.Options{Lookup: a.ask})
	resolver.Want(ctx, wanted, 0)
	for _, u := range r.upstreams {
		at := map[string]string{}
		for i := range u.Servers {
			v := &u.Servers[i]
			if v.unknown != "" {
				continue
			}
			if v.at = resolver.Address(v.written); names.Host(v.written) != "" {
				v.unknown = a.trouble(names.Host(v.written), v.at)
			}
			if v.unknown != "" {
				v.at = ""
				continue
			}
			if before := at[v.at]; before != "" && before != v.written && u.bad == "" {
				u.bad = fmt.Sprintf("its servers %s and %s both are %s now, and tidegate knows one server at an address", shown(before), shown(v.written), v.at)
			}
			at[v.at] = v.written
		}
	}
}

// answers keeps what the resolver was told.
type answers struct {
	lookup names.Lookup
	mu     sync.Mutex
	got    map[string][]netip.Addr
	failed map[string]error
}

func (a *answers) ask(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := a.lookup(ctx, host)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed[host] = err
	}
	for _, ip := range addrs {
		if ip = ip.Unmap(); !slices.Contains(a.got[host], ip) {
			a.got[host] = append(a.got[host], ip)
		}
	}
	return addrs, err
}

// trouble says why a name is no server's, "" when it is. A machine may have an IPv4 and an IPv6 address; two of a kind are
// two machines.
func (a *answers) trouble(host, at string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at == "" {
		why := "there was no answer in time"
		if err := a.failed[host]; err != nil {
			why = err.Error()
		} else if len(a.got[host]) > 0 {
			why = "no answer is an address that a server can have"
		}
		return fmt.Sprintf("is a name that could not be looked up here (%s)", why)
	}
	kinds := map[bool][]string{}
	for _, ip := range a.got[host] {
		kinds[ip.Is4()] = append(kinds[ip.Is4()], ip.String())
	}
	for _, is4 := range []bool{true, false} {
		if ips := kinds[is4]; len(ips) > 1 {
			slices.Sort(ips)
			return fmt.Sprintf("is a name of %d addresses (%s ...): nginx makes a server of each, and tidegate knows one address for each server; write a line for each machine, with a name or an address of its own", len(ips), strings.Join(ips[:2], ", "))
		}
	}
	return ""
}

// hostPort brings an address of nginx into the form of tidegate.yaml, or says why it has none. In http nginx takes port 80
// when there is none.
func (u *upstream) hostPort(a string) (address, why string) {
	if addr, ok := webAddr(a); ok {
		return addr, ""
	}
	switch {
	case strings.HasPrefix(a, "unix:"):
		return "", "is a unix socket: a process of nginx's own machine has it, so taking it out frees nothing elsewhere; tidegate needs a host and a port"
	case strings.Contains(a, "$"):
		return "", "has a variable, which nginx takes for a part of a name there; tidegate needs a host and a port"
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		host, port = a, "80"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || len(host) > 253 || !hostRE.MatchString(host) {
		return "", "is no address and no name of letters, digits, dots, dashes and underscores, with a port from 1 to 65535"
	}
	return net.JoinHostPort(host, port), ""
}

// webAddr brings an IP address of nginx into the form of ours: nginx takes port 80 when there is none.
func webAddr(a string) (string, bool) {
	if ap, err := netip.ParseAddrPort(a); err == nil && ap.Addr().Zone() == "" && ap.Port() > 0 {
		return net.JoinHostPort(ap.Addr().String(), strconv.Itoa(int(ap.Port()))), true
	}
	if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil && ip.Zone() == "" {
		return net.JoinHostPort(ip.String(), "80"), true
	}
	return a, false
}
