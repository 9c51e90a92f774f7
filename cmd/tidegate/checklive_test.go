package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// soundHAProxy has nothing that tidegate complains about: s1 always serves, the slots s2 and s3 are disabled.
const soundHAProxy = `global
    stats socket {{SOCK}} mode 600 level admin
    stats maxconn 20
defaults
    mode http
    option redispatch
    timeout connect 1s
    timeout client 5s
    timeout server 5s
backend shop
    balance roundrobin
    default-server weight 100
    server s1 127.0.0.1:9
    server s2 127.0.0.1:10 disabled
    server s3 127.0.0.1:11 disabled
`

const liveYAML = `state_dir: %[1]s/state
api: unix:%[1]s/api.sock
haproxy: {socket: "unix:%[2]s"}
apps:
  - name: shop
    strategy: noop
    haproxy_backend: shop
    servers:
      - {name: s1, address: "127.0.0.1:9", always_up: true}
      - {name: s2, address: "127.0.0.1:10"}
      - {name: s3, address: "127.0.0.1:11"}
`

// live runs the live check on a real HAProxy with the configuration, with its file or without, and returns the complaints.
// humans are commands given before.
func live(t *testing.T, cfg string, file bool, humans ...string) []string {
	t.Helper()
	rig := harness.ForTest(t)
	h, err := rig.StartHAProxy("haproxy", cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range humans {
		if out, err := h.Command(c); err != nil || strings.TrimSpace(out) != "" {
			t.Fatalf("%s: %q, %v", c, out, err)
		}
	}
	path, err := rig.Write("tidegate.yaml", fmt.Sprintf(liveYAML, rig.Dir, h.Socket))
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(path)
	if err != nil {
		t.Fatal(err)
	}
	var o liveOptions
	if file {
		o.Files = []string{rig.Path("haproxy.cfg")}
	}
	var out strings.Builder
	failed := checkLive(context.Background(), &out, c, o) != nil
	var complaints []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(strings.NewReplacer(rig.Dir, "DIR").Replace(line), "\n")
		if strings.HasPrefix(line, "ok ") || strings.HasSuffix(line, "missing") || strings.Contains(line, "whether HAProxy's messages arrive cannot be told") {
			continue
		}
		complaints = append(complaints, line)
	}
	if refused := slices.ContainsFunc(complaints, func(s string) bool { return strings.HasPrefix(s, "MISSING") }); refused != failed {
		t.Errorf("failed %v with\n%s", failed, out.String())
	}
	return complaints
}

// Each thing that HAProxy can have against being steered, alone in an otherwise sound configuration: what the file tells, and what
// the running HAProxy tells when there is no file.
func TestCheckLiveRefusesEachThingByItself(t *testing.T) {
	harness.Need(t, "haproxy")
	const (
		consistent = `; add "hash-type consistent"`
		askFile    = `, which takes weights only with "hash-type consistent"; HAProxy does not tell which it has, --haproxy FILE finds out`
	)
	for name, c := range map[string]struct {
		old, new     string
		humans       []string
		file, noFile string
	}{
		"nothing": {},
		"a static algorithm": {old: "balance roundrobin", new: "balance static-rr",
			file:   `MISSING  DIR/haproxy.cfg:11: backend shop uses "balance static-rr", which takes no weight but 0 and the configured one; use roundrobin or leastconn`,
			noFile: `MISSING  backend shop: the running HAProxy uses "balance static-rr", which takes no weight but 0 and the configured one; use roundrobin or leastconn`},
		"a map-based hash": {old: "balance roundrobin", new: "balance source",
			file:   `MISSING  DIR/haproxy.cfg:11: backend shop uses "balance source" with a map-based hash, which takes no weight but 0 and the configured one` + consistent,
			noFile: `warning  backend shop: the running HAProxy uses "balance source"` + askFile},
		"a consistent hash": {old: "balance roundrobin", new: "balance uri\n    hash-type consistent",
			noFile: `warning  backend shop: the running HAProxy uses "balance uri"` + askFile},
		"a consistent hash at work": {old: "balance roundrobin", new: "balance uri\n    hash-type consistent", humans: []string{"set server shop/s1 weight 50"}},
		"balance first": {old: "balance roundrobin", new: "balance first",
			file:   `warning  DIR/haproxy.cfg:11: backend shop uses "balance first", which ignores weights: a new server cannot be given its traffic step by step; use roundrobin or leastconn`,
			noFile: `warning  backend shop: the running HAProxy uses "balance first", which ignores weights: a new server cannot be given its traffic step by step; use roundrobin or leastconn`},
		"the default weight": {old: "    default-server weight 100\n", new: "\n",
			file:   `MISSING  DIR/haproxy.cfg:13: server s1 (and 2 more) of backend shop has weight 1 (the default), so after each reload it gets next to nothing beside servers that tidegate has given their weight, until it has that too; better give all servers "weight 100", for instance by "default-server weight 100"`,
			noFile: `MISSING  backend shop: the running HAProxy began with weight 1 for server s1 (and 2 more), so after each reload it gets next to nothing beside servers that have their weight; give all servers "weight 100", for instance by "default-server weight 100"`},
		"an operator's socket": {old: "level admin", new: "level operator",
			file:   `MISSING  DIR/haproxy.cfg:2: the stats socket DIR/haproxy.sock has level operator, which refuses changes; add "level admin" to its line`,
			noFile: `MISSING  set server shop/s1 weight 100: the stats socket unix:DIR/haproxy.sock refuses changes (Permission denied); its "stats socket" line in haproxy.cfg needs "level admin"`},
		"an agent-check beside tidegate": {old: "server s2 127.0.0.1:10 disabled", new: "server s2 127.0.0.1:10 disabled agent-check agent-port 9102",
			file: `warning  DIR/haproxy.cfg:14: server s2 has an agent-check, which changes the weight that tidegate sets if it answers with one; give the app shop "weights: agent-check", or take it off the line`},
		"option persist": {old: "balance roundrobin", new: "balance roundrobin\n    option persist",
			file: `MISSING  DIR/haproxy.cfg:12: backend shop has "option persist", which keeps sending sticky clients to servers in maintenance; put "no option persist" there`},
		"a slot that is not disabled": {old: "s2 127.0.0.1:10 disabled", new: "s2 127.0.0.1:10",
			file:   `MISSING  DIR/haproxy.cfg:14: server s2 of backend shop is not "disabled", so after each reload it takes traffic at once, until tidegate has applied its state again; this is right for servers that are always up`,
			noFile: `MISSING  backend shop: the running HAProxy did not begin with server s2 "disabled", so after each reload it takes traffic at once; add "disabled" to its line, or always_up to it in tidegate's configuration`},
		"a slot that was put into service": {humans: []string{"set server shop/s2 state ready"}},
		"few connections": {old: "stats maxconn 20", new: "stats maxconn 3",
			file:   `MISSING  DIR/haproxy.cfg:3: "stats maxconn 3" allows too few connections to the stats sockets at once: when all are taken, commands wait and run late; allow at least 5, or leave the line out (10)`,
			noFile: `MISSING  HAProxy answers on 3 connections to its stats sockets at once, and 5 are needed: "stats maxconn" is too small, or other programs hold the connections`},
		"no redispatch": {old: "    option redispatch\n", new: "\n",
			file: `warning  DIR/haproxy.cfg:10: backend shop has no "option redispatch": a request that cannot connect to its server is not tried on another one; add it`},
		"no such backend": {old: "backend shop", new: "backend shoe",
			file: `MISSING  DIR/haproxy.cfg has no backend or listen section "shop"`, noFile: `MISSING  HAProxy has no backend shop`},
		"no such server": {old: "    server s3 127.0.0.1:11 disabled\n", new: "\n", noFile: `MISSING  backend shop has no server s3`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := strings.Replace(soundHAProxy, c.old, c.new, 1)
			if c.old != "" && cfg == soundHAProxy {
				t.Fatal("nothing was changed")
			}
			only := func(want string, got []string) {
				t.Helper()
				if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0] != want) {
					t.Errorf("complaints:\n%s\nwant only:\n%s", strings.Join(got, "\n"), want)
				}
			}
			only(c.noFile, live(t, cfg, false, c.humans...))
			withFile := live(t, cfg, true, c.humans...)
			switch name {
			case "an operator's socket", "no such backend", "no such server":
				// The running HAProxy says it, too.
				if len(withFile) == 0 || withFile[len(withFile)-1] != c.noFile {
					t.Errorf("complaints:\n%s\nwant last:\n%s", strings.Join(withFile, "\n"), c.noFile)
				}
				if c.file == "" {
					withFile = nil
				}
				withFile = withFile[:min(1, len(withFile))]
			}
			only(c.file, withFile)
		})
	}
}

// An app whose weights are the agent-check's needs one on each server.
func TestCheckLiveAsksForTheAgentCheck(t *testing.T) {
	cfg := &haproxy.Config{Path: "haproxy.cfg", Backends: []haproxy.ConfigBackend{{Name: "shop", Servers: []haproxy.ConfigServer{
		{Name: "s1", Line: 7, AgentCheck: true}, {Name: "s2", Line: 8}}}}}
	var out strings.Builder
	l := &liveCheck{out: &out}
	app := conf.App{Backend: "shop", Policy: core.AppPolicy{Name: "shop", WeightsElsewhere: true}}
	l.weightOwner(cfg, &cfg.Backends[0], app)
	if got := out.String(); l.missed != 1 || !strings.Contains(got, "haproxy.cfg:8: server s2 has no agent-check") {
		t.Errorf("%d missed: %s", l.missed, got)
	}
}
