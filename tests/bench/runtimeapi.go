package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidegate/tidegate/haproxy"
)

const (
	apiBackends = 100
	apiServers  = 100
	apiChanges  = 1000 // in the first ten backends
	apiBatch    = 250  // commands in a line of the bare batch
)

// runtimeAPI measures the runtime API's client against one HAProxy with 10,000 servers.
type runtimeAPI struct {
	*e2e
	socket string
	client *haproxy.Client
	weight int
}

// runAPI compares our way of changing weights and of reading with others' ways and with the bare exchange.
func runAPI(rep *report, o options, dir string) error {
	program, err := find("haproxy")
	if err != nil {
		rep.printf("\n== HAProxy's runtime API: left out, %v\n", err)
		return nil
	}
	a := &runtimeAPI{e2e: &e2e{report: rep, opts: o, dir: dir}, socket: filepath.Join(dir, "api.sock")}
	defer a.close()
	if err := a.startHAProxy(program); err != nil {
		return fmt.Errorf("HAProxy's runtime API: %w", err)
	}
	if a.client, err = haproxy.New(haproxy.Options{Addr: "unix:" + a.socket, Timeout: time.Minute}); err != nil {
		return err
	}
	defer a.client.Close()
	err = firstOf(
		a.compare("haproxy/weights", "commands/s", apiChanges,
			fmt.Sprintf("%s weights changed in 10 of %d backends with %d servers each", thousands(apiChanges), apiBackends, apiServers),
			way{ours, "a probe, a batch, the new state read back", a.weightsByApply},
			way{peer, "a connection for each command", a.weightsOneByOne},
			way{limit, "a bare batch, nothing read back", a.weightsBare}),
		a.compare("haproxy/read", "reads/s", 1,
			fmt.Sprintf("one of %d backends with %d servers each read", apiBackends, apiServers),
			way{ours, "the process, states and load of the backend", a.readOurs},
			way{peer, "the whole `show stat`", a.readAll},
			way{limit, "a bare `show stat` of the backend", a.readBare}))
	if err != nil {
		return fmt.Errorf("HAProxy's runtime API: %w", err)
	}
	return nil
}

func (a *runtimeAPI) startHAProxy(program string) error {
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "global\n    stats socket %s mode 600 level admin\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 1m\n    timeout server 1m\n", a.socket)
	for i := range apiBackends {
		fmt.Fprintf(&cfg, "backend b%d\n    balance roundrobin\n    server-template s 1-%d 127.0.0.1:9 weight 100\n", i, apiServers)
	}
	path := filepath.Join(a.dir, "api.cfg")
	if err := os.WriteFile(path, []byte(cfg.String()), 0o644); err != nil {
		return err
	}
	if _, err := a.startServer(program, "-db", "-f", path); err != nil {
		return err
	}
	for range 250 {
		if text, err := a.ask("show info"); err == nil && len(text) > 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("HAProxy does not answer at its stats socket")
}

// compare lets the ways take turns.
func (a *runtimeAPI) compare(bench, unit string, units int, title string, ways ...way) error {
	return a.takeTurns(a.opts, bench, unit, units, "HAProxy's runtime API: "+title, ways...)
}

// ask sends one line over a connection of its own and reads to the end.
func (a *runtimeAPI) ask(text string) (string, error) {
	conn, err := net.Dial("unix", a.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// commands change all weights to another value each time.
func (a *runtimeAPI) commands() []haproxy.Command {
	a.weight = 1 + a.weight%255
	cmds := make([]haproxy.Command, apiChanges)
	for i := range cmds {
		cmds[i] = haproxy.SetWeight(fmt.Sprintf("b%d", i/apiServers), fmt.Sprintf("s%d", 1+i%apiServers), a.weight)
	}
	return cmds
}

func (a *runtimeAPI) weightsByApply() error {
	_, results, err := a.client.Apply(context.Background(), a.commands(), nil)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	return err
}

func (a *runtimeAPI) weightsOneByOne() error {
	for _, c := range a.commands() {
		if text, err := a.ask(c.String()); err != nil || text != "\n" {
			return fmt.Errorf("%s: %q, %w", c, text, err)
		}
	}
	return nil
}

func (a *runtimeAPI) weightsBare() error {
	cmds := a.commands()
	for len(cmds) > 0 {
		n := min(apiBatch, len(cmds))
		words := make([]string, n)
		for i, c := range cmds[:n] {
			words[i] = c.String()
		}
		text, err := a.ask(strings.Join(words, ";"))
		if err != nil || text != strings.Repeat("\n", n) {
			return fmt.Errorf("a batch of %d: %.200q, %w", n, text, err)
		}
		cmds = cmds[n:]
	}
	return nil
}

func (a *runtimeAPI) readOurs() error {
	state, err := a.client.Observe(context.Background(), []string{"b7"})
	if err == nil && len(state.Backends["b7"].Servers) != apiServers {
		err = fmt.Errorf("%d servers were read", len(state.Backends["b7"].Servers))
	}
	return err
}

func (a *runtimeAPI) readAll() error { return a.read("show stat", apiBackends*apiServers) }

func (a *runtimeAPI) readBare() error { return a.read("show stat b7 6 -1", apiServers) }

func (a *runtimeAPI) read(question string, servers int) error {
	text, err := a.ask(question)
	if err == nil && strings.Count(text, "\n") < servers {
		err = fmt.Errorf("the answer to %s has %d lines only", question, strings.Count(text, "\n"))
	}
	return err
}
