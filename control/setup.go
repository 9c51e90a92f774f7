package control

import (
	"time"

	"github.com/tidegate/tidegate/core"
)

// Setup is everything a configuration determines. It is replaced as a whole by a reload. Proxy, Web and Traffic are nil when
// the configuration has none; then no app refers to them.
type Setup struct {
	File string
	Tick time.Duration
	// DecisionsOnly keeps what quiet turns saw out of the journal, which then does not replay.
	DecisionsOnly bool
	Proxy         Proxy
	Web           Web
	Traffic       Traffic
	Nodes         map[string]Node
	Apps          []App
}

// App is an app's policy and addresses.
type App struct {
	Policy     core.AppPolicy
	Backend    string
	Upstream   WebUpstream
	StaleAfter time.Duration
	Servers    []Server
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
		if a.At != nil {
			p.Apps = append(p.Apps, a.At(now))
		} else {
			p.Apps = append(p.Apps, a.Policy)
		}
	}
	return p
}

func (s Setup) backends() []string {
	var out []string
	for _, a := range s.Apps {
		if a.Policy.Proxied {
			out = append(out, a.Backend)
		}
	}
	return out
}

func (s Setup) app(name string) *App {
	for i := range s.Apps {
		if s.Apps[i].Policy.Name == name {
			return &s.Apps[i]
		}
	}
	return nil
}

func (a *App) server(name string) *Server {
	for i := range a.Servers {
		if a.Servers[i].Name == name {
			return &a.Servers[i]
		}
	}
	return nil
}
