package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// slots are the servers of the backend in these tests. haproxy.cfg has them `disabled` with weight 100.
const slots = 12

const slotsConfig = `global
    stats socket {{SOCK}} mode 600 level admin
%s
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
%s
backend shop
    default-server weight 100 disabled
    server-template s 1-12 127.0.0.1:9
`

// keeper runs the real loop, in this process and in quick turns, against the real HAProxy, and plays the operator: it says which
// servers are to serve, and with which weight.
type keeper struct {
	t   *testing.T
	rig *harness.Rig
	h   *harness.HAProxy

	mu     sync.Mutex
	serve  map[string]bool
	weight int
	// seen are the good observations in their order; onApply is called once, when the next batch goes out.
	seen    []control.ProxyState
	applied int
	onApply func()
	log     strings.Builder
}

func startKeeper(t *testing.T, global, defaults string) *keeper {
	t.Helper()
	harness.Need(t, "haproxy")
	k := &keeper{t: t, rig: harness.ForTest(t), serve: map[string]bool{}, weight: 60}
	h, err := k.rig.StartHAProxy("haproxy", fmt.Sprintf(slotsConfig, strings.ReplaceAll(global, "{{DIR}}", k.rig.Dir), defaults))
	if err != nil {
		t.Fatal(err)
	}
	k.h = h
	for i := range slots / 2 {
		k.serve[fmt.Sprint("s", i+1)] = true
	}
	client, err := haproxy.New(haproxy.Options{Addr: "unix:" + h.Socket, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store, err := control.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// The app is known for long, so that servers may leave.
	if err := store.Save(core.Memory{Apps: map[string]core.AppMemory{"shop": {Since: time.Now().Add(-time.Hour), Random: 1}}}, false); err != nil {
		t.Fatal(err)
	}
	app := control.App{Backend: "shop", At: k.policy, StaleAfter: time.Minute}
	app.Policy = k.policy(time.Now())
	for _, s := range app.Policy.Servers {
		app.Servers = append(app.Servers, control.Server{Name: s.Name})
	}
	loop, err := control.New(control.Options{
		Store: store, Journal: control.NewJournal(t.TempDir(), 1<<20), Log: slog.New(slog.NewTextHandler(k, nil)),
		Setup: control.Setup{Tick: 100 * time.Millisecond, Proxies: []control.Instance{{Proxy: watched{k, proxyAdapter{client: client}}}}, Traffic: quietTraffic{}, Apps: []control.App{app}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the loop's log:\n%s", k.log.String())
		}
	})
	k.settle("the start")
	return k
}

// Write takes the loop's log, which also writes beside the turn.
func (k *keeper) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.Write(p)
}

func (k *keeper) policy(time.Time) core.AppPolicy {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := core.AppPolicy{
		Name: "shop", Strategy: core.Latency, Proxied: true, MinServers: 1, Weight: k.weight, Ramp: []int{100}, DrainDeadline: time.Minute,
		StartDeadline: time.Minute, RetryAfter: time.Minute, MaxOut: 1, ErrorStorm: 1, Latency: core.LatencyPolicy{Requests: 1, Threshold: time.Hour, Breaches: 1},
	}
	for i := range slots {
		name := fmt.Sprint("s", i+1)
		p.Servers = append(p.Servers, core.ServerPolicy{Name: name, MinWorkers: 1, MaxWorkers: 1, AlwaysUp: k.serve[name]})
	}
	return p
}

// watched notes what the loop sees, and tells when a batch goes out.
type watched struct {
	k *keeper
	control.Proxy
}

func (w watched) Observe(ctx context.Context, backends []string) (control.ProxyState, error) {
	s, err := w.Proxy.Observe(ctx, backends)
	if err == nil {
		w.k.mu.Lock()
		w.k.seen = append(w.k.seen, s)
		w.k.mu.Unlock()
	}
	return s, err
}

func (w watched) Apply(ctx context.Context, steps []control.ProxyStep) ([]error, error) {
	w.k.mu.Lock()
	hook := w.k.onApply
	w.k.onApply = nil
	w.k.applied++
	w.k.mu.Unlock()
	if hook != nil {
		hook()
	}
	return w.Proxy.Apply(ctx, steps)
}

// quietTraffic is a backend that tidegate hears of and that nobody uses.
type quietTraffic struct{}

func (quietTraffic) Take(now time.Time) map[string]control.TrafficReport {
	return map[string]control.TrafficReport{"shop": {Last: now}}
}

func (quietTraffic) State() api.SPOA { return api.SPOA{} }

// order changes what is wanted.
func (k *keeper) order(weight int, change func(serve map[string]bool)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.weight = weight
	if change != nil {
		change(k.serve)
	}
}

// wrong names the servers that are not as wanted in what was seen; those in except are left out.
func (k *keeper) wrong(s control.ProxyState, except ...string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for i := range slots {
		name := fmt.Sprint("s", i+1)
		v := s.Backends["shop"].Servers[name]
		good := v.Admin == core.AdminMaint && v.Weight == 0
		if k.serve[name] {
			good = v.Admin == core.AdminReady && v.Weight == k.weight
		}
		if !good && !slices.Contains(except, name) {
			out = append(out, fmt.Sprintf("%s is %s with weight %d (serve %v, weight %d wanted)", name, v.Admin, v.Weight, k.serve[name], k.weight))
		}
	}
	return out
}

// last is the last observation, with how many there were.
func (k *keeper) last() (control.ProxyState, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.seen) == 0 {
		return control.ProxyState{}, 0
	}
	return k.seen[len(k.seen)-1], len(k.seen)
}

// settle waits until all is as wanted and nothing is on its way.
func (k *keeper) settle(after string, except ...string) {
	k.t.Helper()
	err := harness.WaitFor("all servers as wanted", 20*time.Second, func() bool {
		s, n := k.last()
		return n > 0 && len(k.wrong(s, except...)) == 0
	})
	if err != nil {
		s, _ := k.last()
		k.t.Fatalf("after %s: %v: %v", after, err, k.wrong(s, except...))
	}
}

// observations waits for n observations of the process that answers now, and returns them.
func (k *keeper) observations(n int) []control.ProxyState {
	k.t.Helper()
	var pid string
	err := harness.WaitFor("HAProxy to answer", 20*time.Second, func() bool {
		now, err := k.h.NewestPID()
		pid = now
		return err == nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	var out []control.ProxyState
	err = harness.WaitFor(fmt.Sprintf("%d observations of process %s", n, pid), 20*time.Second, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		out = nil
		for _, s := range k.seen {
			if strings.HasPrefix(s.Process, pid+":") {
				out = append(out, s)
			}
		}
		return len(out) >= n
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// secondTick fails when the second observation of the new process does not show the wanted state.
func (k *keeper) secondTick(after string, except ...string) {
	k.t.Helper()
	second := k.observations(2)[1]
	if wrong := k.wrong(second, except...); len(wrong) > 0 {
		k.t.Errorf("after %s, in the second turn with the new process (%s): %v", after, second.Process, wrong)
	}
}

func (k *keeper) dump() {
	k.t.Helper()
	out, err := k.h.Command("show servers state")
	if err == nil {
		err = os.WriteFile(k.rig.Path("state"), []byte(out), 0o644)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) human(commands ...string) {
	k.t.Helper()
	for _, c := range commands {
		if out, err := k.h.Command(c); err != nil || strings.TrimSpace(out) != "" {
			k.t.Fatalf("%s: %q, %v", c, out, err)
		}
	}
}

// server is how a server was seen last.
func (k *keeper) server(name string) core.ProxyServerObs {
	s, _ := k.last()
	return s.Backends["shop"].Servers[name]
}

// turns waits for n more observations.
func (k *keeper) turns(n int) {
	k.t.Helper()
	_, from := k.last()
	if err := harness.WaitFor("more turns", 20*time.Second, func() bool { _, now := k.last(); return now >= from+n }); err != nil {
		k.t.Fatal(err)
	}
}
