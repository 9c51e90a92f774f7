package conf

import (
	"net"
	"slices"
	"strings"
	"time"
)

// haproxies takes the HAProxy instances: one mapping, or a list of them with names.
func (s *source) haproxies(raw *rawHAProxies, c *Controller) {
	if raw.named && len(raw.list) == 0 {
		s.fail("haproxy", "", "one HAProxy, or a list of at least one")
	}
	names, sockets := map[string]string{}, map[string]string{}
	for i, r := range raw.list {
		key, def := "haproxy", "unix:/run/haproxy/admin.sock"
		if raw.named {
			key = index("haproxy", i)
			if len(raw.list) > 1 {
				def = ""
			}
		}
		h := HAProxy{
			Name: r.Name, Socket: s.haproxySocket(key, &r, def), Remote: r.Remote,
			Timeout: s.duration(key+".timeout", r.Timeout, 2*time.Second, 100*time.Millisecond, 30*time.Second),
		}
		if raw.named || r.Name != "" {
			s.name(key+".name", r.Name)
		}
		s.unique(names, "HAProxy name", key+".name", h.Name)
		s.unique(sockets, "HAProxy socket", key+".socket", h.Socket)
		c.HAProxy = append(c.HAProxy, h)
	}
}

// haproxySocket takes where a runtime API listens, as HAProxy writes it or as we do. Over TCP it asks for no password, so that
// another machine's takes a word of consent.
func (s *source) haproxySocket(key string, r *rawHAProxy, def string) string {
	value := strings.TrimPrefix(strings.TrimPrefix(r.Socket, "ipv4@"), "ipv6@")
	if value == "" && def == "" {
		s.fail(key+".socket", "", "unix:/path or an IP address and a port, of each HAProxy its own")
		return ""
	}
	value = s.socket(key+".socket", value, def)
	host, _, err := net.SplitHostPort(value)
	if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsLoopback() && !r.Remote {
		s.fail(key+".socket", value, "a unix socket or a loopback address; with `remote: true` another machine's, where a firewall lets only tidegate in, because HAProxy asks for no password there")
	}
	return value
}

// onProxies takes the names of the instances that an app is on.
func (s *source) onProxies(key string, raw *rawApp, c *Controller) []string {
	if raw.HAProxy == nil || s.policyOnly {
		return nil
	}
	var known []string
	for _, h := range c.HAProxy {
		if h.Name != "" && !slices.Contains(known, h.Name) {
			known = append(known, h.Name)
		}
	}
	allowed := "the names of instances in `haproxy`: " + strings.Join(known, ", ")
	if len(known) == 0 {
		allowed = "nothing, as long as the instances in `haproxy` have no names"
	}
	if len(raw.HAProxy) == 0 {
		s.fail(key+".haproxy", "", "%s", allowed)
	}
	for i, name := range raw.HAProxy {
		at := index(key+".haproxy", i)
		switch {
		case !slices.Contains(known, name):
			s.fail(at, name, "%s", allowed)
		case slices.Contains(raw.HAProxy[:i], name):
			s.fail(at, name, "a name that stands in this list once")
		}
	}
	if raw.Backend == "" {
		s.fail(key+".haproxy", strings.Join(raw.HAProxy, ", "), "nothing, as long as the app has no haproxy_backend")
	}
	return raw.HAProxy
}
