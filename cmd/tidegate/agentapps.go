package main

import (
	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/conf"
)

// agentApp makes the adapters of one application.
func agentApp(c conf.AgentApp) agent.App {
	return agent.App{Name: c.Name, Min: c.Min, Max: c.Max, Threads: c.Threads, Check: c.Check, Source: agentSource(c), Actuator: agentActuator(c)}
}

// agentSource is what counts busy workers.
func agentSource(c conf.AgentApp) adapter.Source {
	return filemarks.New(c.Marks)
}

// agentActuator is what knows and changes the number of workers.
func agentActuator(c conf.AgentApp) adapter.Actuator {
	least, most := c.Processes()
	switch {
	case c.Gunicorn != nil:
		return signals.NewGunicorn(c.Gunicorn.PIDFile, least, most)
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
