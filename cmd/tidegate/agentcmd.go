package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/VictoriaMetrics/metrics"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/sockdiag"
	"github.com/tidegate/tidegate/conf"
)

func agentCommand() *cobra.Command {
	cmd := daemonCommand("agent -c FILE", "Run the node agent: count busy workers, change worker counts", runAgent)
	cmd.Long = `Agent runs on each machine with workers. It counts the busy workers of each app, changes the number of workers towards what the
controller asks for, and reports both with the host's load (GET /v1/report on its address or socket). Before the controller has
asked, it changes no worker of a server; workers that it runs itself (processes) it keeps at the number wanted last.

It reads FILE again when that changes and at SIGHUP, all or nothing; "tidegate check FILE" does the same and changes nothing.
When it ends, workers stay as they are. docs/app-servers.md has what to write for each app server.`
	cmd.AddCommand(drainCommands()...)
	return cmd
}

// runAgent runs an agent, and another one in its place when the configuration has changed and is good. The new one knows no
// target until the controller tells it (within a turn) and changes nothing until then.
func runAgent(ctx context.Context, file string, log *slog.Logger) error {
	metrics.ExposeMetadata(true)
	cfg, err := conf.LoadAgent(file)
	if err != nil {
		return err
	}
	next := make(chan *conf.Agent, 1)
	reload := func() {
		c, err := conf.LoadAgent(file)
		if err == nil {
			_, err = newAgent(c, log)
		}
		if err != nil {
			log.Error("the configuration was not loaded; the one before stays in force", "file", file, "error", err)
			return
		}
		select {
		case <-next:
		default:
		}
		next <- c
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { conf.Watch(ctx, file, reload, unwatched(log)) })
	wg.Go(func() { onHangup(ctx, reload) })
	var before *conf.Agent
	for {
		c, err := agentUntil(ctx, cfg, next, log)
		switch {
		case err == nil && c == nil:
			return nil
		case err == nil:
			log.Info("the configuration was loaded", "file", file)
			cfg, before = c, cfg
		case before == nil:
			return err
		default:
			log.Error("the agent cannot run with the new configuration; back to the one before", "file", file, "error", err)
			cfg, before = before, nil
		}
	}
}

// agentUntil runs one agent until ctx ends (then the result is nil) or another configuration comes.
func agentUntil(ctx context.Context, cfg *conf.Agent, next <-chan *conf.Agent, log *slog.Logger) (*conf.Agent, error) {
	a, err := newAgent(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := makeParent(cfg.Listen); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	log.Info("the node agent runs", "node", cfg.Node, "listen", cfg.Listen, "apps", len(cfg.Apps))
	select {
	case err := <-done:
		return nil, err
	case c := <-next:
		cancel()
		return c, <-done
	}
}

func newAgent(c *conf.Agent, log *slog.Logger) (*agent.Agent, error) {
	o := agent.Options{Node: c.Node, Listen: c.Listen, Token: c.Token.Reveal(), Log: log, ScanEvery: c.Scan,
		TLS: agentTLS(c.TLS), StateDir: c.StateDir}
	table := sockdiag.NewTable()
	for _, app := range c.Apps {
		o.Apps = append(o.Apps, agentApp(app, table))
	}
	return agent.New(o)
}
