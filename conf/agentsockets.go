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
		s.say(key, "`busy: marks` needs the key `marks` at this app: the folder of its request marks")
	case value == BusySockets && len(app.Sockets) == 0:
		s.say(key, "`busy: sockets` needs the key `sockets` at this app: a list of what it listens on")
	case value == BusyServer && !tells:
		s.say(key, "`busy: server` is not for this app: %s; take marks or sockets", silent(server))
	case value != "":
	case app.Marks != "":
		app.Busy = BusyMarks
	case tells:
		app.Busy = BusyServer
	case len(app.Sockets) > 0:
		app.Busy = BusySockets
	default:
		s.say(strings.TrimSuffix(key, ".busy"), "nothing counts the busy workers, because %s: add `marks` (the folder of its request marks) or `sockets` (a list of what it listens on)", silent(server))
	}
}

// silent says why a server does not report its busy workers.
func silent(server string) string {
	if server == "puma" {
		return "puma reports them only where `puma.control` names its control app"
	}
	return server + " does not report them"
}
