package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
)

// replayFlags are the flags of `tidegate replay`.
type replayFlags struct {
	config string
	lines  bool
}

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay [-c FILE] JOURNAL...",
		Short: "Decide again on every turn of a journal, and name the first difference",
		Long: `Replay takes what each turn of a journal saw, decides on it again and compares the plans with the journal's, byte for byte. Each
journal begins with the configuration and the memory of its time, so nothing else is needed. When all is as it was, it says so
and ends with status 0; at the first difference it names the line, the app and the value, and ends with status 1.

With -c FILE the turns are decided by that configuration instead: the first difference is where it would have decided otherwise.
What was seen stays what it was, also where another decision would have changed it.`,
		Example: `  tidegate replay /var/lib/tidegate/journal.1.jsonl /var/lib/tidegate/journal.jsonl
  tidegate replay --lines journal.jsonl | tidegate decide -c tidegate.yaml -o text`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("tidegate replay needs a JOURNAL, such as /var/lib/tidegate/journal.jsonl, or - for standard input")
			}
			return nil
		},
	}
	var f replayFlags
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "decide by the configuration `FILE` instead of the journal's own")
	cmd.Flags().BoolVar(&f.lines, "lines", false, "print each observation as a line of input for tidegate decide, and compare nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return replay(cmd.Context(), f, args, cmd.InOrStdin(), cmd.OutOrStdout())
	}
	return cmd
}

// replay replays journals one after the other.
func replay(ctx context.Context, f replayFlags, journals []string, in io.Reader, out io.Writer) error {
	var policy func(now time.Time) core.Policy
	if f.config != "" {
		c, err := conf.LoadPolicy(f.config)
		if err != nil {
			return usageError{err}
		}
		policy = policyOf(c)
	}
	each := func(o core.Observation) error { return context.Cause(ctx) }
	if f.lines {
		enc := json.NewEncoder(out)
		each = func(o core.Observation) error { return errors.Join(context.Cause(ctx), enc.Encode(o)) }
	}
	for _, name := range journals {
		r, err := replayFile(name, in, policy, each)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", name, err)}
		}
		if f.lines {
			continue
		}
		if d := r.Different; d != nil {
			fmt.Fprintf(out, "%s: line %d, %s, app %s: %s\n", name, d.Line, d.Time.Format(time.RFC3339Nano), d.App, d.What)
			return errSilent
		}
		if r.Turns == 0 {
			return fmt.Errorf("%s: there is no turn to replay; the configuration's `journal` must be full", name)
		}
		fmt.Fprintf(out, "%s: %d turns from %s to %s by version %s: all %d decisions are as they were%s\n",
			name, r.Turns, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339), r.Version, r.Decisions, leftOut(r))
	}
	return nil
}

// leftOut says what could not be compared.
func leftOut(r control.Replay) string {
	if r.Skipped+r.Unwritten == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d lines before a start were passed over, %d decisions were never written)", r.Skipped, r.Unwritten)
}

func replayFile(name string, in io.Reader, policy func(now time.Time) core.Policy, each func(core.Observation) error) (control.Replay, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return control.Replay{}, err
		}
		defer file.Close()
		in = file
	}
	return control.ReplayJournal(in, policy, each)
}
