package main

import (
	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/gunicorn"
	"github.com/tidegate/tidegate/agent/passenger"
	"github.com/tidegate/tidegate/agent/phpfpm"
	"github.com/tidegate/tidegate/agent/puma"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/agent/sockdiag"
	"github.com/tidegate/tidegate/agent/supervise"
	"github.com/tidegate/tidegate/agent/systemd"
	"github.com/tidegate/tidegate/agent/uwsgi"
	"github.com/tidegate/tidegate/conf"
)

// agentApp makes the adapters of one application. table is what all applications ask for sockets.
func agentApp(c conf.AgentApp, table *sockdiag.Table) agent.App {
	actuator := agentActuator(c)
	app := agent.App{Name: c.Name, Min: c.Min, Max: c.Max, Threads: c.Threads, Check: c.Check,
		Source: agentSource(c, actuator), Actuator: actuator}
	if p, ok := app.Actuator.(*supervise.Processes); ok {
		app.Queue = p.Queue()
	}
	if len(c.Sockets) > 0 {
		sockets := sockdiag.New(table, c.Sockets...)
		app.Queue = sockets
		if c.Busy == conf.BusySockets {
			app.Source = sockets
		}
	}
	return app
}

// agentSource is what counts busy workers: the marks, or else the server itself; the sockets are seen to by the caller.
func agentSource(c conf.AgentApp, actuator adapter.Actuator) adapter.Source {
	if c.Busy != conf.BusyMarks {
		own, _ := actuator.(adapter.Source)
		return own
	}
	if c.PHPFPM != nil {
		return phpfpm.WithMarks(filemarks.New(c.Marks))
	}
	return filemarks.New(c.Marks)
}

// agentActuator is what knows and changes the number of workers.
func agentActuator(c conf.AgentApp) adapter.Actuator {
	least, most := c.Bounds()
	switch {
	case c.Gunicorn != nil && c.Gunicorn.Control != "":
		return gunicorn.New(c.Gunicorn.Control, least, most)
	case c.Gunicorn != nil:
		return signals.NewGunicorn(c.Gunicorn.PIDFile, least, most)
	case c.Unicorn != nil:
		return signals.NewUnicorn(c.Unicorn.PIDFile, least, most)
	case c.Puma != nil:
		return puma.New(puma.Options{PIDFile: c.Puma.PIDFile, Control: c.Puma.Control, Token: c.Puma.Token.Reveal(), Min: least, Max: most})
	case c.UWSGI != nil:
		return uwsgi.New(c.UWSGI.Stats, c.UWSGI.FIFO, least, most)
	case c.PHPFPM != nil:
		f := c.PHPFPM
		return phpfpm.New(phpfpm.Options{PIDFile: f.PIDFile, Pool: f.Pool, Status: f.Status, StatusPath: f.StatusPath,
			CeilingFile: f.CeilingFile, MinDistance: f.MinDistance})
	case c.Passenger != nil:
		return passenger.New(passenger.Options{Registry: c.Passenger.Registry, App: c.Passenger.App})
	case c.Processes != nil:
		return supervise.New(supervised(c))
	case c.Systemd != nil:
		return systemd.New(systemd.Options{Unit: c.Systemd.Unit, Min: least, Max: most})
	default:
		return nil
	}
}

func agentTLS(c *conf.TLS) *agent.TLS {
	if c == nil {
		return nil
	}
	return &agent.TLS{Cert: c.Cert, Key: c.Key, CA: c.CA}
}
