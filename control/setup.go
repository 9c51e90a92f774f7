package control

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/core"
)

// Setup is everything a configuration determines. It is replaced as a whole by a reload. Proxies is empty, Web and Traffic
// are nil when the configuration has none; then no app refers to them.
type Setup struct {
	File string
	Tick time.Duration
	// DecisionsOnly keeps what quiet turns saw out of the journal, which then does not replay.
	DecisionsOnly bool
	Proxies       []Instance
	Web           Web
	Traffic       Traffic
	Nodes         map[string]Node
	// Names is nil when no address has a host name in it.
	Names Names
	Apps  []App
}

// App is an app's policy and addresses.
type App struct {
	Policy  core.AppPolicy
	Backend string
	// Proxies are the names of the HAProxy instances that have the backend; nil for all.
	Proxies []string
	// Upstream has a line for each server, and for spares besides.
	Upstream   WebUpstream
	StaleAfter time.Duration
	Servers    []Server
	// Readdress: HAProxy gets the servers' addresses from here.
	Readdress bool
	// AddOptions are the words on the line of a server that is added to HAProxy.
	AddOptions string
	// At is the policy as it is to be decided by at a time, for what depends on the date (a schedule's time zones); nil for Policy.
	At func(now time.Time) core.AppPolicy
	// Backlog tells the length of the message queue that the app's workers consume, nil without one.
	Backlog Backlog
}

// Server is where a server is found. WarmURL is "" without a warm-up.
type Server struct {
	Name, Address, Node       string
	WarmURL, WarmHost, WarmUA string
	WarmTimeout               time.Duration
}

func (s Setup) policy(now time.Time) core.Policy {
	p := core.Policy{Apps: make([]core.AppPolicy, 0, len(s.Apps))}
	for i := range s.Apps {
		a := &s.Apps[i]
		policy := a.Policy
		if a.At != nil {
			policy = a.At(now)
		}
		if a.Readdress && s.Names != nil {
			policy.Servers = s.placed(a, policy.Servers)
		}
		p.Apps = append(p.Apps, policy)
	}
	return p
}

// placed gives servers whose addresses are names the IP addresses that those stand for now; where that is not known, HAProxy's
// address stays as it is.
func (s Setup) placed(a *App, servers []core.ServerPolicy) []core.ServerPolicy {
	out := slices.Clone(servers)
	for i := range out {
		if out[i].Address == "" {
			out[i].Address = s.address(a, out[i].Name)
		}
	}
	return out
}

// backends are the apps' backends on one HAProxy instance.
func (s Setup) backends(instance string) []string {
	var out []string
	for i := range s.Apps {
		if a := &s.Apps[i]; a.isOn(instance) {
			out = append(out, a.Backend)
		}
	}
	return out
}

func (a *App) isOn(instance string) bool {
	return a.Policy.Proxied && (a.Proxies == nil || slices.Contains(a.Proxies, instance))
}

// on are the places in Proxies of the instances that have the app's backend.
func (s Setup) on(a *App) []int {
	var out []int
	for i := range s.Proxies {
		if a.isOn(s.Proxies[i].Name) {
			out = append(out, i)
		}
	}
	return out
}

// instance is the place in Proxies of the one that a step is for.
func (s Setup) instance(a core.Action) int {
	for _, i := range s.on(s.app(a.App)) {
		if a.Proxy == "" || s.Proxies[i].Name == a.Proxy {
			return i
		}
	}
	return 0
}

func (s Setup) app(name string) *App {
	for i := range s.Apps {
		if s.Apps[i].Policy.Name == name {
			return &s.Apps[i]
		}
	}
	return nil
}

// address is where a server is, "" for one that is not in the setup and while what its name stands for is not known.
func (s Setup) address(a *App, name string) string {
	if srv := a.server(name); srv != nil {
		return s.resolved(srv.Address)
	}
	return ""
}

// resolved puts the IP address in a name's place.
func (s Setup) resolved(address string) string {
	if s.Names == nil {
		return address
	}
	return s.Names.Address(address)
}

func (a *App) server(name string) *Server {
	for i := range a.Servers {
		if a.Servers[i].Name == name {
			return &a.Servers[i]
		}
	}
	return nil
}
