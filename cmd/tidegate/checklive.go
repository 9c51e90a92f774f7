package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/internal/names"
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
	// configs are HAProxy's files as they were read.
	configs []*haproxy.Config
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
	l.names(ctx, c)
	l.controller(ctx, c)
	for _, n := range c.Nodes {
		l.node(ctx, n, c)
	}
	if c.Nginx != nil && c.Nginx.DNS != "" {
		l.dns(ctx, c)
	}
	if c.Nginx != nil {
		l.note(nginxgen.Check(ctx, nginxOptions(c.Nginx, slog.New(slog.DiscardHandler), nil)), "nginx accepts its configuration, which includes %s", strings.TrimSpace(c.Nginx.Include+" "+c.Nginx.StreamInclude))
	}
	if l.missed > 0 {
		fmt.Fprintf(out, "%d thing(s) missing\n", l.missed)
		return errSilent
	}
	return nil
}

// names resolves the names in servers' addresses, as the controller does.
func (l *liveCheck) names(ctx context.Context, c *conf.Controller) {
	byName := map[string]string{}
	var addresses []string
	for _, a := range c.Apps {
		for _, address := range addressesOf(a) {
			if host := names.Host(address); host != "" {
				byName[host] = address
				addresses = append(addresses, address)
			}
		}
	}
	r := names.New(names.Options{})
	r.Want(ctx, addresses, 0)
	for _, host := range slices.Sorted(maps.Keys(byName)) {
		if at := r.Address(byName[host]); at != "" {
			l.ok("%s is at %s", host, at)
		} else {
			l.missing("%s cannot be resolved: its servers would be left out", host)
		}
	}
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
	for _, f := range files {
		cfg, err := haproxy.ReadConfig(f)
		if l.note(err, "%s can be read", f) {
			l.configs = append(l.configs, cfg)
		}
	}
	if len(l.configs) < len(files) {
		return
	}
	for _, app := range c.Apps {
		if app.Policy.Proxied {
			l.backend(c, app)
		}
	}
}

// backend looks into the file that has the app's backend; stats sockets stand in the first.
func (l *liveCheck) backend(c *conf.Controller, app conf.App) {
	cfg := l.configs[0]
	for _, other := range l.configs[1:] {
		if _, ok := other.Backend(app.Backend); ok {
			with := *other
			with.Sockets, with.StatsMaxConn, with.StatsMaxConnLine = cfg.Sockets, cfg.StatsMaxConn, cfg.StatsMaxConnLine
			cfg = &with
		}
	}
	if b, ok := cfg.Backend(app.Backend); ok && len(b.Tidegate) > 0 {
		l.ok("backend %s has tidegate's lines (%s:%d)", app.Backend, cfg.Path, b.Tidegate[0])
	} else if ok && c.SPOA != nil {
		l.missing("backend %s (%s:%d) has no tidegate filter: `tidegate init` prints the lines to add", app.Backend, cfg.Path, b.Line)
	}
	if b, ok := cfg.Backend(app.Backend); ok && app.Policy.MaxConnPerWorker > 0 {
		for _, srv := range b.Servers {
			if srv.MaxConn == 0 {
				l.missing("%s:%d: server %s has no maxconn; give its line one (%s), which holds after a reload until tidegate has set it", cfg.Path, srv.Line, srv.Name, maxConnHint(app))
			}
		}
	}
	if b, ok := cfg.Backend(app.Backend); ok {
		l.weightOwner(cfg, b, app)
	}
	alwaysUp := map[string]bool{}
	for _, s := range app.Policy.Servers {
		alwaysUp[s.Name] = s.AlwaysUp
	}
	for _, p := range haproxy.Refusals(cfg, app.Backend, alwaysUp) {
		text := p.Text
		if p.Line > 0 {
			text = fmt.Sprintf("%s:%d: %s", cfg.Path, p.Line, text)
		}
		if p.Severity == haproxy.Error {
			l.missing("%s", text)
		} else {
			l.warn("%s", text)
		}
	}
}

// maxConnHint is a number that fits: that of a server with all its workers.
// weightOwner looks whether the weights have exactly one owner: tidegate, or HAProxy's agent-check.
func (l *liveCheck) weightOwner(cfg *haproxy.Config, b *haproxy.ConfigBackend, app conf.App) {
	for _, srv := range b.Servers {
		switch {
		case app.Policy.WeightsElsewhere && !srv.AgentCheck:
			l.missing("%s:%d: server %s has no agent-check, and the app %s has its weights from that (weights: agent-check); add \"agent-check agent-port PORT\" with the agent_check port of its node", cfg.Path, srv.Line, srv.Name, app.Policy.Name)
		case !app.Policy.WeightsElsewhere && srv.AgentCheck:
			l.warn("%s:%d: server %s has an agent-check, which changes the weight that tidegate sets if it answers with one; give the app %s \"weights: agent-check\", or take it off the line", cfg.Path, srv.Line, srv.Name, app.Policy.Name)
		}
	}
}

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
	l.slots(ctx, client)
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
			switch {
			case !ok && app.Policy.Dynamic:
				l.warn("backend %s has no server %s: tidegate adds it", app.Backend, srv.Name)
			case !ok:
				l.missing("backend %s has no server %s", app.Backend, srv.Name)
			case app.Policy.MaxConnPerWorker > 0 && s.MaxConn == 0:
				l.missing("server %s of backend %s has no maxconn; give its line one (%s), which holds after a reload until tidegate has set it", srv.Name, app.Backend, maxConnHint(app))
			}
		}
		if s, ok := trial(b, app); ok && !tried {
			tried = true
			l.note(tryAdmin(ctx, client, app.Backend, s), "the stats socket takes changes")
		}
		l.ok("backend %s is there with %d server(s)", app.Backend, len(b.Servers))
		l.running(ctx, client, b, app)
	}
}

// slots finds out whether the stats sockets take enough connections at once.
func (l *liveCheck) slots(ctx context.Context, client *haproxy.Client) {
	if len(l.configs) > 0 && l.configs[0].StatsMaxConn > 0 && l.configs[0].StatsMaxConn < haproxy.LeastSlots {
		return // the file's line has been named
	}
	n, err := client.Slots(ctx, haproxy.LeastSlots)
	if err == nil && n < haproxy.LeastSlots {
		err = fmt.Errorf("HAProxy answers on %d connections to its stats sockets at once, and %d are needed: \"stats maxconn\" is too small, or other programs hold the connections", n, haproxy.LeastSlots)
	}
	l.note(err, "HAProxy answers on %d connections to its stats sockets at once", n)
}

// trial chooses the server on which a change is tried: best one that is parked and takes no traffic.
func trial(b haproxy.Backend, app conf.App) (best haproxy.Server, ok bool) {
	for _, srv := range app.Servers {
		s, there := b.Server(srv.Name)
		if there && (!ok || s.Admin.Maint() && s.Weight == 0 && !(best.Admin.Maint() && best.Weight == 0)) {
			best, ok = s, true
		}
	}
	return best, ok
}

// running looks for what the running HAProxy tells of its configuration, unless the file has told it.
func (l *liveCheck) running(ctx context.Context, client *haproxy.Client, b haproxy.Backend, app conf.App) {
	file := &haproxy.ConfigBackend{}
	for _, cfg := range l.configs {
		if found, ok := cfg.Backend(b.Name); ok {
			file = found
		}
	}
	if b.Algorithm != file.Balance {
		l.algorithm(ctx, client, b, app)
	}
	var light, awake []string
	for _, p := range app.Policy.Servers {
		s, ok := b.Server(p.Name)
		if !ok {
			continue
		}
		i := slices.IndexFunc(file.Servers, func(c haproxy.ConfigServer) bool { return c.Name == p.Name })
		if s.InitialWeight == 1 && (i < 0 || file.Servers[i].Weight != 1) {
			light = append(light, p.Name)
		}
		// What was added at run time looks like a server that was not disabled.
		if !p.AlwaysUp && !app.Policy.Dynamic && !s.Admin.FromConfig() && (i < 0 || file.Servers[i].Disabled) {
			awake = append(awake, p.Name)
		}
	}
	if len(light) > 0 {
		l.missing("backend %s: the running HAProxy began with weight 1 for %s, so after each reload it gets next to nothing beside servers that have their weight; give all servers \"weight 100\", for instance by \"default-server weight 100\"",
			b.Name, few(light))
	}
	if len(awake) > 0 {
		l.missing("backend %s: the running HAProxy did not begin with %s \"disabled\", so after each reload it takes traffic at once; add \"disabled\" to its line, or always_up to it in tidegate's configuration",
			b.Name, few(awake))
	}
}

// algorithm judges the running algorithm. Whether a hash is consistent shows only when a weight is neither 0 nor the initial one.
func (l *liveCheck) algorithm(ctx context.Context, client *haproxy.Client, b haproxy.Backend, app conf.App) {
	switch b.Algorithm {
	case "static-rr":
		l.missing("backend %s: the running HAProxy uses \"balance static-rr\", which takes no weight but 0 and the configured one; use roundrobin or leastconn", b.Name)
	case "first":
		l.warn("backend %s: the running HAProxy uses \"balance first\", which ignores weights: a new server cannot be given its traffic step by step; use roundrobin or leastconn", b.Name)
	case "source", "uri", "url_param", "hdr", "rdp-cookie", "hash", "log-hash":
		for _, p := range app.Policy.Servers {
			if s, ok := b.Server(p.Name); ok && s.Weight != 0 && s.Weight != s.InitialWeight {
				l.note(tryAdmin(ctx, client, b.Name, s), "backend %s takes weights with \"balance %s\"", b.Name, b.Algorithm)
				return
			}
		}
		l.warn("backend %s: the running HAProxy uses \"balance %s\", which takes weights only with \"hash-type consistent\"; HAProxy does not tell which it has, --haproxy FILE finds out", b.Name, b.Algorithm)
	}
}

// few is "server a" or "server a (and 3 more)".
func few(names []string) string {
	if len(names) == 1 {
		return "server " + names[0]
	}
	return fmt.Sprintf("server %s (and %d more)", names[0], len(names)-1)
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
	client, err := agent.NewClient(agent.ClientOptions{URL: n.URL, Token: n.Token.Reveal(), TLS: agentTLS(n.TLS), Timeout: n.Timeout})
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
