package conf

import (
	"net/netip"
	"strings"
)

// What counts an app's busy workers on its node.
const (
	BusyMarks   = "marks"
	BusySockets = "sockets"
	BusyServer  = "server"
)

// agentSockets reads the sockets that the app listens on.
func (s *source) agentSockets(key string, raw []string, app *AgentApp, seen map[string]string) {
	for i, value := range raw {
		at := index(key, i)
		if value == "" {
			s.fail(at, value, "ADDRESS:PORT with an IP address, or unix:/path")
			continue
		}
		s.socket(at, value, "")
		if a, err := netip.ParseAddrPort(value); err == nil {
			value = netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
		} else if !strings.HasPrefix(value, "unix:") {
			continue // socket has said so
		}
		s.unique(seen, "socket", at, value)
		app.Sockets = append(app.Sockets, value)
	}
}

// agentBusy decides what counts the app's busy workers: what the file says, or the best that is there. tells: the server that
// runs the app reports them itself.
func (s *source) agentBusy(key, value string, app *AgentApp, server string, tells bool) {
	app.Busy = s.oneOf(key, value, "", BusyMarks, BusySockets, BusyServer)
	switch {
	case value == BusyMarks && app.Marks == "":
		s.fail(key, value, "marks only where the app has a marks folder")
	case value == BusySockets && len(app.Sockets) == 0:
		s.fail(key, value, "sockets only where the app's sockets are listed")
	case value == BusyServer && !tells:
		s.fail(key, value, "marks or sockets; %s does not report its busy workers, or not with what the file says of it", server)
	case value != "":
	case app.Marks != "":
		app.Busy = BusyMarks
	case tells:
		app.Busy = BusyServer
	case len(app.Sockets) > 0:
		app.Busy = BusySockets
	default:
		s.fail(key, value, "marks, or sockets, or the section of a server that reports its busy workers; something must count them")
	}
}
