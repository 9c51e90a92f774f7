package main

import (
	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/agent/sockdiag"
	"github.com/tidegate/tidegate/conf"
)

// agentApp makes the adapters of one application. table is what all applications ask for sockets.
func agentApp(c conf.AgentApp, table *sockdiag.Table) agent.App {
	app := agent.App{Name: c.Name, Min: c.Min, Max: c.Max, Source: agentSource(c), Actuator: agentActuator(c)}
	if len(c.Sockets) > 0 {
		sockets := sockdiag.New(table, c.Sockets...)
		app.Queue = sockets
		if c.Busy == conf.BusySockets {
			app.Source = sockets
		}
	}
	return app
}

// agentSource is what counts busy workers, nil where the sockets or the server itself do.
func agentSource(c conf.AgentApp) adapter.Source {
	if c.Busy == conf.BusyMarks {
		return filemarks.New(c.Marks)
	}
	return nil
}

// agentActuator is what knows and changes the number of workers.
func agentActuator(c conf.AgentApp) adapter.Actuator {
	switch {
	case c.Gunicorn != nil:
		return signals.NewGunicorn(c.Gunicorn.PIDFile, c.Min, c.Max)
	default:
		return nil
	}
}
