package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/internal/quiet"
	"github.com/tidegate/tidegate/internal/unixsock"
)

// Options configure an Agent.
type Options struct {
	// Node is the node's name in reports: letters, digits, '.', '_', '-', at most 64.
	Node string
	// Listen is "ADDRESS:PORT" with an IP address or localhost, or "unix:/path" (mode 0660). Without a token only loopback
	// and unix are allowed.
	Listen string
	// Token is the bearer token that callers must show; empty means none. At most 4096 printable characters, no spaces.
	Token string
	// TLS makes the agent speak HTTPS; nil is HTTP. With TLS.CA only callers with a certificate it has signed are answered,
	// and a token is not needed beyond loopback.
	TLS *TLS
	// Apps are the applications of this node, 1 to 256 with different names.
	Apps []App
	// Log gets what an operator should know; nil means slog.Default().
	Log *slog.Logger
	// Metrics gets the series while Run runs; nil means a private set. GET /metrics writes it.
	Metrics *metrics.Set
	// StateDir is the folder in which the agent remembers which applications a person has drained; without one it forgets
	// them when it ends.
	StateDir string
	// ScanEvery is the mean time between two scans, which come at irregular distances, 20 ms to 1 s; 0 means 300 ms.
	ScanEvery time.Duration
}

// App is one application on the node.
type App struct {
	// Name is the application's name in reports and orders; the same rules as for Options.Node.
	Name string
	// Source counts busy workers, Actuator knows and changes the number of workers; at least one of them is there. Each
	// belongs to this application alone.
	Source   adapter.Source
	Actuator adapter.Actuator
	// Queue tells what waits; nil takes the Source or the Actuator, when it can tell.
	Queue adapter.Queue
	// Threads is the number of requests that one worker process serves at once, 0 (1) to 1024. Everything else is in workers:
	// Threads of them are one process.
	Threads int
	// Check is where HAProxy's agent-check is answered, "ADDRESS:PORT"; empty for nowhere.
	Check string
	// Min and Max are the limits of a target, in workers, 0 to 1024; Min is 1 at least where the server cannot do with none.
	Min, Max int
}

// Agent watches and steers the applications of one node. See the package's comment.
type Agent struct {
	opt    Options
	tls    *tls.Config
	drains *drains
	set    *metrics.Set
	host   *hostSampler
	apps   []*app
	byName map[string]*app
}

// New checks the options; nothing is opened or started.
func New(o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.ScanEvery == 0 {
		o.ScanEvery = 300 * time.Millisecond
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	secure, err := o.TLS.server()
	if err != nil {
		return nil, err
	}
	drained, err := loadDrains(o.StateDir)
	if err != nil {
		return nil, err
	}
	log := quiet.New(o.Log, 0)
	host, err := newHostSampler(log)
	if err != nil {
		return nil, err
	}
	a := &Agent{opt: o, tls: secure, drains: drained, set: o.Metrics, host: host, byName: map[string]*app{}}
	if a.set == nil {
		a.set = metrics.NewSet()
	}
	for _, cfg := range o.Apps {
		app := newApp(cfg, log)
		app.drained = drained.has(cfg.Name)
		a.apps = append(a.apps, app)
		a.byName[cfg.Name] = app
	}
	return a, nil
}

// validate refuses what cannot work, with one sentence that names the value and what is allowed.
func (o Options) validate() error {
	const nameRule = "allowed are 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit"
	if !validName(o.Node) {
		return fmt.Errorf("the node's name is %.80q, %s", o.Node, nameRule)
	}
	if o.ScanEvery < 20*time.Millisecond || o.ScanEvery > time.Second {
		return fmt.Errorf("the time between scans is %v, allowed are 20ms to 1s", o.ScanEvery)
	}
	if len(o.Token) > 4096 || strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has a space, a control character, a character beyond ASCII or more than 4096 characters")
	}
	if o.TLS != nil && strings.HasPrefix(o.Listen, "unix:") {
		return fmt.Errorf("listen is %.120q, and TLS is for ADDRESS:PORT: a unix socket needs none", o.Listen)
	}
	if err := checkListen(o.Listen, o.Token != "" || o.TLS != nil && o.TLS.CA != ""); err != nil {
		return err
	}
	if len(o.Apps) == 0 || len(o.Apps) > 256 {
		return fmt.Errorf("there are %d applications, allowed are 1 to 256", len(o.Apps))
	}
	names, owners := map[string]bool{}, map[string]string{}
	for _, a := range o.Apps {
		if !validName(a.Name) {
			return fmt.Errorf("an application's name is %.80q, %s", a.Name, nameRule)
		}
		if names[a.Name] {
			return fmt.Errorf("there are two applications named %s", a.Name)
		}
		names[a.Name] = true
		if err := a.validate(); err != nil {
			return fmt.Errorf("application %s: %w", a.Name, err)
		}
		for _, what := range a.owns() {
			if other := owners[what]; other != "" {
				return fmt.Errorf("applications %s and %s share %s, each needs its own", other, a.Name, what)
			}
			owners[what] = a.Name
		}
	}
	return nil
}

func (a App) validate() error {
	if a.Source == nil && a.Actuator == nil {
		return errors.New("neither a source of busy counts nor an actuator of worker counts is given")
	}
	if a.Threads < 0 || a.Threads > 1024 {
		return fmt.Errorf("threads is %d, allowed are 1 to 1024", a.Threads)
	}
	if a.Check != "" {
		// HAProxy's check shows no token, and its answer is no secret: any address may be listened on.
		if _, err := netip.ParseAddrPort(a.Check); err != nil {
			return fmt.Errorf("the address for HAProxy's agent-check is %.80q, wanted is IP:PORT", a.Check)
		}
	}
	low := 1
	if a.Actuator != nil && a.Actuator.Limits().Zero {
		low = 0
	}
	if a.Min < low || a.Max < 1 || a.Max > 1024 || a.Min > a.Max {
		return fmt.Errorf("min and max are %d and %d workers, allowed are %d to 1024 with min not above max", a.Min, a.Max, low)
	}
	return nil
}

// owns lists the paths and addresses that no other application may use. Source and actuator may be one.
func (a App) owns() []string {
	var all []string
	for _, d := range []any{a.Source, a.Actuator} {
		if o, ok := d.(adapter.Owner); ok {
			for _, what := range o.Owns() {
				if !slices.Contains(all, what) {
					all = append(all, what)
				}
			}
		}
	}
	return all
}

// checkListen refuses an address that strangers could reach without showing a token or a certificate.
func checkListen(listen string, guarded bool) error {
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		// sun_path holds 108 bytes with the final zero (unix(7)).
		if !filepath.IsAbs(path) || len(path) > 107 || strings.ContainsRune(path, 0) {
			return fmt.Errorf("listen is %.120q, after unix: an absolute path of at most 107 bytes is wanted", listen)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen is %.120q, wanted is ADDRESS:PORT or unix:/path", listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("listen is %.120q, the port must be 1 to 65535", listen)
	}
	if host == "localhost" {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("listen is %.120q, an IP address or localhost is wanted before the port", listen)
	}
	if !addr.Unmap().IsLoopback() && !guarded {
		return fmt.Errorf("listen is %s, which is not loopback, and there is no token and no authority for client certificates: set one, or listen on 127.0.0.1 or unix:/path", listen)
	}
	return nil
}

// Run listens, scans and steers until ctx ends, and returns nil then. Workers stay as they are. It is an error when it
// cannot listen. Run may be called again after it has returned, not twice at once.
func (a *Agent) Run(ctx context.Context) error {
	ln, err := listenOn(a.opt.Listen)
	if err != nil {
		return err
	}
	checks, err := a.listenChecks()
	if err != nil {
		_ = ln.Close()
		return err
	}
	if a.tls != nil {
		ln = tls.NewListener(ln, a.tls)
	}
	reg := newRegistry(a.set)
	defer reg.close()
	reg.host(a.host)
	for _, app := range a.apps {
		app.met = reg.app(app)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { a.host.run(ctx) })
	for _, app := range a.apps {
		wg.Go(func() { app.run(ctx) })
		if ln := checks[app]; ln != nil {
			wg.Go(func() { app.answerChecks(ctx, ln, app.log) })
		}
	}
	wg.Go(func() { a.beat(ctx) })
	wg.Go(func() { sampleUsage(ctx, a.apps) })
	srv := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.opt.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	wg.Go(func() { served <- srv.Serve(ln) })
	a.opt.Log.Info("the agent listens", "node", a.opt.Node, "listen", a.opt.Listen, "apps", len(a.apps))
	select {
	case err = <-served:
		err = fmt.Errorf("serve %s: %w", a.opt.Listen, err)
	case <-ctx.Done():
		err = nil
		stop, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		if srv.Shutdown(stop) != nil {
			_ = srv.Close() // whoever still waits has had its time
		}
		cancelStop()
	}
	cancel()
	wg.Wait()
	return err
}

// beat tells all applications when to scan, at the same moment: one wake-up of the process for all of them. One that is
// still at its last scan misses a beat.
func (a *Agent) beat(ctx context.Context) {
	for {
		for _, app := range a.apps {
			select {
			case app.due <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(untilScan(a.opt.ScanEvery)):
		}
	}
}

// untilScan is the time to the next scan: half of every to one and a half times it, at random. Requests that come at regular
// distances, as those of a probe or of a cron job do, would otherwise be found in progress at each scan, or at none.
func untilScan(every time.Duration) time.Duration {
	return every/2 + rand.N(every+1)
}

// listenOn listens on TCP or on a unix socket; a socket file that a dead agent left is replaced.
func listenOn(listen string) (net.Listener, error) {
	path, ok := strings.CutPrefix(listen, "unix:")
	if !ok {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", listen, err)
		}
		return ln, nil
	}
	return unixsock.Listen(path)
}

// report gathers everything.
func (a *Agent) report(now time.Time) Report {
	r := Report{Node: a.opt.Node, Time: now, Host: a.host.get(), Apps: make(map[string]AppReport, len(a.apps))}
	for _, app := range a.apps {
		r.Apps[app.cfg.Name] = app.report(now)
	}
	return r
}
