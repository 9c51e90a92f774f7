package nginxgen

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bounds of a model. They are far above real fleets and far below what makes `nginx -t` slow.
const (
	maxUpstreams        = 2000
	maxServers          = 1000
	maxWeight           = 1000
	maxConsistentWeight = 100 // 160 points of the ring for each unit of weight: seconds of `nginx -t` above this
	maxKeepalive        = 10000
	maxConns            = 1000000
	maxFails            = 1000
	maxUnixPath         = 107
	maxHashKey          = 128
)

// Each pattern admits only characters that have no meaning in nginx's syntax: no space, quote, semicolon, brace, hash,
// backslash or control character passes, so nothing that matches can end its directive or begin another.
var (
	nameRE    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	commentRE = regexp.MustCompile(`^[A-Za-z0-9._:@/+-]{1,128}$`)
	unixRE    = regexp.MustCompile(`^/[A-Za-z0-9._@/+-]+$`)
	hashRE    = regexp.MustCompile(`^hash ((?:[A-Za-z0-9_.:/-]|\$[A-Za-z0-9_])+)( consistent)?$`)
	zoneRE    = regexp.MustCompile(`^([0-9]{1,8})([kKmM])$`)
	methods   = map[string]bool{"": true, "least_conn": true, "random": true, "random two": true, "random two least_conn": true, "ip_hash": true}
)

func (m Model) validate() error {
	if len(m.Upstreams) > maxUpstreams {
		return fmt.Errorf("the model has %d upstreams, at most %d are allowed", len(m.Upstreams), maxUpstreams)
	}
	seen := map[string]bool{}
	for i, u := range m.Upstreams {
		if err := u.validate(); err != nil {
			return fmt.Errorf("upstream %d (%s): %w", i+1, shown(u.Name), err)
		}
		if u.Stream != m.Upstreams[0].Stream {
			return fmt.Errorf("upstream %d (%s): http and stream upstreams are not allowed in one file", i+1, shown(u.Name))
		}
		low := strings.ToLower(u.Name)
		if seen[low] {
			return fmt.Errorf("upstream %d (%s): the name is there twice (nginx ignores case)", i+1, shown(u.Name))
		}
		seen[low] = true
	}
	return nil
}

func (u Upstream) validate() error {
	if !nameRE.MatchString(u.Name) {
		return fmt.Errorf("the name %s is not allowed: 1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'", shown(u.Name))
	}
	if err := u.validateMethod(); err != nil {
		return err
	}
	if err := validateZone(u.Zone); err != nil {
		return err
	}
	if u.Keepalive < 0 || u.Keepalive > maxKeepalive {
		return fmt.Errorf("keepalive %d is not allowed: 0 to %d", u.Keepalive, maxKeepalive)
	}
	if n := len(u.Servers); n > maxServers || n == maxServers && u.primaries() == 0 && !u.Resolve.on() {
		return fmt.Errorf("%d servers, at most %d are allowed, one of them no backup", n, maxServers)
	}
	if err := u.Resolve.validate(u); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, s := range u.Servers {
		if err := s.validate(u.Method); err != nil {
			return fmt.Errorf("server %d (%s): %w", i+1, shown(s.Address), err)
		}
		address := canonical(s.Address)
		if seen[address] {
			return fmt.Errorf("server %d (%s): the address is there twice", i+1, shown(s.Address))
		}
		seen[address] = true
	}
	return nil
}

func (u Upstream) validateMethod() error {
	g := hashRE.FindStringSubmatch(u.Method)
	if !methods[u.Method] && (g == nil || len(g[1]) > maxHashKey) {
		return fmt.Errorf("the method %s is not allowed: empty, least_conn, random, random two, random two least_conn, ip_hash, hash KEY or hash KEY consistent", shown(u.Method))
	}
	if u.Stream && u.Method == "ip_hash" {
		return fmt.Errorf("the method ip_hash is not allowed in a stream upstream: nginx has it for http alone, hash $remote_addr is its like")
	}
	if u.Stream && u.Keepalive > 0 {
		return fmt.Errorf("keepalive %d is not allowed in a stream upstream: nginx has it for http alone", u.Keepalive)
	}
	return nil
}

// canonical writes an address in the one way that tells equal ones.
func canonical(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.String()
	}
	return address
}

func validateZone(z string) error {
	if z == "" {
		return nil
	}
	g := zoneRE.FindStringSubmatch(z)
	if g != nil {
		n, err := strconv.Atoi(g[1])
		if g[2] == "m" || g[2] == "M" {
			n *= 1024
		}
		if err == nil && n >= 32 && n <= 64*1024 {
			return nil
		}
	}
	return fmt.Errorf("the zone size %s is not allowed: 32k to 64m", shown(z))
}

func (s Server) validate(method string) error {
	if err := validateAddress(s.Address); err != nil {
		return err
	}
	limit := maxWeight
	if strings.HasSuffix(method, " consistent") {
		limit = maxConsistentWeight
	}
	switch {
	case s.Weight < 0 || s.Weight > limit:
		return fmt.Errorf("weight %d is not allowed: 1 to %d", s.Weight, limit)
	case s.MaxConns < 0 || s.MaxConns > maxConns:
		return fmt.Errorf("max_conns %d is not allowed: 0 to %d", s.MaxConns, maxConns)
	case s.MaxFails < -1 || s.MaxFails > maxFails:
		return fmt.Errorf("max_fails %d is not allowed: -1 to %d", s.MaxFails, maxFails)
	case s.FailTimeout != 0 && (s.FailTimeout < time.Second || s.FailTimeout > time.Hour || s.FailTimeout%time.Second != 0):
		return fmt.Errorf("fail_timeout %v is not allowed: whole seconds from 1 to 3600", s.FailTimeout)
	case s.Name != "" && !commentRE.MatchString(s.Name):
		return fmt.Errorf("the comment %s is not allowed: at most 128 letters, digits and '. _ : @ / + -'", shown(s.Name))
	case s.Backup && (method == "ip_hash" || strings.HasPrefix(method, "hash ") || strings.HasPrefix(method, "random")):
		return fmt.Errorf("backup is not allowed with the method %s", method)
	}
	return nil
}

func validateAddress(a string) error {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if !unixRE.MatchString(path) || len(path) > maxUnixPath {
			return fmt.Errorf("the socket %s is not allowed: unix: and an absolute path of at most %d letters, digits and '. _ @ / + -'", shown(a), maxUnixPath)
		}
		return nil
	}
	ap, err := netip.ParseAddrPort(a)
	// ParseAddrPort lets only digits, hex letters and the separators through, but anything at all in an IPv6 zone.
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return fmt.Errorf("the address %s is not allowed: ip:port, [ipv6]:port (port 1 to 65535) or unix:/path", shown(a))
	}
	return nil
}

// shown quotes a value that nobody vouches for, cut short, for an error message.
func shown(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.Quote(s)
}
