package conf

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
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

var zoneRE = regexp.MustCompile(`^([0-9]{1,8})([kKmM])$`)

// zoneKB is a zone's size in kilobytes; one that is not given, or no size at all, is not to be judged here.
func zoneKB(zone string) int {
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
// addresses, and its socket holds some 270 answers: 250 servers were fine on 1.30, and of 600 some went missing.
func dnsServers(raw *rawApp) int {
	for _, srv := range raw.Servers {
		if at, err := netip.ParseAddrPort(srv.Address); err == nil && at.Addr().Is6() {
			return 100
		}
	}
	return 200
}

// throughDNS refuses what cannot be told to nginx by SRV records.
func (s *source) throughDNS(key string, raw *rawApp, n *Nginx) {
	if n == nil || n.DNS == "" {
		return
	}
	u := raw.Upstream
	for label := range strings.SplitSeq(u.Name, ".") {
		if label == "" || len(label) > 63 || strings.Contains(label, ":") {
			s.fail(key+".nginx_upstream.name", u.Name, "a name that can be part of a DNS name with `nginx.weights: dns`: 1 to 63 letters, digits, dashes and underscores between dots")
			break
		}
	}
	if u.Method == "ip_hash" {
		s.fail(key+".nginx_upstream.method", u.Method, "empty, least_conn or random with `nginx.weights: dns`: the order of the servers, which decides who gets which client, is not fixed there")
	}
	if least := max(64, 4*len(raw.Servers)); zoneKB(u.Zone) < least {
		s.fail(key+".nginx_upstream.zone", u.Zone, "at least %dk for %d servers with `nginx.weights: dns`: nginx keeps the servers there, and says nothing to anyone when they do not fit", least, len(raw.Servers))
	}
	if most := dnsServers(raw); len(raw.Servers) > most {
		s.fail(key+".servers", strconv.Itoa(len(raw.Servers)), "at most %d servers with `nginx.weights: dns` (200, or 100 when one has an IPv6 address): nginx asks for all addresses at once and loses answers beyond", most)
	}
	for i, srv := range raw.Servers {
		if strings.HasPrefix(srv.Address, "unix:") {
			s.fail(fmt.Sprintf("%s.servers[%d].address", key, i), srv.Address, "an IP address and a port with `nginx.weights: dns`: an SRV record has no place for a socket's path")
		}
	}
}
