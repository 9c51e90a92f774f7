package conf

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// nginxDNS reads how nginx gets its weights.
func (s *source) nginxDNS(n *rawNginx, out *Nginx) {
	if s.oneOf("nginx.weights", n.Weights, "reload", "reload", "dns") == "reload" {
		if n.DNS != nil {
			s.fail("nginx.dns", "{...}", "nothing, as long as `weights: dns` does not stand beside it")
		}
		return
	}
	out.DNS, out.Fallback = "127.0.0.1:539", true
	if n.DNS == nil {
		return
	}
	out.Fallback = choice(n.DNS.Fallback, true)
	if n.DNS.Listen == "" {
		return
	}
	out.DNS = n.DNS.Listen
	if at, err := netip.ParseAddrPort(n.DNS.Listen); err != nil || at.Port() == 0 || !at.Addr().IsLoopback() || at.Addr().Zone() != "" {
		s.fail("nginx.dns.listen", n.DNS.Listen, "a loopback address and a port, such as 127.0.0.1:539 (nginx runs on this machine)")
	}
}

// dnsZoneServers is for how many servers an upstream that names no zone gets 256 KB: nginx keeps those from DNS there, and those
// of the file once more. 256 KB take between 100 and 150 of both.
const dnsZoneServers = 64

// DNSZone is the zone's size of an upstream that names none, where nginx asks for its servers.
func DNSZone(servers int) string {
	return strconv.Itoa(256*max(1, (servers+dnsZoneServers-1)/dnsZoneServers)) + "k"
}

// zoneKB is a zone's size in kilobytes, 0 for off; one that is no size at all is not to be judged here.
func zoneKB(zone string) int {
	if zone == "off" {
		return 0
	}
	g := zoneRE.FindStringSubmatch(zone)
	if g == nil {
		return math.MaxInt
	}
	n, _ := strconv.Atoi(g[1])
	if strings.EqualFold(g[2], "m") {
		n *= 1024
	}
	return n
}

// dnsServers is how many servers an upstream may have. nginx asks for all addresses at once, for both kinds when there are IPv6
// addresses or names, which may stand for one, and its socket holds some 270 answers: 250 servers were fine on 1.30, and of 600
// some went missing.
func dnsServers(raw *rawApp) int {
	for _, srv := range raw.Servers {
		if at, err := netip.ParseAddrPort(srv.Address); err != nil || at.Addr().Is6() {
			return 100
		}
	}
	return 200
}

// throughDNS refuses what cannot be told to nginx by SRV records, and completes the upstream.
func (s *source) throughDNS(key string, raw *rawApp, u *Upstream, n *Nginx) {
	if n == nil || n.DNS == "" {
		return
	}
	for label := range strings.SplitSeq(u.Name, ".") {
		if label == "" || len(label) > 63 || strings.Contains(label, ":") {
			s.fail(key+".nginx_upstream.name", u.Name, "a name that can be part of a DNS name with `nginx.weights: dns`: 1 to 63 letters, digits, dashes and underscores between dots")
			break
		}
	}
	if u.Method == "ip_hash" || strings.HasPrefix(u.Method, "hash ") {
		s.fail(key+".nginx_upstream.method", u.Method, "empty, least_conn or random with `nginx.weights: dns`: the order of the servers, which decides who gets which client, is not fixed there")
	}
	if raw.Upstream.Zone == "" {
		u.Zone = DNSZone(len(raw.Servers))
	} else if least := max(64, 4*len(raw.Servers)); zoneKB(raw.Upstream.Zone) < least {
		s.fail(key+".nginx_upstream.zone", raw.Upstream.Zone, "at least %dk for %d servers with `nginx.weights: dns`: nginx keeps the servers there, and says nothing to anyone when they do not fit", least, len(raw.Servers))
	}
	if most := dnsServers(raw); len(raw.Servers) > most {
		s.fail(key+".servers", strconv.Itoa(len(raw.Servers)), "at most %d servers with `nginx.weights: dns` (200, or 100 when one has an IPv6 address or a name): nginx asks for all addresses at once and loses answers beyond", most)
	}
	for i, srv := range raw.Servers {
		if strings.HasPrefix(srv.Address, "unix:") {
			s.fail(index(key+".servers", i)+".address", srv.Address, "an IP address and a port with `nginx.weights: dns`: an SRV record has no place for a socket's path")
		}
	}
	s.notThroughDNS(key, raw)
}

// notThroughDNS refuses what the include file can say of a server, and an SRV record cannot.
func (s *source) notThroughDNS(key string, raw *rawApp) {
	u := raw.Upstream
	up := key + ".nginx_upstream."
	if u.Stream {
		s.fail(up+"stream", "true", "false with `nginx.weights: dns`: only http upstreams are told their servers through DNS")
	}
	type given struct {
		key, value string
		given      bool
	}
	all := []given{
		{up + "max_conns", fmt.Sprint(deref(u.MaxConns)), u.MaxConns != nil},
		{up + "max_conns_per_worker", fmt.Sprint(deref(u.MaxConnsPerWorker)), u.MaxConnsPerWorker != nil},
		{up + "max_fails", fmt.Sprint(deref(u.MaxFails)), u.MaxFails != nil},
		{up + "fail_timeout", u.FailTimeout, u.FailTimeout != ""},
	}
	for i, srv := range raw.Servers {
		all = append(all, given{index(key+".servers", i) + ".max_conns", fmt.Sprint(deref(srv.MaxConns)), srv.MaxConns != nil})
	}
	for _, k := range all {
		if k.given {
			s.fail(k.key, k.value, "nothing with `nginx.weights: dns`, which tells nginx addresses, weights and backups and nothing else; it needs `weights: reload`")
		}
	}
}
