package conf

import (
	"net"
	"strings"
)

// agentKeys are keys that only an agent's file has at its top.
var agentKeys = []string{"node", "listen", "token_file", "scan", "tls"}

// Load reads a file of either kind, told apart by the keys that only an agent's file has, at its top or at an app. Exactly
// one of the results is not nil when err is nil.
func Load(file string) (*Controller, *Agent, error) {
	var probe map[string]any
	s, err := open(file, &probe)
	if err != nil {
		return nil, nil, err
	}
	if forAgent(probe) {
		a, err := LoadAgent(s.file)
		return nil, a, err
	}
	c, err := LoadController(s.file)
	return c, nil, err
}

func forAgent(file map[string]any) bool {
	for _, key := range agentKeys {
		if _, there := file[key]; there {
			return true
		}
	}
	apps, _ := file["apps"].([]any)
	for _, app := range apps {
		keys, _ := app.(map[string]any)
		for _, server := range agentServers {
			if _, there := keys[server.name]; there {
				return true
			}
		}
	}
	return false
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
