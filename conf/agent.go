package conf

import (
	"strings"
	"time"
)

// Agent is a complete, validated configuration of `tidegate agent`.
type Agent struct {
	File, Node, Listen string
	Token              Secret
	// Scan is the time between two scans of the marks.
	Scan time.Duration
	// StateDir is where the agent remembers what a person told it; "" for nowhere.
	StateDir string
	// TLS is nil for HTTP.
	TLS  *TLS
	Apps []AgentApp
}

// LoadAgent reads a node agent's configuration; the error is Problems when the file was readable.
func LoadAgent(file string) (*Agent, error) {
	var raw rawAgent
	s, err := open(file, &raw)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		File:   file,
		Node:   s.name("node", raw.Node),
		Listen: s.socket("listen", raw.Listen, "127.0.0.1:9101"),
		Token:  s.token("token_file", raw.TokenFile),
		Scan:   s.duration("scan", raw.Scan, 300*time.Millisecond, 20*time.Millisecond, time.Second),
	}
	a.TLS = s.serverTLS("tls", raw.TLS)
	if a.TLS != nil && strings.HasPrefix(a.Listen, "unix:") {
		s.fail("listen", a.Listen, "an IP address and a port, as long as there is a section tls")
	}
	if raw.StateDir != "" {
		a.StateDir = s.path("state_dir", raw.StateDir, "")
	}
	if a.Token == "" && raw.TokenFile == "" && (a.TLS == nil || a.TLS.CA == "") && !loopback(a.Listen) {
		s.fail("listen", a.Listen, "a loopback address or a unix socket, as long as there is no token_file and no tls.client_ca")
	}
	if len(raw.Apps) == 0 {
		s.fail("apps", "", "at least one app")
	}
	seen := map[string]string{}
	for i := range raw.Apps {
		a.Apps = append(a.Apps, s.agentApp(index("apps", i), &raw.Apps[i], seen))
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	return a, nil
}
