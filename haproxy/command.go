package haproxy

import (
	"fmt"
	"strconv"
)

// Kind says which attribute of a server a command sets.
type Kind string

// The attributes tidegate sets. Each has one owner, named in the configuration.
const (
	KindWeight  Kind = "weight"
	KindState   Kind = "state"
	KindHealth  Kind = "health"
	KindMaxConn Kind = "maxconn"
)

// Values of state and health commands. They are exclusive: drain leaves maintenance, ready leaves both.
const (
	Ready = "ready"
	Drain = "drain"
	Maint = "maint"
	Up    = "up"
	Down  = "down"
)

// Limits of what is sent.
const (
	// MaxWeight is HAProxy's highest server weight.
	MaxWeight = 256
	// maxMaxConn is far above any real limit; HAProxy would wrap larger numbers silently.
	maxMaxConn = 1_000_000
	// maxName keeps one command far below the length of a line.
	maxName = 128
)

// Command is one change of one attribute of one server. Make it with SetWeight, SetState, SetHealth or SetMaxConn; Apply
// refuses a whole batch, before it sends anything, when one of its commands is not valid.
type Command struct {
	Kind    Kind
	Backend string
	Server  string
	// N is the value of weight and maxconn commands, To that of state and health commands.
	N  int
	To string
}

// SetWeight sets a server's absolute weight, 0 to 256. A backend with a static algorithm refuses all but 0 and the initial one.
func SetWeight(backend, server string, weight int) Command {
	return Command{Kind: KindWeight, Backend: backend, Server: server, N: weight}
}

// SetState sets the administrative state: Ready, Drain (no new traffic but sticky one, checks go on) or Maint (no traffic,
// checks pause). It does not touch the weight. Leaving Maint puts a checked server up at once, before any check.
func SetState(backend, server, to string) Command {
	return Command{Kind: KindState, Backend: backend, Server: server, To: to}
}

// SetHealth overrides the health: Up or Down. After Down a checked server needs `rise` good checks; one without a check
// stays down for ever. It is lost when the server is in maintenance.
func SetHealth(backend, server, to string) Command {
	return Command{Kind: KindHealth, Backend: backend, Server: server, To: to}
}

// SetMaxConn sets how many requests the server is given at once, 0 (no limit) to 1,000,000.
func SetMaxConn(backend, server string, n int) Command {
	return Command{Kind: KindMaxConn, Backend: backend, Server: server, N: n}
}

// String is for a person: "set server web/s1 weight 10". It is not what goes over the wire when the command is not valid.
func (c Command) String() string {
	line, err := c.wire()
	if err != nil {
		return fmt.Sprintf("(not valid: %s of %.160q/%.160q)", c.Kind, c.Backend, c.Server)
	}
	return line
}

// Check says in one sentence why the command would be refused, nil when it would be sent.
func (c Command) Check() error {
	_, err := c.wire()
	return err
}

// wire is the only place where a command becomes text for HAProxy.
func (c Command) wire() (string, error) {
	if err := checkName("backend", c.Backend); err != nil {
		return "", err
	}
	if err := checkName("server", c.Server); err != nil {
		return "", err
	}
	path := c.Backend + "/" + c.Server
	switch c.Kind {
	case KindWeight:
		if c.N < 0 || c.N > MaxWeight {
			return "", fail(ErrInvalid, nil, "weight %d for %s: a weight is 0 to %d", c.N, path, MaxWeight)
		}
		return "set server " + path + " weight " + strconv.Itoa(c.N), nil
	case KindMaxConn:
		if c.N < 0 || c.N > maxMaxConn {
			return "", fail(ErrInvalid, nil, "maxconn %d for %s: it is 0 (no limit) to %d", c.N, path, maxMaxConn)
		}
		return "set maxconn server " + path + " " + strconv.Itoa(c.N), nil
	case KindState:
		if c.To == Ready || c.To == Drain || c.To == Maint {
			return "set server " + path + " state " + c.To, nil
		}
		return "", fail(ErrInvalid, nil, "state %.40q for %s: it is ready, drain or maint", c.To, path)
	case KindHealth:
		if c.To == Up || c.To == Down {
			return "set server " + path + " health " + c.To, nil
		}
		return "", fail(ErrInvalid, nil, "health %.40q for %s: it is up or down", c.To, path)
	}
	return "", fail(ErrInvalid, nil, "command kind %.40q for %s: it is weight, state, health or maxconn", string(c.Kind), path)
}

// checkName admits what HAProxy itself admits in proxy and server names: letters, digits and "_.:-". It is the guard that
// keeps a name from ending one command and beginning another.
func checkName(what, name string) error {
	if name == "" {
		return fail(ErrInvalid, nil, "the %s name is empty", what)
	}
	if len(name) > maxName {
		return fail(ErrInvalid, nil, "the %s name %.40q... has %d characters; %d are allowed", what, name, len(name), maxName)
	}
	for i := range len(name) {
		b := name[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '_', b == '.', b == ':', b == '-':
		default:
			return fail(ErrInvalid, nil, "the %s name %q has the character %q; letters, digits and _ . : - are allowed", what, name, name[i:i+1])
		}
	}
	return nil
}
