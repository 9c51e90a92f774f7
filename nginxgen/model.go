package nginxgen

import (
	"fmt"
	"slices"
	"time"
)

// Model is the wanted content of the include file.
type Model struct {
	// Upstreams are written in this order. Their names differ (nginx compares them without regard to case). For one file
	// they are all http or all stream.
	Upstreams []Upstream
	// Why is the reason of the change in one sentence, for logs and outcomes. It never reaches the file.
	Why string
	// Rates are requests per second by upstream, as far as they are known, for the Budget. They never reach the file.
	Rates map[string]float64
}

// Upstream is one `upstream NAME { ... }` block.
type Upstream struct {
	// Name is 1 to 128 letters, digits, `_`, `.` and `-`, beginning with a letter, a digit or `_`.
	Name string
	// Stream: the block belongs into nginx's stream block (TCP and UDP), not into http.
	Stream bool
	// Method is "" (weighted round robin), "least_conn", "random", "random two", "random two least_conn", "ip_hash",
	// "hash KEY" or "hash KEY consistent"; KEY is made of letters, digits and `$ _ . : / -`, at most 128. "ip_hash" is for
	// http alone.
	Method string
	// Zone is the size of the shared memory zone "tidegate_NAME" (of stream "tidegate_stream:NAME"), from "32k" to "64m"; ""
	// for none. With a zone all workers share one state, so weights hold exactly.
	Zone string
	// Keepalive is the number of idle connections each worker keeps to the servers, 0 (none) to 10000; http alone.
	Keepalive int
	// Resolve makes nginx ask for the servers by DNS; Servers are then backups, or none.
	Resolve Resolve
	// Servers may be empty, or all backups: then, unless they come by DNS, one server that is down stands in for those that are
	// missing, as nginx refuses such a block. Without a backup it answers 502.
	Servers []Server
}

// Server is one `server` line.
type Server struct {
	// Address is "ip:port", "[ipv6]:port" or "unix:/path". Host names are refused: one that does not resolve fails all of nginx.
	Address string
	// Weight is 1 to 1000, at most 100 with "hash ... consistent"; 0 means 1.
	Weight int
	// Down takes the server out; it keeps its place, which hash methods need. Backup serves when no other does.
	Down, Backup bool
	// MaxConns is the limit of connections, 0 (none) to 1000000.
	MaxConns int
	// MaxFails is 1 to 1000; 0 leaves nginx's default (1), -1 writes max_fails=0 (failures are not counted).
	MaxFails int
	// FailTimeout is 1 s to 1 h in whole seconds; 0 leaves nginx's default (10 s).
	FailTimeout time.Duration
	// Name is a comment on the line, "" for none: letters, digits and `. _ : @ / + -`, at most 128.
	Name string
}

// noServer is what an upstream without servers gets: nginx refuses an empty block and one of backups only, and a server
// that is down is never asked. Port 9 (discard) makes the line harmless even when somebody deletes the word down.
var noServer = Server{Address: "127.0.0.1:9", Weight: 1, Down: true, Name: "no-server-known"}

// stream tells whether the upstreams are for the stream block.
func (m Model) stream() bool { return len(m.Upstreams) > 0 && m.Upstreams[0].Stream }

// primaries counts the servers that are not backups, down or not.
func (u Upstream) primaries() int {
	n := 0
	for _, s := range u.Servers {
		if !s.Backup {
			n++
		}
	}
	return n
}

// standIn is noServer, at an address that none of the upstream's servers has.
func (u Upstream) standIn() Server {
	s := noServer
	for host := 2; slices.ContainsFunc(u.Servers, func(o Server) bool { return canonical(o.Address) == s.Address }); host++ {
		s.Address = fmt.Sprintf("127.0.0.%d:9", host)
	}
	return s
}

// normal returns the model as it reads back from the file: defaults filled in, the reason dropped.
func (m Model) normal() Model {
	out := Model{Upstreams: make([]Upstream, len(m.Upstreams))}
	for i, u := range m.Upstreams {
		u.Servers = slices.Clone(u.Servers)
		if u.primaries() == 0 && !u.Resolve.on() {
			u.Servers = slices.Insert(u.Servers, 0, u.standIn())
		}
		for j := range u.Servers {
			if u.Servers[j].Weight == 0 {
				u.Servers[j].Weight = 1
			}
		}
		out.Upstreams[i] = u
	}
	return out
}

// equal compares two normal models.
func (m Model) equal(o Model) bool {
	return slices.EqualFunc(m.Upstreams, o.Upstreams, func(a, b Upstream) bool {
		return a.Name == b.Name && a.Stream == b.Stream && a.Method == b.Method && a.Zone == b.Zone && a.Keepalive == b.Keepalive &&
			a.Resolve == b.Resolve &&
			slices.Equal(a.Servers, b.Servers)
	})
}

type member struct {
	upstream, address string
	backup            bool
}

// members are the servers, as to address, that would be asked: those that are not down.
func (m Model) members() map[member]bool {
	set := map[member]bool{}
	for _, u := range m.Upstreams {
		// The block itself is a member, so that a new or a vanished upstream counts.
		set[member{upstream: u.Name}] = true
		for _, s := range u.Servers {
			if !s.Down {
				set[member{u.Name, s.Address, s.Backup}] = true
			}
		}
	}
	return set
}
