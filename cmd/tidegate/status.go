package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
)

// clientFlags adds the flags that find a running controller.
func clientFlags(cmd *cobra.Command) func() (*api.Client, error) {
	addr := cmd.Flags().String("api", "", "`ADDRESS` of the API: unix:/path or host:port (default unix:/run/tidegate/api.sock)")
	file := cmd.Flags().StringP("config", "c", "", "take the address from this configuration `FILE`")
	return func() (*api.Client, error) {
		switch {
		case *addr != "" && *file != "":
			return nil, usageError{fmt.Errorf("--api and --config cannot be given together")}
		case *addr != "":
			return api.NewClient(*addr), nil
		case *file != "":
			c, err := conf.LoadController(*file)
			if err != nil {
				return nil, err
			}
			return api.NewClient(c.API), nil
		default:
			return api.NewClient("unix:/run/tidegate/api.sock"), nil
		}
	}
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--api ADDRESS | -c FILE] [-o json]",
		Short: "Show what serves, what is wanted and why",
		Args:  cobra.NoArgs,
	}
	client := clientFlags(cmd)
	format := cmd.Flags().StringP("output", "o", "table", "table or json")
	events := cmd.Flags().Int("events", 5, "how many of the last decisions and steps to show")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *format != "table" && *format != "json" {
			return usageError{fmt.Errorf("--output %q is not allowed: table or json", *format)}
		}
		c, err := client()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
		defer cancel()
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if *format == "json" {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(s)
		}
		printStatus(cmd.OutOrStdout(), s, *events)
		return nil
	}
	return cmd
}

func printStatus(out io.Writer, s api.Status, events int) {
	fmt.Fprintf(out, "tidegate %s, turn %d, up %v, configuration %s of %s\n", s.Version, s.Turn, s.Now.Sub(s.Started).Round(time.Second), s.Config.File, s.Config.Loaded.Local().Format(time.DateTime))
	if s.Config.Problem != "" {
		fmt.Fprintf(out, "the last reload was refused: %s\n", s.Config.Problem)
	}
	for _, src := range s.Sources {
		if !src.OK {
			fmt.Fprintf(out, "! %s: %s\n", src.Name, src.Problem)
		}
	}
	if line := nginxLine(s); line != "" {
		fmt.Fprintln(out, line)
	}
	for _, a := range s.Apps {
		fmt.Fprintf(out, "\n%s (%s)  %s\n", a.Name, a.Strategy, appLine(a))
		if a.Hold != "" {
			fmt.Fprintf(out, "  held: %s (%s)\n", a.Hold, meaning(a.Hold))
		}
		for _, code := range a.Alarms {
			fmt.Fprintf(out, "  ALARM %s: %s\n", code, meaning(code))
		}
		for _, o := range a.Orders {
			fmt.Fprintf(out, "  order %s\n", orderLine(o, s.Now))
		}
		if a.Sizing != nil {
			fmt.Fprintf(out, "  %s\n", known(a.Sizing))
		}
		if len(a.Proxies) > 0 {
			fmt.Fprintf(out, "  on %s\n", proxyLine(a.Proxies))
		}
		tw := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "  SERVER\tNODE\tPHASE\tHAPROXY\tWEIGHT\tRUNNING\tBUSY/READY\tWANTED\tNGINX")
		for _, v := range a.Servers {
			differ := differ(v.Proxies)
			state, weight := proxyState(v.Admin, v.Up, v.Foreign), proxyWeight(v.Weight, v.Foreign)
			if differ {
				state, weight = "(below)", ""
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Name, dash(v.Node), v.Phase, state, weight, v.Current, pool(v), wanted(v), web(v))
			for _, p := range v.Proxies {
				if differ {
					fmt.Fprintf(tw, "    on %s\t\t%s\t%s\t%s\t%d\t\t\t\n", p.Name, p.Phase, proxyState(p.Admin, p.Up, p.Foreign), proxyWeight(p.Weight, p.Foreign), p.Current)
				}
			}
		}
		_ = tw.Flush() // the writer below reports its own errors
		if a.Last != nil {
			fmt.Fprintf(out, "  last decision, %s ago: %s\n", ago(s.Now, a.Last.Time), a.Last.Sentence)
		}
	}
	if events > 0 && len(s.Events) > 0 {
		fmt.Fprintln(out)
	}
	for i, e := range s.Events {
		if i >= events {
			break
		}
		line := fmt.Sprintf("%s  %-12s %s", e.Time.Local().Format(time.TimeOnly), e.Code, e.Sentence)
		if e.Error != "" {
			line += " (failed: " + e.Error + ")"
		}
		fmt.Fprintln(out, strings.TrimSpace(line))
	}
}

// nginxLine tells of the last reload and of what is held, "" when there is nothing to tell. A change that is not worth a
// reload is no news.
func nginxLine(s api.Status) string {
	n := s.Nginx
	if n == nil {
		return ""
	}
	var parts []string
	if r := n.LastReload; r != nil {
		line := fmt.Sprintf("last reload %s ago (%s, %.0f ms)", ago(s.Now, r.Time), r.Reason, r.TookMS)
		if r.Error != "" {
			line += " FAILED: " + r.Error
		}
		parts = append(parts, line)
	}
	if n.OldGenerations > 0 {
		parts = append(parts, fmt.Sprintf("%d generations of old workers", n.OldGenerations))
	}
	if n.Held != "" && n.Held != "small" {
		parts = append(parts, fmt.Sprintf("%s held for %s: %s", n.HeldReason, ago(s.Now, n.HeldSince), n.Why))
	}
	if n.Drift != "" {
		parts = append(parts, "DRIFT: "+n.Drift)
	}
	if len(parts) == 0 {
		return ""
	}
	return "nginx: " + strings.Join(parts, "; ")
}

func appLine(a api.App) string {
	line := fmt.Sprintf("workers %.1f busy, %d ready, %d wanted; %d in flight, %d queued", a.Busy, a.Ready, a.Wanted, a.InFlight, a.Queued)
	switch {
	case a.OpenKnown > 0:
		line += fmt.Sprintf(", the oldest for %.1f s", a.OldestOpenMS/1000)
	case a.OldestOpenMS >= 1000:
		line += fmt.Sprintf(", the oldest for at least %.0f s", a.OldestOpenMS/1000)
	}
	if a.TrafficAgeMS >= 0 {
		line = fmt.Sprintf("%.1f req/s, p50 %.0f ms, p95 %.0f ms; ", a.Rate, a.P50MS, a.P95MS) + line
	}
	return line
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// proxyLine tells how an app's HAProxy instances are.
func proxyLine(list []api.Proxy) string {
	var out []string
	for _, p := range list {
		switch {
		case p.Known:
			out = append(out, fmt.Sprintf("%s (%d in flight, %d queued)", p.Name, p.InFlight, p.Queued))
		case p.Gone:
			out = append(out, p.Name+" (NOT RUNNING: it sends nothing)")
		default:
			out = append(out, p.Name+" (NOT KNOWN: it may send requests, so nothing shrinks)")
		}
	}
	return strings.Join(out, ", ")
}

// differ tells whether the instances that are known do not all have the server in the same state. How many requests run is no
// difference.
func differ(list []api.ServerProxy) bool {
	var first *api.ServerProxy
	for i := range list {
		p := list[i]
		p.Name, p.Current = "", 0
		if p.Admin == "" {
			continue
		}
		if first == nil {
			first = &p
		}
		if p != *first {
			return true
		}
	}
	return false
}

// proxyState is HAProxy's state of a server, and whether a human has put it there.
func proxyState(admin string, up bool, foreign string) string {
	switch {
	case admin == "":
		return "-"
	case foreign == api.ForeignState:
		return admin + " (by a human)"
	case admin == "ready" && !up:
		return "ready, down"
	default:
		return admin
	}
}

func proxyWeight(weight int, foreign string) string {
	if foreign == api.ForeignWeight {
		return fmt.Sprintf("%d (by a human)", weight)
	}
	return fmt.Sprint(weight)
}

func pool(v api.Server) string {
	if !v.PoolKnown {
		return "-"
	}
	return fmt.Sprintf("%.1f/%d", v.Busy, v.Ready)
}

func wanted(v api.Server) string {
	switch {
	case v.Serve && v.Node != "":
		return fmt.Sprintf("%d workers", v.Workers)
	case v.Serve:
		return "serve"
	default:
		return "park"
	}
}

func web(v api.Server) string {
	switch {
	case v.Web < 0:
		return "-"
	case v.Web == 0:
		return "down"
	default:
		return fmt.Sprint(v.Web)
	}
}

func ago(now, then time.Time) string { return max(0, now.Sub(then)).Round(time.Second).String() }
