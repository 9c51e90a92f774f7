package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/nginxgen"
)

// liveOptions are the files of the user's that a live check looks at.
type liveOptions struct {
	// Files are HAProxy's configuration files in the order of its -f flags; empty leaves that part out.
	Files []string
}

// liveCheck proves the wiring, line by line: it only reads, but for one command that sets a weight to what it is, which tells
// whether the stats socket takes changes.
type liveCheck struct {
	out    io.Writer
	missed int
	// of stands before each line that is about one of several.
	of string
}

func (l *liveCheck) ok(format string, args ...any) {
	fmt.Fprintf(l.out, "ok       "+l.of+format+"\n", args...)
}

func (l *liveCheck) warn(format string, args ...any) {
	fmt.Fprintf(l.out, "warning  "+l.of+format+"\n", args...)
}

func (l *liveCheck) missing(format string, args ...any) {
	l.missed++
	fmt.Fprintf(l.out, "MISSING  "+l.of+format+"\n", args...)
}

// note prints what is right when err is nil, else the error.
func (l *liveCheck) note(err error, format string, args ...any) bool {
	if err != nil {
		l.missing("%v", err)
		return false
	}
	l.ok(format, args...)
	return true
}

func checkLive(ctx context.Context, out io.Writer, c *conf.Controller, o liveOptions) error {
	l := &liveCheck{out: out}
	if len(o.Files) > 0 && len(c.HAProxy) > 0 {
		l.files(ctx, c, o.Files)
	}
	for _, h := range c.HAProxy {
		l.haproxy(ctx, c, h)
	}
	l.controller(ctx, c)
	for _, n := range c.Nodes {
		l.node(ctx, n, c)
	}
	if c.Nginx != nil {
		l.note(nginxgen.Check(ctx, nginxOptions(c.Nginx, slog.New(slog.DiscardHandler), nil)), "nginx accepts its configuration, which includes %s", c.Nginx.Include)
	}
	if l.missed > 0 {
		fmt.Fprintf(out, "%d thing(s) missing\n", l.missed)
		return errSilent
	}
	return nil
}

// files looks into the user's HAProxy configuration: HAProxy accepts it, the filter is there, nothing in it is in the way.
func (l *liveCheck) files(ctx context.Context, c *conf.Controller, files []string) {
	argv := []string{"-c"}
	for _, f := range files {
		argv = append(argv, "-f", f)
	}
	text, err := exec.CommandContext(ctx, "haproxy", argv...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		l.warn("haproxy is not installed here, so its configuration cannot be checked")
	} else if err != nil {
		l.missing("haproxy %s refuses the configuration: %s", strings.Join(argv, " "), firstLine(string(text)))
	} else {
		l.ok("haproxy %s accepts the configuration", strings.Join(argv, " "))
	}
	cfg, err := haproxy.ReadConfig(files[0])
	if !l.note(err, "%s can be read", files[0]) {
		return
	}
	for _, app := range c.Apps {
		if !app.Policy.Proxied {
			continue
		}
		if b, ok := cfg.Backend(app.Backend); ok && len(b.Tidegate) > 0 {
			l.ok("backend %s has tidegate's lines (%s:%d)", app.Backend, files[0], b.Tidegate[0])
		} else if ok && c.SPOA != nil {
			l.missing("backend %s (%s:%d) has no tidegate filter: `tidegate init` prints the lines to add", app.Backend, files[0], b.Line)
		}
		if b, ok := cfg.Backend(app.Backend); ok && app.Policy.MaxConnPerWorker > 0 {
			for _, s := range b.Servers {
				if s.MaxConn == 0 {
					l.missing("%s:%d: server %s has no maxconn; give its line one (%s), which holds after a reload until tidegate has set it", files[0], s.Line, s.Name, maxConnHint(app))
				}
			}
		}
		for _, p := range haproxy.Problems(cfg, app.Backend) {
			if p.Severity == haproxy.Error {
				l.missing("%s:%d: %s", files[0], p.Line, p.Text)
			} else {
				l.warn("%s:%d: %s", files[0], p.Line, p.Text)
			}
		}
	}
}

// maxConnHint is a number that fits: that of a server with all its workers.
func maxConnHint(app conf.App) string {
	most := 1
	for _, s := range app.Policy.Servers {
		most = max(most, s.MaxWorkers)
	}
	return fmt.Sprintf("maxconn %d", most*app.Policy.MaxConnPerWorker)
}

func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, "ALERT") || strings.Contains(line, "rror") {
			return strings.TrimSpace(line)
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// ourSections are what the included file brings along (conf/haproxy).
var ourSections = map[string]string{
	"tidegate-spoa": "the agent's backend", "tidegate-ctr": "the counters' table", "tidegate-heartbeat-driver": "the heartbeat",
}

// haproxy asks the running HAProxy: it answers and takes changes, the backends and servers are there, and so is what the
// included file brings.
func (l *liveCheck) haproxy(ctx context.Context, c *conf.Controller, h conf.HAProxy) {
	if h.Name != "" {
		outer := l.of
		l.of = "haproxy " + h.Name + ": "
		defer func() { l.of = outer }()
	}
	client, err := haproxy.New(haproxy.Options{Addr: h.Socket, Remote: h.Remote, Timeout: h.Timeout, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		l.missing("%v", err)
		return
	}
	var backends []string
	for _, app := range c.Apps {
		if app.On(h) {
			backends = append(backends, app.Backend)
		}
	}
	var ours []string
	if c.SPOA != nil {
		for name := range ourSections {
			ours = append(ours, name)
		}
		slices.Sort(ours)
	}
	state, err := client.Observe(ctx, append(slices.Clone(backends), ours...))
	if !l.note(err, "HAProxy %s answers at %s (process %s)", state.Process.Version, h.Socket, state.Process.ID) {
		return
	}
	for _, name := range ours {
		if state.Backends[name].Missing {
			l.missing("the running HAProxy has no %s, %s: is the second -f loaded, and was HAProxy restarted since?", name, ourSections[name])
		} else {
			l.ok("HAProxy runs %s, %s", name, ourSections[name])
		}
	}
	tried := false
	for _, app := range c.Apps {
		if !app.On(h) {
			continue
		}
		b := state.Backends[app.Backend]
		if b.Missing {
			l.missing("HAProxy has no backend %s", app.Backend)
			continue
		}
		for _, srv := range app.Servers {
			s, ok := b.Server(srv.Name)
			if !ok && app.Policy.Dynamic {
				l.warn("backend %s has no server %s: tidegate adds it", app.Backend, srv.Name)
				continue
			}
			if !ok {
				l.missing("backend %s has no server %s", app.Backend, srv.Name)
				continue
			}
			if app.Policy.MaxConnPerWorker > 0 && s.MaxConn == 0 {
				l.missing("server %s of backend %s has no maxconn; give its line one (%s), which holds after a reload until tidegate has set it", srv.Name, app.Backend, maxConnHint(app))
			}
			if !tried {
				tried = true
				l.note(tryAdmin(ctx, client, app.Backend, s), "the stats socket takes changes")
			}
		}
		l.ok("backend %s is there with %d server(s)", app.Backend, len(b.Servers))
	}
}

// tryAdmin sets a server's weight to what it is.
func tryAdmin(ctx context.Context, client *haproxy.Client, backend string, s haproxy.Server) error {
	_, results, err := client.Apply(ctx, []haproxy.Command{haproxy.SetWeight(backend, s.Name, s.Weight)}, nil)
	if err == nil && len(results) == 1 {
		err = results[0].Err
	}
	return err
}

// controller asks the running tidegate whether the filter's messages arrive.
func (l *liveCheck) controller(ctx context.Context, c *conf.Controller) {
	client := api.NewClient(c.API)
	defer client.Close()
	s, err := client.Status(ctx)
	if err != nil {
		l.warn("%v; whether HAProxy's messages arrive cannot be told", err)
		return
	}
	l.ok("tidegate runs (version %s) with %s", s.Version, s.Config.File)
	if s.Config.Problem != "" {
		l.warn("its last reload was refused: %s", s.Config.Problem)
	}
	for _, a := range s.Apps {
		i := slices.IndexFunc(c.Apps, func(x conf.App) bool { return x.Policy.Name == a.Name })
		if i < 0 || !c.Apps[i].Policy.Proxied || c.SPOA == nil {
			continue
		}
		age := time.Duration(a.TrafficAgeMS * float64(time.Millisecond))
		switch {
		case a.TrafficAgeMS < 0:
			l.missing("no message about %s has come from HAProxy: no heartbeat and no request", a.Name)
		case age > c.Apps[i].StaleAfter:
			l.missing("HAProxy has been silent about %s for %v", a.Name, age.Round(time.Second))
		default:
			l.ok("HAProxy's messages about %s arrive (the last %v ago)", a.Name, age.Round(time.Millisecond))
		}
	}
}

// node asks a node's agent for the apps that need it.
func (l *liveCheck) node(ctx context.Context, n conf.Node, c *conf.Controller) {
	client, err := agent.NewClient(agent.ClientOptions{URL: n.URL, Token: n.Token.Reveal(), Timeout: n.Timeout})
	if err != nil {
		l.missing("node %s: %v", n.Name, err)
		return
	}
	r, err := client.Report(ctx)
	if err == nil && r.Node != n.Name {
		err = fmt.Errorf("the agent at %s calls itself %q", n.URL, r.Node)
	}
	if err != nil {
		l.missing("node %s: %v", n.Name, err)
		return
	}
	for _, app := range c.Apps {
		uses := slices.ContainsFunc(app.Servers, func(s conf.Server) bool { return s.Node == n.Name })
		a, has := r.Apps[app.Policy.Name]
		switch {
		case !uses:
		case !has:
			l.missing("the agent of node %s does not know the app %s", n.Name, app.Policy.Name)
		case !a.Known:
			l.missing("node %s, app %s: %s", n.Name, app.Policy.Name, a.Problem)
		default:
			l.ok("node %s, app %s: %d of %d workers ready, %d busy", n.Name, app.Policy.Name, a.Ready, a.Total, a.Busy)
		}
	}
}
