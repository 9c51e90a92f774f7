package haproxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxTemplate bounds what one server-template line, or all of them together, may grow to.
const maxTemplate = 100_000

// serverDefaults are the options that `default-server` lines collected.
type serverDefaults struct {
	words                   []string
	weight, maxConn         int
	check, disabled, backup bool
	agentCheck              bool
	cookie, track           string
}

// valued are the server options that take a value, so that the value is not read as an option (configuration manual, section
// 5.2; HAProxy 2.6 to 3.2). `source` and `usesrc` are each followed by one.
var valued = words(`addr agent-addr agent-inter agent-port agent-send alpn ca-file ca-verify-file check-alpn check-proto check-sni
	check-sni-auto ciphers ciphersuites client-sigalgs cookie crl-file crt curves downinter error-limit fall fastinter guid hash-key
	id idle-ping init-addr init-state inter interface log-bufsize log-proto max-reuse maxconn maxqueue minconn namespace npn observe
	on-error on-marked-down on-marked-up pool-conn-name pool-low-conn pool-max-conn pool-purge-delay port proto proxy-v2-options
	redir resolve-net resolve-opts resolve-prefer resolvers rise shard sigalgs slowstart sni socks4 source ssl-max-ver ssl-min-ver
	tcp-md5sig tcp-ut track usesrc verify verifyhost weight ws cc set-proxy-v2-tlv-fmt`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// add takes the options of a default-server or server line on top of what is there.
func (d *serverDefaults) add(opts []string) error {
	d.words = append(slices.Clone(d.words), opts...)
	for i := 0; i < len(opts); i++ {
		name, value := opts[i], ""
		word, _, _ := strings.Cut(name, "(") // set-proxy-v2-tlv-fmt(0x20) VALUE
		if valued[word] {
			if i++; i >= len(opts) {
				return fmt.Errorf("the server option %s needs a value", name)
			}
			value = opts[i]
		}
		var err error
		switch name {
		case "check":
			d.check = true
		case "no-check":
			d.check = false
		case "agent-check":
			d.agentCheck = true
		case "no-agent-check":
			d.agentCheck = false
		case "disabled":
			d.disabled = true
		case "enabled":
			d.disabled = false
		case "backup":
			d.backup = true
		case "no-backup":
			d.backup = false
		case "weight":
			d.weight, err = optionNumber(name, value, MaxWeight)
		case "maxconn":
			d.maxConn, err = optionNumber(name, value, 1<<31-1)
		case "cookie":
			d.cookie = value
		case "track":
			d.track = value
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func optionNumber(name, value string, most int) (int, error) {
	n, err := bounded(value, most)
	if err != nil {
		return 0, fmt.Errorf("the server option %s: %w", name, err)
	}
	return n, nil
}

// addServer takes "server NAME ADDRESS options".
func (r *reader) addServer(w []string) error {
	if r.proxy.Kind != "backend" && r.proxy.Kind != "listen" {
		return nil
	}
	if len(w) < 3 {
		return fmt.Errorf("a server line has a name and an address")
	}
	s, err := r.server(w[2], w[3:])
	if err != nil {
		return err
	}
	return r.appendServer(s, w[1])
}

// addTemplate takes "server-template PREFIX COUNT|FROM-TO ADDRESS options".
func (r *reader) addTemplate(w []string) error {
	if r.proxy.Kind != "backend" && r.proxy.Kind != "listen" {
		return nil
	}
	if len(w) < 4 {
		return fmt.Errorf("a server-template line has a prefix, a number or range and an address")
	}
	low, high, ranged := strings.Cut(w[2], "-")
	if !ranged {
		low, high = "1", low
	}
	from, err1 := strconv.ParseUint(low, 10, 31)
	to, err2 := strconv.ParseUint(high, 10, 31)
	if err1 != nil || err2 != nil || from > to || to-from >= maxTemplate {
		return fmt.Errorf("the number %.40q of a server-template is not N or N-M with at most %d servers", w[2], maxTemplate)
	}
	s, err := r.server(w[3], w[4:])
	if err != nil {
		return err
	}
	for n := from; n <= to; n++ {
		if err := r.appendServer(s, w[1]+strconv.FormatUint(n, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) server(addr string, opts []string) (ConfigServer, error) {
	d := r.proxy.server
	if err := d.add(opts); err != nil {
		return ConfigServer{}, err
	}
	s := ConfigServer{Line: r.line, Check: d.check, AgentCheck: d.agentCheck, Disabled: d.disabled, Backup: d.backup, Weight: d.weight, MaxConn: d.maxConn,
		Cookie: d.cookie, Track: d.track, Options: d.words}
	for _, prefix := range []string{"unix@", "abns@", "ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@", "quic4@", "quic6@", "rhttp@", "fd@", "sockpair@"} {
		if rest, ok := strings.CutPrefix(addr, prefix); ok {
			if prefix == "unix@" || prefix == "abns@" || prefix == "fd@" || prefix == "rhttp@" || prefix == "sockpair@" {
				s.Host = rest
				return s, nil
			}
			addr = rest
			break
		}
	}
	if strings.HasPrefix(addr, "/") {
		s.Host = addr
		return s, nil
	}
	host, port, hasPort := cutPort(addr)
	if host != "*" {
		s.Host = host
	}
	if hasPort && port != "" && port[0] != '+' && port[0] != '-' {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return s, fmt.Errorf("the port %.40q of the server's address %.120q is not 0 to 65535", port, addr)
		}
		s.Port = int(n)
	}
	return s, nil
}

func (r *reader) appendServer(s ConfigServer, name string) error {
	if err := checkName("server", name); err != nil {
		return err
	}
	if len(r.proxy.Servers) >= maxTemplate {
		return fmt.Errorf("the backend %s has more than %d servers", r.proxy.Name, maxTemplate)
	}
	s.Name = name
	r.proxy.Servers = append(r.proxy.Servers, s)
	return nil
}
