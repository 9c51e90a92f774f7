package haproxy

import (
	"strings"
	"time"
)

// State is what one HAProxy process said in one turn.
type State struct {
	Process  Process
	Backends map[string]Backend
}

// Process is the worker process that answered.
type Process struct {
	// ID is "pid:start"; another ID means a restart or reload, after which everything set at run time is gone.
	ID      string
	PID     int
	Started time.Time
	Version string
	Uptime  time.Duration
	// Stopping is true for an old worker that only finishes its connections.
	Stopping bool
}

// Backend is one backend (or the backend half of a listen section) and its servers.
type Backend struct {
	Name string
	// Algorithm is the word in the balance line ("roundrobin"). It is empty when HAProxy does not tell: to a socket of level
	// user, and about random.
	Algorithm string
	// Current counts requests queued and in service, Queued those that wait for any server.
	Current, Queued int
	// Servers are sorted by name.
	Servers []Server
	// Missing: HAProxy has no backend of this name. Disabled: it has, but the section says disabled; no load is known then.
	Missing, Disabled bool
}

// Server finds a server by name.
func (b Backend) Server(name string) (Server, bool) {
	for _, s := range b.Servers {
		if s.Name == name {
			return s, true
		}
	}
	return Server{}, false
}

// Server is one server as HAProxy sees it now.
type Server struct {
	Name string
	// Addr is "host:port" as HAProxy uses it, empty for a unix socket.
	Addr  string
	Admin Admin
	Op    OpState
	// Weight is the one in force (srv_uweight), InitialWeight the configuration's.
	Weight, InitialWeight int
	// CheckConfigured: the configuration has `check`. CheckEnabled: and nobody has disabled it. CheckPassing: the last check
	// that finished passed; in maintenance checks pause and this is old news.
	CheckConfigured, CheckEnabled, CheckPassing bool
	// Current counts requests in service, Queued those bound to this very server (sticky ones); the others queue in the backend.
	Current, Queued int
	// MaxConn 0 is no limit.
	MaxConn int
	// Sessions counts since the process started, the dequeued ones included.
	Sessions uint64
	// Answers counts the server's responses with status 200 to 499 since the process started, -1 where HAProxy does not count them
	// (TCP mode).
	Answers int64
	// Status is HAProxy's own word for a person: "UP", "DOWN 1/2", "MAINT (via b/s)", "no check".
	Status string
}

// Idle tells that no request is in service at or queued for this server.
func (s Server) Idle() bool { return s.Current == 0 && s.Queued == 0 }

// Admin holds HAProxy's administrative flags (srv_admin_state, printed in decimal). 0 is ready, and so is 4 alone.
type Admin uint8

// The flags, from HAProxy's include/haproxy/server-t.h.
const (
	forcedMaint    Admin = 0x01 // by the runtime API
	inheritedMaint Admin = 0x02 // from the server it tracks
	configMaint    Admin = 0x04 // `disabled` in the configuration; history only, it stays set for ever
	forcedDrain    Admin = 0x08 // by the runtime API
	inheritedDrain Admin = 0x10 // from the server it tracks
	resolverMaint  Admin = 0x20 // its name does not resolve
	nameMaint      Admin = 0x40 // its name was set by the runtime API

	maintMask = forcedMaint | inheritedMaint | resolverMaint
	drainMask = forcedDrain | inheritedDrain
)

// Maint tells that the server is in maintenance, whoever put it there.
func (a Admin) Maint() bool { return a&maintMask != 0 }

// Drain tells that the server drains and is not in maintenance.
func (a Admin) Drain() bool { return a&drainMask != 0 && !a.Maint() }

// Ready tells that nothing administrative keeps traffic away.
func (a Admin) Ready() bool { return a&(maintMask|drainMask) == 0 }

// FromConfig tells that the server was `disabled` in the configuration; it may have been made ready since.
func (a Admin) FromConfig() bool { return a&configMaint != 0 }

// String names the state and, in brackets, what of it the runtime API cannot lift.
func (a Admin) String() string {
	word := Ready
	switch {
	case a.Maint():
		word = Maint
	case a.Drain():
		word = Drain
	}
	var why []string
	if a&(inheritedMaint|inheritedDrain) != 0 {
		why = append(why, "inherited from the server it tracks")
	}
	if a&resolverMaint != 0 {
		why = append(why, "its name does not resolve")
	}
	if len(why) > 0 {
		word += " (" + strings.Join(why, ", ") + ")"
	}
	return word
}

// OpState is the operational state, which checks and health commands move (srv_op_state).
type OpState uint8

// Operational states. Stopping is a server that answers its checks with "no new traffic" (disable-on-404, soft-stop).
const (
	OpStopped  OpState = 0
	OpStarting OpState = 1
	OpRunning  OpState = 2
	OpStopping OpState = 3
)

// String names the state.
func (o OpState) String() string {
	switch o {
	case OpStopped:
		return "stopped"
	case OpStarting:
		return "starting"
	case OpRunning:
		return "running"
	case OpStopping:
		return "stopping"
	}
	return "unknown"
}

// Up tells that the server may take traffic as far as its health goes.
func (o OpState) Up() bool { return o == OpStarting || o == OpRunning }
