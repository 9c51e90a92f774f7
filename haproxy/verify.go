package haproxy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Result is the outcome of one command: nil when HAProxy accepted it and the read-back shows its effect.
type Result struct {
	Command Command
	Err     error
}

// results judges each command by its own answer and by the state read after all of them. Only the last command for an
// attribute has to be seen in it: a batch may go through several states ("drain; health down; ready").
func results(cmds []Command, replies [][]byte, after State, where string) []Result {
	out := make([]Result, len(cmds))
	last := map[string]int{}
	for i, c := range cmds {
		last[attribute(c)] = i
	}
	for i, c := range cmds {
		out[i].Command = c
		if out[i].Err = refusal(c, replies[i], where); out[i].Err != nil || last[attribute(c)] != i {
			continue
		}
		if c.Kind == KindHealth {
			// Maintenance that follows in the same batch hides the health it had.
			s, set := last[attribute(SetState(c.Backend, c.Server, Maint))]
			if set && s > i && cmds[s].To == Maint {
				continue
			}
		}
		if gone, set := last[attribute(DelServer(c.Backend, c.Server))]; set && gone > i {
			continue // the server may be deleted by now
		}
		if out[i].Err = taken(c, after); c.Kind == KindAddr && out[i].Err != nil && changesAddr(message(replies[i])) {
			out[i].Err = nil // 3.0 and later change it after they have answered
		}
	}
	return out
}

func attribute(c Command) string {
	kind := c.Kind
	if kind == KindAdd {
		kind = KindDel
	}
	return string(kind) + " " + c.Backend + "/" + c.Server
}

// accepted tells whether an answer to a command that is never answered in silence says that it was done.
func accepted(kind Kind, text string) bool {
	switch kind {
	case KindAddr:
		return changesAddr(text) || strings.HasPrefix(text, "no need to change the addr") || text == "nothing changed"
	case KindAdd:
		return text == "New server registered."
	case KindDel:
		return text == "Server deleted."
	}
	return false
}

func changesAddr(text string) bool {
	return strings.Contains(text, "IP changed from '") || strings.Contains(text, "port changed from '")
}

// refusal reads the answer to a change. An empty one is the only success; what is not known is a failure too.
func refusal(c Command, reply []byte, where string) error {
	text := message(reply)
	switch c.Kind {
	case KindAddr, KindAdd, KindDel:
		if accepted(c.Kind, text) {
			return nil
		}
	default:
		if len(reply) == 0 {
			return nil
		}
	}
	if text == "Backend must use a dynamic load balancing to support dynamic servers." || strings.HasPrefix(text, "Backend does not support dynamic servers") {
		return fmt.Errorf("%s: HAProxy refuses it: servers of backend %q cannot come and go (%s)", c, c.Backend, text)
	}
	switch text {
	case "Permission denied":
		return fail(ErrDenied, nil, `%s: the stats socket %s refuses changes (%s); its "stats socket" line in haproxy.cfg needs "level admin"`, c, where, text)
	case "No such backend.":
		return fail(ErrMissing, nil, "%s: HAProxy has no backend %q", c, c.Backend)
	case "No such server.":
		return fail(ErrMissing, nil, "%s: HAProxy has no server %q in backend %q", c, c.Server, c.Backend)
	case "Only servers in maintenance mode can be deleted.", "Server still has connections attached to it, cannot remove it.":
		return fail(ErrBusy, nil, "%s: HAProxy answers %q", c, text)
	case "Proxy is disabled.":
		return fmt.Errorf("%s: HAProxy refuses it: the backend %q is disabled in haproxy.cfg, or the process is an old one", c, c.Backend)
	case "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.":
		return fmt.Errorf(`%s: HAProxy refuses it: the balance algorithm of backend %q takes no other weight than 0 and the configured one; use roundrobin or leastconn, or "hash-type consistent"`, c, c.Backend)
	}
	return fmt.Errorf("%s: HAProxy answers %q", c, text)
}

// taken compares the wanted value with the one read back.
func taken(c Command, after State) error {
	srv, ok := after.Backends[c.Backend].Server(c.Server)
	if c.Kind == KindDel {
		if ok {
			return fail(ErrNotTaken, nil, "%s: it did not take: the server is still in the read-back", c)
		}
		return nil
	}
	if !ok {
		return fail(ErrMissing, nil, "%s: it did not take: the server is not in the read-back", c)
	}
	no := func(want, read any) error {
		return fail(ErrNotTaken, nil, "%s: it did not take: want %s %v, read %v", c, c.Kind, want, read)
	}
	switch c.Kind {
	case KindWeight:
		if srv.Weight != c.N {
			return no(c.N, srv.Weight)
		}
	case KindMaxConn:
		if srv.MaxConn != c.N {
			return no(c.N, srv.MaxConn)
		}
	case KindAddr, KindAdd:
		want, err := netip.ParseAddrPort(c.To)
		if got, gotErr := netip.ParseAddrPort(srv.Addr); err != nil || gotErr != nil || got != want {
			return no(c.To, srv.Addr)
		}
	case KindCheck:
		if !srv.CheckEnabled {
			return no("enabled", "disabled")
		}
	case KindState:
		if got := srv.Admin; c.To == Ready && !got.Ready() || c.To == Drain && !got.Drain() || c.To == Maint && !got.Maint() {
			return no(c.To, got)
		}
	case KindHealth:
		if c.To == Up && srv.Op == OpStopped || c.To == Down && srv.Op != OpStopped {
			return no(c.To, srv.Op)
		}
	}
	return nil
}
