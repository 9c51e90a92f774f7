package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api"
)

// ask runs f with a client of the running controller.
func ask(cmd *cobra.Command, client func() (*api.Client, error), f func(ctx context.Context, c *api.Client) error) error {
	c, err := client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	return f(ctx, c)
}

// orderFlags adds the flags that all orders have, and returns what makes a request of them.
func orderFlags(cmd *cobra.Command) func(api.OrderRequest) (api.OrderRequest, error) {
	length := cmd.Flags().String("for", "", "`DURATION` after which it ends by itself, such as 30m or 2h")
	note := cmd.Flags().String("note", "", "`TEXT` that is shown with it: why")
	owner := cmd.Flags().String("owner", login(), "`NAME` of the person or program it is for")
	return func(r api.OrderRequest) (api.OrderRequest, error) {
		if cmd.Flags().Changed("for") && *length == "" {
			return r, usageError{errors.New(`--for "" is not allowed: a duration such as 30m or 2h`)}
		}
		if d, err := time.ParseDuration(*length); *length != "" && (err != nil || d <= 0) {
			return r, usageError{fmt.Errorf("--for %q is not allowed: a duration such as 30m or 2h", *length)}
		}
		r.For, r.Note, r.Owner = *length, *note, *owner
		return r, nil
	}
}

// login is the person at the keyboard, also behind sudo.
func login() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// give sends an order and says what was understood.
func give(cmd *cobra.Command, client func() (*api.Client, error), r api.OrderRequest) error {
	return ask(cmd, client, func(ctx context.Context, c *api.Client) error {
		o, err := c.Order(ctx, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s; `tidegate orders` shows what becomes of it, `tidegate release %s` ends it\n", o.ID, orderText(o, time.Now()), o.ID)
		return nil
	})
}

func holdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold APP|--all [--for DURATION] [--note TEXT]",
		Short: "Stop everything tidegate does for an app, or for all, until it is released",
		Example: `  tidegate hold shop --for 1h --note "database move"
  tidegate hold --all`,
		Args: cobra.MaximumNArgs(1),
	}
	client, request := clientFlags(cmd), orderFlags(cmd)
	all := cmd.Flags().Bool("all", false, "hold all apps")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == *all {
			return usageError{errors.New("hold needs the name of an app, or --all")}
		}
		r, err := request(api.OrderRequest{Kind: "hold", App: api.AllApps})
		if err != nil {
			return err
		}
		if !*all {
			r.App = args[0]
		}
		return give(cmd, client, r)
	}
	return cmd
}

func pinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pin APP WORKERS [--for DURATION] [--note TEXT]",
		Short:   "Give an app a fixed number of workers until it is released",
		Example: `  tidegate pin shop 12 --for 2h`,
		Args:    cobra.ExactArgs(2),
	}
	client, request := clientFlags(cmd), orderFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("%q workers are not allowed: a whole number from 1", args[1])}
		}
		r, err := request(api.OrderRequest{Kind: "pin", App: args[0], Workers: n})
		if err != nil {
			return err
		}
		return give(cmd, client, r)
	}
	return cmd
}

func reserveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reserve APP --rps N|--workers N --for DURATION [--from TIME]",
		Short: "Announce load, so that there is room for it when it comes",
		Long: `Reserve announces load: so many requests per second, or so many workers, from a time on and for how long. The workers are there
when it begins (or as soon as they can be), stay for its time, and go early when the load came and went.

TIME is "now", "+15m" (from now), "18:30" (today, or tomorrow when it has passed), "2026-11-27 18:30" (both local) or RFC 3339.`,
		Example: `  tidegate reserve shop --rps 400 --from 18:30 --for 45m --owner newsletter
  tidegate reserve shop --workers 20 --for 30m`,
		Args: cobra.ExactArgs(1),
	}
	client, request := clientFlags(cmd), orderFlags(cmd)
	rps := cmd.Flags().Float64("rps", 0, "announced requests per second (`N`)")
	workers := cmd.Flags().Int("workers", 0, "workers to be there (`N`)")
	from := cmd.Flags().String("from", "now", "`TIME` when it begins")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("rps") == cmd.Flags().Changed("workers") {
			return usageError{errors.New("reserve needs one of --rps N and --workers N")}
		}
		if !cmd.Flags().Changed("for") {
			return usageError{errors.New("reserve needs --for DURATION: how long the announced load lasts, such as 30m")}
		}
		begin, err := parseTime(*from, time.Now())
		if err != nil {
			return usageError{fmt.Errorf("--from %w", err)}
		}
		r, err := request(api.OrderRequest{Kind: "reserve", App: args[0], From: begin, Rate: *rps, Workers: *workers})
		if err != nil {
			return err
		}
		return give(cmd, client, r)
	}
	return cmd
}

// parseTime reads a time as a person writes it; the zero time is now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return time.Time{}, nil
	}
	if ahead, ok := strings.CutPrefix(text, "+"); ok {
		if d, err := time.ParseDuration(ahead); err == nil && d >= 0 {
			return now.Add(d), nil
		}
	}
	if t, err := time.ParseInLocation("15:04", text, now.Location()); err == nil {
		t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		if t.Before(now) {
			t = time.Date(now.Year(), now.Month(), now.Day()+1, t.Hour(), t.Minute(), 0, 0, now.Location())
		}
		return t, nil
	}
	if t, err := time.ParseInLocation("2006-01-02 15:04", text, now.Location()); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf(`%q is not allowed: now, +15m, 18:30, "2026-11-27 18:30" or a time as in RFC 3339`, text)
}

func releaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "release ID|APP",
		Short:   "End an order, or all orders of an app",
		Example: "  tidegate release hold-3\n  tidegate release shop",
		Args:    cobra.ExactArgs(1),
	}
	client := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usageError{errors.New("release needs the id of an order or the name of an app")}
		}
		return ask(cmd, client, func(ctx context.Context, c *api.Client) error {
			gone, err := c.Release(ctx, args[0])
			if err != nil {
				return err
			}
			for _, o := range gone {
				fmt.Fprintf(cmd.OutOrStdout(), "released %s: %s\n", o.ID, orderText(o, time.Now()))
			}
			return nil
		})
	}
	return cmd
}

func ordersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "orders [-o json]",
		Short: "Show the holds, pins and reservations, and what became of each",
		Args:  cobra.NoArgs,
	}
	client := clientFlags(cmd)
	format := cmd.Flags().StringP("output", "o", "table", "table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *format != "table" && *format != "json" {
			return usageError{fmt.Errorf("--output %q is not allowed: table or json", *format)}
		}
		return ask(cmd, client, func(ctx context.Context, c *api.Client) error {
			list, err := c.Orders(ctx)
			if err != nil {
				return err
			}
			if *format == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(api.Orders{Orders: list})
			}
			printOrders(cmd.OutOrStdout(), list, time.Now())
			return nil
		})
	}
	return cmd
}

func printOrders(out io.Writer, list []api.Order, now time.Time) {
	if len(list) == 0 {
		fmt.Fprintln(out, "no holds, pins or reservations")
		return
	}
	tw := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tAPP\tWHAT\tFROM\tUNTIL\tSTATE\tOWNER\tNOTE")
	for _, o := range list {
		state := o.State
		if o.Why != "" {
			state += ": " + o.Why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.ID, orderApp(o), orderWhat(o), shortTime(o.From, now), shortTime(o.Until, now), state, dash(o.Owner), dash(o.Note))
	}
	_ = tw.Flush() // the writer below reports its own errors
}

func orderApp(o api.Order) string {
	if o.App == api.AllApps {
		return "all apps"
	}
	return o.App
}

func orderWhat(o api.Order) string {
	switch {
	case o.Kind == "reserve" && o.Rate > 0 && o.Asks > 0:
		return fmt.Sprintf("reserve %g requests/s (%d workers)", o.Rate, o.Asks)
	case o.Kind == "reserve" && o.Rate > 0:
		return fmt.Sprintf("reserve %g requests/s", o.Rate)
	case o.Workers > 0:
		return fmt.Sprintf("%s %d workers", o.Kind, o.Workers)
	default:
		return o.Kind
	}
}

// orderText says an order in a line.
func orderText(o api.Order, now time.Time) string {
	text := orderWhat(o) + " of " + orderApp(o)
	if o.From.After(now) {
		text += " from " + shortTime(o.From, now)
	}
	if o.Until.IsZero() {
		return text + " until it is released"
	}
	return text + " until " + shortTime(o.Until, now)
}

// shortTime is a local time, with the date when it is not today's.
func shortTime(t, now time.Time) string {
	switch t, now = t.Local(), now.Local(); {
	case t.IsZero():
		return "released"
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format(time.TimeOnly)
	default:
		return t.Format("2006-01-02 15:04")
	}
}
