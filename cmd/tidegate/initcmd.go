package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/conf/marks"
	"github.com/tidegate/tidegate/internal/setup"
)

func initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init [--haproxy FILE] [--nginx FILE] --out DIR",
		Short: "Write all that an existing HAProxy and nginx need, from their own files",
		Long: `Init reads a haproxy.cfg, an nginx.conf or both, and asks for nothing. It prints which backends and upstreams it found, which it
takes and why not the others, and what stands in the way; then it writes to a folder: the SPOE file, the file that HAProxy loads
with a second -f, the lines to add to each backend, the nginx include, a first configuration of tidegate, and a README.txt with
the commands to put it all into force and to take it out again.

With both, a backend and an upstream of the same servers are one app. With nginx alone, an upstream is an app of its own when
it has two servers or more with a port, when something passes requests to it, and when what it says can be said in
tidegate's configuration too. Upstreams of the stream block are taken with the strategy noop.
Of nginx's files the lines to change are printed, the old and the new ones. The files are read by nginx's own rules, by gonginx
and, where nginx is installed, by "nginx -T"; where they disagree, nothing is proposed.

The files that are read are never changed, and no file is overwritten: exit status 2, and nothing is written, when one is there.`,
		Args: cobra.NoArgs,
	}
	var o setup.Options
	f := cmd.Flags()
	f.StringVar(&o.HAProxy, "haproxy", "", "HAProxy's configuration `FILE`, such as /etc/haproxy/haproxy.cfg")
	f.StringVar(&o.Nginx, "nginx", "", "nginx's main configuration `FILE`, such as /etc/nginx/nginx.conf")
	f.StringVar(&o.Out, "out", "", "`DIR` to write to, made if missing; tidegate's configuration can stay there, so /etc/tidegate is a good one")
	f.StringVar(&o.Strategy, "strategy", "", strings.Join(setup.Strategies, ", ")+" (default erlang, and latency where several servers share a machine; latency and noop need no node agents; without HAProxy busy_ratio and noop are left)")
	f.StringVar(&o.Variant, "variant", "", "files for HAProxy 2.6 (and later) or 3.0 (and later); default is what \"haproxy -v\" says, else 2.6")
	f.StringArrayVar(&o.Backends, "backend", nil, "take only this backend `NAME`; may be given several times")
	f.StringArrayVar(&o.Upstreams, "upstream", nil, "take only this nginx upstream `NAME` as an app of its own; may be given several times; with --haproxy none is without it")
	f.BoolVar(&o.Arrivals, "arrivals", false, "let HAProxy also tell of each request's arrival, so that the age of open requests is known; a second exchange per request; needs HAProxy 3.0 or later (docs/spoe.md)")
	f.BoolVar(&o.RequestIDs, "request-ids", false, "give each request an id that HAProxy's log-format can show as %[var(txn.tidegate_id)]; costs HAProxy an eighth more of the filter's work")
	f.StringVar(&o.HAProxyDir, "haproxy-dir", "", "`DIR` where HAProxy will find its two files (default /etc/haproxy)")
	f.StringVar(&o.NginxInclude, "nginx-include", "", "where nginx will find the include `FILE` (default a folder whose files your http block includes already)")
	f.StringVar(&o.NginxStreamInclude, "nginx-stream-include", "", "the same `FILE` for upstreams of your stream block")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Variant == "" && o.HAProxy != "" {
			v, err := askVariant(cmd.Context())
			if err != nil {
				return err
			}
			o.Variant = v
		}
		o.Token, o.Middleware, o.RackMiddleware, o.AskNginx = setup.NewToken(), marks.WSGI, marks.Rack, "nginx"
		plan, err := setup.Make(cmd.Context(), o)
		if err != nil {
			return usageError{err}
		}
		var exists *setup.ExistsError
		switch err := plan.Write(); {
		case errors.As(err, &exists):
			return usageError{err}
		case err != nil:
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintln(out, plan.Report)
		fmt.Fprintf(out, "Written to %s:", plan.Out)
		for _, file := range plan.Files {
			fmt.Fprint(out, " ", file.Name)
		}
		fmt.Fprintf(out, "\n\n%s", plan.Instructions)
		return nil
	}
	return cmd
}

// askVariant asks the installed HAProxy for its version.
func askVariant(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, binary := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
		text, err := exec.CommandContext(ctx, binary, "-v").Output()
		if err != nil {
			continue
		}
		variant, err := setup.Variant(string(text))
		if err != nil {
			return "", usageError{err}
		}
		return variant, nil
	}
	return setup.Variant("")
}
