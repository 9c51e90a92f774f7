package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/internal/hush"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // it did not work
	exitUsage   = 2 // the command line or a configuration file is wrong
)

// version is set by the linker (make build); a plain `go build` has the revision of the checkout or "dev".
var version = ""

func main() {
	hush.Over()
	os.Exit(run(context.Background(), os.Args[1:]))
}

// run executes the command line and turns its error into an exit code; errors are printed once, here.
func run(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	// Whatever fails before a command begins is a mistake on the command line.
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitFailure
	}
	var problems conf.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(os.Stderr, problems)
		return exitUsage
	}
	fmt.Fprintln(os.Stderr, "tidegate:", err)
	var usage usageError
	if errors.As(err, &usage) || !begun {
		return exitUsage
	}
	return exitFailure
}

// errSilent is a failure that has been told already.
var errSilent = errors.New("failed")

// usageError is a mistake on the command line or in what it names.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tidegate",
		Short: "Keep just enough of a fixed fleet in service behind HAProxy and nginx",
		Long: `tidegate hears every request's timing from HAProxy (SPOE, no log parsing) and from each node how many workers are busy,
decides how many workers and which servers should serve, and makes it so: HAProxy's servers through the runtime API, worker
counts through the node agents, weighted nginx upstreams through a generated include file and a proven reload.

Begin with "tidegate init --haproxy /etc/haproxy/haproxy.cfg --nginx /etc/nginx/nginx.conf --out DIR", or look at "tidegate demo".`,
		SilenceErrors: true, SilenceUsage: true,
		Args:    cobra.NoArgs,
		Version: buildVersion(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("tidegate {{.Version}}\n")
	root.AddCommand(runCommand(), agentCommand(), checkCommand(), statusCommand(), explainCommand(), ordersCommand(), holdCommand(), pinCommand(), reserveCommand(),
		releaseCommand(), reloadCommand(), decideCommand(), replayCommand(), simulateCommand(), initCommand(), demoCommand(), holdListenerCommand())
	return root
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// newLog logs to standard error, as a service manager expects it.
func newLog(format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q is not allowed: debug, info, warn or error", level)}
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	default:
		return nil, usageError{fmt.Errorf("--log-format %q is not allowed: text or json", format)}
	}
}

// logFlags adds the flags of the commands that keep running.
func logFlags(cmd *cobra.Command) func() (*slog.Logger, error) {
	format := cmd.Flags().String("log-format", "text", "text or json")
	level := cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	return func() (*slog.Logger, error) { return newLog(*format, *level) }
}
