package haproxy

import "fmt"

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
		out[i].Err = taken(c, after)
	}
	return out
}

func attribute(c Command) string { return string(c.Kind) + " " + c.Backend + "/" + c.Server }

// refusal reads the answer to a change. An empty one is the only success; what is not known is a failure too.
func refusal(c Command, reply []byte, where string) error {
	if len(reply) == 0 {
		return nil
	}
	text := message(reply)
	switch text {
	case "Permission denied":
		return fail(ErrDenied, nil, `%s: the stats socket %s refuses changes (%s); its "stats socket" line in haproxy.cfg needs "level admin"`, c, where, text)
	case "No such backend.":
		return fail(ErrMissing, nil, "%s: HAProxy has no backend %q", c, c.Backend)
	case "No such server.":
		return fail(ErrMissing, nil, "%s: HAProxy has no server %q in backend %q", c, c.Server, c.Backend)
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
