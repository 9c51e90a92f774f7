package conf

import (
	"net"
	"strings"
)

// Load reads a file of either kind, told apart by the key `node`, which only an agent's file has at its top. Exactly one of
// the results is not nil when err is nil.
func Load(file string) (*Controller, *Agent, error) {
	var probe map[string]any
	s, err := open(file, &probe)
	if err != nil {
		return nil, nil, err
	}
	if _, agent := probe["node"]; agent {
		a, err := LoadAgent(s.file)
		return nil, a, err
	}
	c, err := LoadController(s.file)
	return c, nil, err
}

func loopback(addr string) bool {
	if strings.HasPrefix(addr, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
