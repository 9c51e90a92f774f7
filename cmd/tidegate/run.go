package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/internal/names"
	"github.com/tidegate/tidegate/internal/sched"
	"github.com/tidegate/tidegate/spoa"
)

func runCommand() *cobra.Command {
	return daemonCommand("run -c FILE", "Run the controller: the SPOE agent, the decisions, HAProxy and nginx", runController)
}

// daemonCommand is a command that runs until it is told to end, with a configuration file and a log.
func daemonCommand(use, short string, run func(ctx context.Context, file string, log *slog.Logger) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	file := configFlag(cmd)
	log := logFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := log()
		if err != nil {
			return err
		}
		path, err := file()
		if err != nil {
			return err
		}
		return run(cmd.Context(), path, l)
	}
	return cmd
}

// configFlag adds the required flag -c.
func configFlag(cmd *cobra.Command) func() (string, error) {
	file := cmd.Flags().StringP("config", "c", "", "configuration `FILE`")
	return func() (string, error) {
		if *file == "" {
			return "", usageError{fmt.Errorf("%s needs -c FILE, the configuration", cmd.CommandPath())}
		}
		if _, err := os.Stat(*file); err != nil {
			return "", usageError{fmt.Errorf("read the configuration: %w", err)}
		}
		return *file, nil
	}
}

// unwatched logs that the configuration's folder cannot be watched.
func unwatched(log *slog.Logger) func(error) {
	return func(err error) {
		log.Warn("the configuration's folder cannot be watched; it is looked at every few seconds", "error", err)
	}
}

// drainTime bounds what HAProxy gets at a shutdown to take the agent out by its checks, so that no request notices.
const drainTime = 3 * time.Second

// controller is the wired process.
type controller struct {
	conf    *conf.Controller
	log     *slog.Logger
	loop    *control.Loop
	names   *names.Resolver
	spoa    *spoa.Server
	spoaLn  net.Listener
	apiLn   net.Listener
	metrics net.Listener
	rooms   *rooms
}

func runController(ctx context.Context, file string, log *slog.Logger) error {
	metrics.ExposeMetadata(true)
	c, err := wire(ctx, file, log)
	if err != nil {
		return err
	}
	log.Info("tidegate runs", "version", buildVersion(), "config", file, "api", c.conf.API, "apps", len(c.conf.Apps))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				cancel(err)
			}
		})
	}
	if c.spoa != nil {
		start(func() error { return c.spoa.Serve(ctx, c.spoaLn) })
	}
	start(func() error { return api.Serve(ctx, c.apiLn, api.Handler(c.loop, false), log) })
	if c.metrics != nil {
		start(func() error { return api.Serve(ctx, c.metrics, api.Handler(c.loop, true), log) })
	}
	// A refused reload is logged and shown by the loop itself.
	start(func() error { conf.Watch(ctx, file, func() { _ = c.loop.Reload() }, unwatched(log)); return nil })
	start(func() error { onHangup(ctx, func() { _ = c.loop.Reload() }); return nil })
	start(func() error { c.names.Run(ctx); return nil })
	start(func() error { return c.loop.Run(ctx) })
	wg.Wait()
	c.rooms.endDNS(&rooms{})
	log.Info("tidegate ends; traffic, weights and workers stay as they are")
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// wire builds everything that can fail before anything begins to run.
func wire(ctx context.Context, file string, log *slog.Logger) (*controller, error) {
	cfg, err := conf.LoadController(file)
	if err != nil {
		return nil, err
	}
	if cfg.SPOA != nil && cfg.SPOA.Batch {
		if err := sched.Batch(); err != nil {
			log.Info("some threads stay under the normal scheduling policy; on a full machine HAProxy does a little less then", "error", err)
		}
	}
	set := metrics.NewSet()
	store, err := control.NewStore(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	r := &rooms{log: log, set: set, names: names.New(names.Options{File: filepath.Join(cfg.StateDir, "names.json"), Log: log})}
	c := &controller{conf: cfg, log: log, names: r.names, rooms: r}
	ok := false
	defer func() {
		if !ok {
			c.closeListeners()
			r.endDNS(&rooms{})
		}
	}()
	if cfg.SPOA != nil {
		if c.spoaLn, err = listenSPOA(cfg.SPOA); err != nil {
			return nil, err
		}
		meter := spoa.NewMeter(spoa.MeterOptions{OpenExpire: cfg.SPOA.OpenExpire, Metrics: set})
		c.spoa = spoa.New(spoa.Options{Sink: meter, Log: log, Metrics: set, Drain: drainTime})
		r.traffic = &trafficAdapter{listen: cfg.SPOA.Listen, server: c.spoa, meter: meter, errors: map[string]*errorShare{}, feeds: map[string]*feed{}}
	}
	setup, err := r.build(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.loop, err = control.New(control.Options{
		Version: buildVersion(), Setup: setup, Store: store, Journal: control.NewJournal(cfg.StateDir, control.JournalMaxBytes), Log: log, Metrics: set,
		Load: func() (control.Setup, error) {
			next, err := conf.LoadController(file)
			if err != nil {
				return control.Setup{}, err
			}
			if err := needsRestart(cfg, next); err != nil {
				return control.Setup{}, err
			}
			return r.build(ctx, next)
		},
	})
	if err != nil {
		return nil, err
	}
	if c.apiLn, err = listenAPI(cfg.API); err != nil {
		return nil, err
	}
	if cfg.Metrics != "" {
		if c.metrics, err = api.Listen(cfg.Metrics); err != nil {
			return nil, err
		}
	}
	ok = true
	return c, nil
}

func (c *controller) closeListeners() {
	for _, ln := range []net.Listener{c.spoaLn, c.apiLn, c.metrics} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// needsRestart refuses a reload that would move what clients are connected to.
func needsRestart(old, next *conf.Controller) error {
	spoaOf := func(c *conf.Controller) conf.SPOA {
		if c.SPOA == nil {
			return conf.SPOA{}
		}
		return *c.SPOA
	}
	for key, same := range map[string]bool{
		"api": old.API == next.API, "metrics": old.Metrics == next.Metrics, "state_dir": old.StateDir == next.StateDir, "spoa": spoaOf(old) == spoaOf(next),
	} {
		if !same {
			return fmt.Errorf("%s: %s has changed; that takes a restart of tidegate (traffic goes on meanwhile)", next.File, key)
		}
	}
	return nil
}

func listenAPI(addr string) (net.Listener, error) {
	if err := makeParent(addr); err != nil {
		return nil, err
	}
	return api.Listen(addr)
}

func listenSPOA(c *conf.SPOA) (net.Listener, error) {
	if err := makeParent(c.Listen); err != nil {
		return nil, err
	}
	ln, err := spoa.Listen(c.Listen)
	if err != nil {
		return nil, err
	}
	path, unix := strings.CutPrefix(c.Listen, "unix:")
	if c.Group == "" || !unix {
		return ln, nil
	}
	g, err := user.LookupGroup(c.Group)
	if err == nil {
		var gid int
		if gid, err = strconv.Atoi(g.Gid); err == nil {
			err = os.Chown(path, -1, gid)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("give the SPOE socket to the group %s: %w", c.Group, err), ln.Close())
	}
	return ln, nil
}

// makeParent makes the folder of a unix socket when it is missing, as /run/tidegate is after a boot.
func makeParent(addr string) error {
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	return nil
}

// onHangup calls f at each SIGHUP until ctx ends.
func onHangup(ctx context.Context, f func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			f()
		}
	}
}

func reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload [--api ADDRESS | -c FILE]",
		Short: "Make a running controller read its configuration again, all or nothing",
		Args:  cobra.NoArgs,
	}
	client := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := client()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
		defer cancel()
		if err := c.Reload(ctx); err != nil {
			return err
		}
		fmt.Println("the configuration was loaded")
		return nil
	}
	return cmd
}
