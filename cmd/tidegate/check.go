package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration of the controller or of a node agent",
		Long: `Check reads a configuration file of either kind exactly as run, agent and a reload do, and prints every problem with file, line, column,
key, value and what is allowed. Exit status: 0 when the file is good, 2 when it is not. Nothing is changed and nothing is contacted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return check(cmd.Context(), cmd.OutOrStdout(), args[0]) },
	}
	return cmd
}

func check(ctx context.Context, out io.Writer, file string) error {
	c, a, err := conf.Load(file)
	if err != nil {
		return usageError{err}
	}
	quietLog := slog.New(slog.DiscardHandler)
	if a != nil {
		if _, err := newAgent(a, quietLog); err != nil {
			return usageError{fmt.Errorf("%s: %w", file, err)}
		}
		fmt.Fprintf(out, "%s is good: node agent %s, %d app(s)\n", file, a.Node, len(a.Apps))
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The same building as at start, without nginx's recovery, which looks at the live file.
	r := &rooms{log: quietLog, offline: true}
	if _, err := r.build(ctx, c); err != nil {
		return usageError{fmt.Errorf("%s: %w", file, err)}
	}
	servers := 0
	for _, app := range c.Apps {
		servers += len(app.Servers)
	}
	fmt.Fprintf(out, "%s is good: controller, %d app(s), %d server(s), %d node(s)\n", file, len(c.Apps), servers, len(c.Nodes))
	return nil
}
