package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain APP [-o json]",
		Short: "Show how an app's number of workers came about: inputs, each step, the rule that limited it",
		Args:  cobra.ExactArgs(1),
	}
	client := clientFlags(cmd)
	format := cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *format != "text" && *format != "json" {
			return usageError{fmt.Errorf("--output %q is not allowed: text or json", *format)}
		}
		return ask(cmd, client, func(ctx context.Context, c *api.Client) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(s.Apps, func(a api.App) bool { return a.Name == args[0] })
			if i < 0 {
				var names []string
				for _, a := range s.Apps {
					names = append(names, a.Name)
				}
				return usageError{fmt.Errorf("no app is called %q; there is %s", args[0], strings.Join(names, ", "))}
			}
			if *format == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(s.Apps[i])
			}
			explain(cmd.OutOrStdout(), s.Apps[i], s.Now)
			return nil
		})
	}
	return cmd
}

func explain(out io.Writer, a api.App, now time.Time) {
	fmt.Fprintf(out, "%s (%s): %d workers wanted, %d ready, %.1f busy; %d in flight, %d queued\n", a.Name, a.Strategy, a.Wanted, a.Ready, a.Busy, a.InFlight, a.Queued)
	if a.Hold != "" {
		fmt.Fprintf(out, "held: %s (%s)\n", a.Hold, meaning(a.Hold))
	}
	for _, code := range a.Alarms {
		fmt.Fprintf(out, "alarm: %s (%s)\n", code, meaning(code))
	}
	for _, o := range a.Orders {
		fmt.Fprintf(out, "order: %s\n", orderLine(o, now))
	}
	z := a.Sizing
	if z == nil {
		fmt.Fprintf(out, "the strategy %s does not size an app in workers\n", a.Strategy)
		if a.Last != nil {
			fmt.Fprintf(out, "last decision, %s ago: %s\n", ago(now, a.Last.Time), a.Last.Sentence)
		}
		return
	}
	fmt.Fprintf(out, "known: %s\n", known(z))
	fmt.Fprintln(out, "\nnow")
	explainSizing(out, z)
	if a.Change == nil {
		fmt.Fprintln(out, "\nthe number has not changed since tidegate started")
		return
	}
	fmt.Fprintf(out, "\nlast change, %s ago: %d -> %d workers\n", ago(now, a.Change.Time), a.Change.Before, a.Change.Workers)
	explainSizing(out, a.Change)
}

// known says what the app has taught.
func known(z *api.Sizing) string {
	service, lead := "unknown", "as configured"
	if z.ServiceMS >= 0 {
		service = fmt.Sprintf("%.0f ms", z.ServiceMS)
	}
	if z.LeadLearned {
		lead = "measured"
	}
	return fmt.Sprintf("%.1f requests/s in the last minute, service time %s, lead time %.0f s (%s)", z.ArrivalsPerSecond, service, z.LeadMS/1000, lead)
}

func explainSizing(out io.Writer, z *api.Sizing) {
	if len(z.Inputs) > 0 {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(z.Inputs)) {
			parts = append(parts, fmt.Sprintf("%s %.4g", words(name), z.Inputs[name]))
		}
		fmt.Fprintf(out, "  inputs  %s\n", strings.Join(parts, ", "))
	}
	tw := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	for i, s := range z.Steps {
		head := "steps"
		if i > 0 {
			head = ""
		}
		fmt.Fprintf(tw, "  %s\t%s\t%.4g\t%s\n", head, words(s.Rule), s.Workers, meaning(s.Rule))
	}
	_ = tw.Flush() // the writer below reports its own errors
	if z.Limit != "" {
		fmt.Fprintf(out, "  limit   %s: %d workers; without it %d\n", words(z.Limit), z.Workers, z.Without)
	} else {
		fmt.Fprintf(out, "  result  %d workers, limited by nothing\n", z.Workers)
	}
	if z.Frozen != "" {
		fmt.Fprintf(out, "  nothing may be removed: %s (%s)\n", words(z.Frozen), meaning(z.Frozen))
	}
}

func words(code string) string { return strings.ReplaceAll(code, "_", " ") }

// meanings say codes for a person; those of package sizing have the same text there as comments.
var meanings = map[string]string{
	"demand": "arrivals x service time", "growth": "what arrivals grow by within one lead time, as learned", "trend": "the last minute's slope carried on",
	"burst": "a rise that is no chance, one lead time ahead", "erlang": "so that few wait longer than the share of the goal",
	"backlog": "to serve what waits", "lose_node": "so that the largest node may be lost", "busy_ratio": "busy workers against the target",
	"rps_ratio": "arrivals x service time against the target", "queue": "to keep up with the message queue", "schedule": "wanted at this time of the week",
	"panic": "requests pile up: nothing shrinks", "profile": "the usual load at this time", "reservation": "announced load",
	"collapse_guard": "arrivals fell off a cliff: ready for their return", "futility_cap": "more workers bring no throughput", "down_window": "the highest need of the window stays",
	"down_share": "at most this share leaves at once", "down_pause": "a pause after the last change", "call_off": "what is still on its way is not needed any more", "up_limit": "growth is limited", "tolerance": "too small a difference",
	"no_shrink": "nothing may be removed now", "restart_floor": "what was there at the start stays until enough is known", "min_workers": "never fewer",
	"max_workers": "never more", "pin": "an operator's fixed number", "hold": "an operator's hold",
	"at_max": "more would be needed than may be had", "hold_order": "an operator's hold: nothing changes", "collapse": "arrivals fell off a cliff: everything is held",
	"futile": "more workers brought no throughput: a dependency is slow", "hold_no_data": "data are missing or stale: nothing shrinks",
	"hold_zero": "zero is reported while requests are running: treated as missing", "hold_absurd": "numbers that cannot be: treated as missing",
	"hold_errors": "many requests end in errors: nothing shrinks", "hold_self": "tidegate's state cannot be saved: nothing shrinks",
	"no_data_long": "no data to go by for more than five minutes", "node_lost": "a node with workers is gone", "flapping": "the number changes its direction too often",
}

func meaning(code string) string {
	if m, ok := meanings[code]; ok {
		return m
	}
	return words(code)
}

// orderLine is an order with what became of it.
func orderLine(o api.Order, now time.Time) string {
	line := o.ID + ": " + orderText(o, now)
	if o.Owner != "" {
		line += ", by " + o.Owner
	}
	line += ": " + o.State
	if o.Why != "" {
		line += ", " + o.Why
	}
	return line
}
