package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/demo"
)

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all on this machine in two minutes, with a real HAProxy, nginx and gunicorn",
		Long: `Demo starts four nodes (gunicorn and a node agent each), HAProxy with the SPOE filter, nginx and the controller on free loopback
ports in a temporary folder, sends a load that goes quiet, four times that, quiet again, and shows what tidegate does. Only
processes it started are ended. Exit status 1 when a request failed. haproxy, nginx and gunicorn must be installed.`,
		Args: cobra.NoArgs,
	}
	set := demo.Defaults()
	cmd.Flags().DurationVar(&set.Quiet, "quiet", set.Quiet, "length of the first phase")
	cmd.Flags().DurationVar(&set.Busy, "busy", set.Busy, "length of the busy phase")
	cmd.Flags().DurationVar(&set.Cool, "cool", set.Cool, "length of the last phase")
	cmd.Flags().Float64Var(&set.Rate, "rate", set.Rate, "requests per second in the quiet phases, 2 to 200")
	cmd.Flags().BoolVar(&set.Keep, "keep", false, "leave the temporary folder with configurations and logs")
	plain := cmd.Flags().Bool("plain", false, "print a table every ten seconds instead of redrawing one")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if set.Rate < 2 || set.Rate > 200 {
			return usageError{fmt.Errorf("--rate %v is not allowed: 2 to 200 requests per second", set.Rate)}
		}
		binary, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the tidegate binary: %w", err)
		}
		set.Binary, set.Out, set.Live = binary, cmd.OutOrStdout(), !*plain && demo.Terminal(os.Stdout)
		// A closed terminal must not leave processes or the folder behind.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
		defer stop()
		return demo.Run(ctx, set)
	}
	return cmd
}
