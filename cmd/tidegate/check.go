package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE | -c FILE",
		Short: "Check a configuration of the controller or of a node agent",
		Long: `Check reads a configuration file of either kind exactly as run, agent and a reload do, and prints every problem with file, line, column,
key, value and what is allowed. Exit status: 0 when the file is good, 2 when it is not. Nothing is changed and nothing is
contacted; where nginx shall take weights through DNS, its version is looked at.

With --live it also proves the wiring of a controller's file, line by line: HAProxy answers, takes changes, has the backends,
servers and tidegate's sections; its messages arrive; the node agents answer; nginx accepts its configuration and includes ours.
With --haproxy (once for each -f of HAProxy, in that order) it looks into these files, too. Exit status 1 when something is missing.`,
		Args: cobra.MaximumNArgs(1),
	}
	named := cmd.Flags().StringP("config", "c", "", "the configuration `FILE`, as the other commands take it")
	live := cmd.Flags().Bool("live", false, "prove the wiring on the running programs")
	var o liveOptions
	cmd.Flags().StringArrayVar(&o.Files, "haproxy", nil, "HAProxy's configuration `FILE`, for --live; may be given several times")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(o.Files) > 0 && !*live {
			return usageError{errors.New("--haproxy goes with --live")}
		}
		if *named != "" {
			args = append(args, *named)
		}
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s needs one FILE, the configuration of the controller or of a node agent", cmd.CommandPath())}
		}
		c, err := check(cmd.Context(), cmd.OutOrStdout(), args[0])
		if err != nil || !*live {
			return err
		}
		if c == nil {
			return usageError{fmt.Errorf("%s is a node agent's file; --live is for the controller's", args[0])}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
		defer cancel()
		return checkLive(ctx, cmd.OutOrStdout(), c, o)
	}
	return cmd
}

// check reads a file; the result is nil for a node agent's.
func check(ctx context.Context, out io.Writer, file string) (*conf.Controller, error) {
	c, a, err := conf.Load(file)
	if err != nil {
		return nil, usageError{err}
	}
	quietLog := slog.New(slog.DiscardHandler)
	if a != nil {
		if _, err := newAgent(a, quietLog); err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", file, err)}
		}
		fmt.Fprintf(out, "%s is good: node agent %s, %d app(s)\n", file, a.Node, len(a.Apps))
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The same building as at start, without nginx's recovery, which looks at the live file.
	r := &rooms{log: quietLog, offline: true}
	if _, err := r.build(ctx, c); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	servers := 0
	for _, app := range c.Apps {
		servers += len(app.Servers)
	}
	fmt.Fprintf(out, "%s is good: controller, %d app(s), %d server(s), %d node(s)\n", file, len(c.Apps), servers, len(c.Nodes))
	return c, nil
}
