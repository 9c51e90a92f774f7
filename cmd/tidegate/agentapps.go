package main

import (
	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/agent/supervise"
	"github.com/tidegate/tidegate/agent/systemd"
	"github.com/tidegate/tidegate/conf"
)

// agentApp makes the adapters of one application.
func agentApp(c conf.AgentApp) agent.App {
	app := agent.App{Name: c.Name, Min: c.Min, Max: c.Max, Source: agentSource(c), Actuator: agentActuator(c)}
	if p, ok := app.Actuator.(*supervise.Processes); ok {
		app.Queue = p.Queue()
	}
	return app
}

// agentSource is what counts busy workers.
func agentSource(c conf.AgentApp) adapter.Source {
	return filemarks.New(c.Marks)
}

// agentActuator is what knows and changes the number of workers.
func agentActuator(c conf.AgentApp) adapter.Actuator {
	switch {
	case c.Gunicorn != nil:
		return signals.NewGunicorn(c.Gunicorn.PIDFile, c.Min, c.Max)
	case c.Processes != nil:
		return supervise.New(supervised(c))
	case c.Systemd != nil:
		return systemd.New(systemd.Options{Unit: c.Systemd.Unit, Min: c.Min, Max: c.Max})
	default:
		return nil
	}
}
