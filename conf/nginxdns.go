package conf

import (
	"fmt"
	"net/netip"
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
	out.DNS, out.Fallback = "127.0.0.1:5390", true
	if n.DNS == nil {
		return
	}
	out.Fallback = choice(n.DNS.Fallback, true)
	if n.DNS.Listen == "" {
		return
	}
	out.DNS = n.DNS.Listen
	if at, err := netip.ParseAddrPort(n.DNS.Listen); err != nil || at.Port() == 0 || !at.Addr().IsLoopback() || at.Addr().Zone() != "" {
		s.fail("nginx.dns.listen", n.DNS.Listen, "a loopback address and a port, such as 127.0.0.1:5390 (nginx runs on this machine)")
	}
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
	for i, srv := range raw.Servers {
		if strings.HasPrefix(srv.Address, "unix:") {
			s.fail(fmt.Sprintf("%s.servers[%d].address", key, i), srv.Address, "an IP address and a port with `nginx.weights: dns`: an SRV record has no place for a socket's path")
		}
	}
}
