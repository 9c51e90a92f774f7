package haproxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Kind says which attribute of a server a command sets, or that the server comes or goes.
type Kind string

// The attributes tidegate sets. Each has one owner, named in the configuration.
const (
	KindWeight  Kind = "weight"
	KindState   Kind = "state"
	KindHealth  Kind = "health"
	KindMaxConn Kind = "maxconn"
	KindAddr    Kind = "addr"
	// KindCheck is whether configured health checks run; only a server added at run time does not have it on.
	KindCheck Kind = "check"
	// KindSessions are the sessions of a server, which can only be ended.
	KindSessions Kind = "sessions"
	KindAdd      Kind = "add"
	KindDel      Kind = "del"
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
	// maxName keeps one command far below the length of a line, and so does maxOptions.
	maxName    = 128
	maxOptions = 1000
)

// Command is one change of one attribute of one server. Make it with SetWeight, SetState, SetHealth, SetMaxConn, SetAddr,
// EnableHealth, ShutdownSessions, AddServer or DelServer; Apply refuses a whole batch, before it sends anything, when one of its
// commands is not valid.
type Command struct {
	Kind    Kind
	Backend string
	Server  string
	// N is the value of weight and maxconn commands, To that of state, health, addr and add commands.
	N  int
	To string
	// Options are the words after the address of an add command.
	Options string
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

// SetAddr sets where the server is, "10.0.0.1:8000" or "[::1]:8000". Only on a server in maintenance without requests is it
// sure that no request goes to the old address any more (2.6 keeps its idle connections to it otherwise). HAProxy 3.0 and later
// carry it out after they have answered: the read-back of the same call may still show the old address, and a second change of
// the same server in one batch is lost. Whether it took is seen by the next Observe.
func SetAddr(backend, server, addr string) Command {
	return Command{Kind: KindAddr, Backend: backend, Server: server, To: addr}
}

// EnableHealth starts the health checks of a server that was added with "check"; without it they never run.
func EnableHealth(backend, server string) Command {
	return Command{Kind: KindCheck, Backend: backend, Server: server, To: Up}
}

// ShutdownSessions ends all sessions of a server in the middle of whatever they do. Nothing of it can be read back.
func ShutdownSessions(backend, server string) Command {
	return Command{Kind: KindSessions, Backend: backend, Server: server}
}

// AddServer adds a server at an address, in maintenance, with options as on a server line, such as "check inter 500ms weight
// 100". It takes nothing from default-server. The backend's algorithm has to be a dynamic one; 2.6 does not take `cookie`. It is
// gone after a reload.
func AddServer(backend, server, addr, options string) Command {
	return Command{Kind: KindAdd, Backend: backend, Server: server, To: addr, Options: strings.Join(strings.Fields(options), " ")}
}

// DelServer removes a server, one of the configuration too. ErrBusy while it is not in maintenance or has connections.
func DelServer(backend, server string) Command {
	return Command{Kind: KindDel, Backend: backend, Server: server}
}

// CheckOptions says in one sentence why AddServer would refuse the options, nil when it would not.
func CheckOptions(options string) error {
	return AddServer("backend", "server", "127.0.0.1:1", options).Check()
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
	return c.wireMore(path)
}

// wireMore is wire for what is not a plain value of the server.
func (c Command) wireMore(path string) (string, error) {
	switch c.Kind {
	case KindAddr:
		a, err := checkAddr(path, c.To)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("set server %s addr %s port %d", path, a.Addr(), a.Port()), nil
	case KindCheck:
		return "enable health " + path, nil
	case KindSessions:
		return "shutdown sessions server " + path, nil
	case KindAdd:
		a, err := checkAddr(path, c.To)
		if err != nil {
			return "", err
		}
		if err := checkOptions(path, c.Options); err != nil {
			return "", err
		}
		return strings.TrimSpace("add server " + path + " " + a.String() + " " + c.Options), nil
	case KindDel:
		return "del server " + path, nil
	}
	return "", fail(ErrInvalid, nil, "command kind %.40q for %s: it is weight, state, health, maxconn, addr, check, sessions, add or del", string(c.Kind), path)
}

// checkAddr takes an IP address and a port. HAProxy takes a port of 99999 for 34463, and a name for one to be resolved.
func checkAddr(path, addr string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return a, fail(ErrInvalid, nil, "address %.80q for %s: it is an IP address and a port from 1 to 65535, such as 10.0.0.1:8000", addr, path)
	}
	return a, nil
}

// checkOptions admits words of characters that mean nothing to HAProxy's command line.
func checkOptions(path, options string) error {
	if len(options) > maxOptions {
		return fail(ErrInvalid, nil, "the options %.40q... for %s have %d characters; %d are allowed", options, path, len(options), maxOptions)
	}
	for i := range len(options) {
		b := options[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', strings.IndexByte(" _.:,/%=()@+*-", b) >= 0:
		default:
			return fail(ErrInvalid, nil, "the options %q for %s have the character %q; letters, digits, spaces and _ . : , / %% = ( ) @ + * - are allowed", options, path, options[i:i+1])
		}
	}
	for word := range strings.FieldsSeq(options) {
		if word == "enabled" {
			return fail(ErrInvalid, nil, "the options %q for %s say enabled: a new server begins in maintenance", options, path)
		}
	}
	return nil
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
