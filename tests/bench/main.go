package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	rounds     int
	e2eRounds  int
	slot       time.Duration
	e2eSlot    time.Duration
	transports []string
	loads      []string
	only       string
	profiles   string
	nodeTime   time.Duration
	backend    string
	sessions   bool
	free       bool
	beside     []int
}

// parts of a run, in their order.
var parts = []struct {
	name string
	run  func(*report, options, string) error
}{{"raw", runRaw}, {"e2e", runE2E}, {"rss", runRSS}, {"api", runAPI}, {"nginx", runNginx}, {"agent", runNode}, {"crowded", runCrowded}}

// known refuses names of parts that there are not.
func known(only string) error {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	for _, name := range strings.Split(only, ",") {
		if only != "" && !slices.Contains(names, name) {
			return fmt.Errorf("-only %s: there is no part %q; the parts are %s", only, name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (o options) wants(part string) bool {
	return o.only == "" && part != "crowded" || strings.Contains(","+o.only+",", ","+part+",")
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 7, "rounds of each comparison of raw SPOP")
	f.IntVar(&o.e2eRounds, "e2e-rounds", 15, "rounds of each comparison through HAProxy, every five of them with new processes")
	f.DurationVar(&o.slot, "slot", 600*time.Millisecond, "a contestant's time in one round of raw SPOP")
	f.DurationVar(&o.e2eSlot, "e2e-slot", 700*time.Millisecond, "a scenario's time in one round through HAProxy")
	f.StringVar(&o.only, "only", "", "some parts only, separated by commas: raw, e2e, rss, api, nginx, agent; crowded, if it is named")
	f.DurationVar(&o.nodeTime, "agent-time", time.Minute, "how long the node agent's own processor time is measured")
	f.StringVar(&o.profiles, "profile", "", "a folder for CPU profiles of the agents at 1 and 8 connections, taken in turns of their own")
	f.StringVar(&o.backend, "backend", "", "the server behind HAProxy: nginx or go (nginx if it is installed)")
	f.BoolVar(&o.sessions, "sessions", false, "every process in a session of its own, which the kernel may share the processors out among (sched(7), autogroup)")
	f.BoolVar(&o.free, "free", false, "leave it to the kernel which processors the agents of raw SPOP, and HAProxy, run on")
	beside := f.String("beside", "0,2,4", "busy loops beside HAProxy and agent in the part crowded")
	transport := f.String("transport", "unix", "of raw SPOP: unix, tcp or unix,tcp")
	loads := f.String("load", "loops", "of raw SPOP: loops (an event loop for each processor), goroutines (one for each connection) or loops,goroutines")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if err := known(o.only); err != nil {
		return o, err
	}
	o.transports = strings.Split(*transport, ",")
	for _, t := range o.transports {
		if t != "unix" && t != "tcp" {
			return o, fmt.Errorf("-transport %s: it is unix, tcp or unix,tcp", *transport)
		}
	}
	o.loads = strings.Split(*loads, ",")
	for _, l := range o.loads {
		if l != loops && l != goroutines {
			return o, fmt.Errorf("-load %s: it is loops, goroutines or loops,goroutines", *loads)
		}
	}
	for _, text := range strings.Split(*beside, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 64 {
			return o, fmt.Errorf("-beside %s: numbers from 0 to 64, separated by commas", *beside)
		}
		o.beside = append(o.beside, n)
	}
	if o.rounds < 1 || o.e2eRounds < 1 || o.slot <= 0 || o.e2eSlot <= 0 || o.nodeTime <= 0 {
		return o, errors.New("rounds and times must be above 0")
	}
	if o.profiles != "" {
		return o, os.MkdirAll(o.profiles, 0o755)
	}
	return o, nil
}

func main() {
	played, err := play(os.Args[1:])
	if !played {
		err = run(os.Args[1:])
	}
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.sessions {
		if err := os.Setenv(sessionEnv, "1"); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "tgb-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		// The other processes end with this one.
		<-interrupted
		_ = os.RemoveAll(dir)
		os.Exit(130)
	}()
	rep := &report{out: os.Stdout}
	began := time.Now()
	before := ticks()
	rep.printf("machine: %s\n", machine())
	rep.printf("%d rounds with turns of %v (raw), %d with turns of %v (through HAProxy); medians with (lowest-highest)\n",
		o.rounds, o.slot, o.e2eRounds, o.e2eSlot)
	for _, part := range parts {
		if !o.wants(part.name) {
			continue
		}
		if err := part.run(rep, o, dir); err != nil {
			return err
		}
	}
	rep.end()
	after := ticks()
	rep.printf("\nload afterwards: %s (a good part of it is this run's own), %s %% of the processors' time taken by the host; took %v\n",
		loadAverage(), short(100*(after.stolen-before.stolen)/max(after.all-before.all, 1)), time.Since(began).Round(time.Second))
	return nil
}

// freeAddr is a loopback address with a port that is free now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
