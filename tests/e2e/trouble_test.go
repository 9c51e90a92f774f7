package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
)

// steadyBusy keeps two servers in service and would shrink within seconds if it were allowed to.
const steadyBusy = `    strategy: busy_ratio
    min_servers: 2
    min_workers: 4
    busy_ratio: {target: 0.6, window: 2s}
    down: {window: 4s, every: 1s, share: 0.5}
    lead_time: 2s
    fill: 1
    max_out_per_minute: 1
    ramp: [100]
    stale_after: 3s
`

func startSteady(t *testing.T, o demo.Options) *fleet {
	t.Helper()
	o.Nodes, o.MaxWorkers, o.ServiceMS = 3, 3, 10
	if o.AppYAML == "" {
		o.AppYAML = steadyBusy
	}
	f := startFleet(t, o)
	f.until("two servers in service, the third parked", 40*time.Second, func(s api.Status) bool {
		return serving(s) == 2 && settled(s)
	})
	return f
}

// settled tells that every server is where it should be.
func settled(s api.Status) bool {
	for _, v := range s.Apps[0].Servers {
		if v.Serve != (v.Phase == "serving") || !v.Serve && (v.Phase != "parked" || v.Weight != 0) || v.PoolKnown && v.Total != v.Workers {
			return false
		}
	}
	return true
}

func TestHAProxyRestartsAndReloadsAreRepaired(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	before := f.status()
	// n2 serves although haproxy.cfg says `disabled`; n3 is parked with our mark.
	for name, again := range map[string]func() error{"reload": f.HAProxy.Reload, "kill -9 and start": f.HAProxy.Restart} {
		if err := again(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		turn := f.status().Turn
		s := f.until("the wanted state after "+name, 20*time.Second, func(s api.Status) bool {
			return s.Turn > turn && serving(s) == 2 && settled(s)
		})
		if s.Turn > turn+6 {
			t.Errorf("%s: it took %d turns", name, s.Turn-turn)
		}
		if e := event(s, "restored"); e == nil || e.Server != "n2" {
			t.Errorf("%s: not explained: %+v", name, e)
		}
	}
	out, err := f.HAProxy.Command("show servers state shop")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	if w := f.server("n2").Weight; w != before.Apps[0].Servers[1].Weight {
		t.Errorf("n2 has weight %d, before %d", w, before.Apps[0].Servers[1].Weight)
	}
}

func TestAHumanWins(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	if out, err := f.HAProxy.Command("set server shop/n2 state maint"); err != nil || strings.TrimSpace(out) != "" {
		t.Fatalf("the human's command: %q %v", out, err)
	}
	// n3 takes n2's place, n2 stays where the human put it.
	f.until("n2 shown as held, n3 in its place", 40*time.Second, func(s api.Status) bool {
		v := s.Apps[0].Servers
		return v[1].Phase == "foreign" && v[1].Admin == "maint" && v[2].Phase == "serving" && event(s, "foreign") != nil
	})
	f.turns(5)
	if v := f.server("n2"); v.Admin != "maint" || v.Weight == 0 {
		t.Fatalf("n2 was touched: %+v", v)
	}
	if _, err := f.HAProxy.Command("set server shop/n2 state ready"); err != nil {
		t.Fatal(err)
	}
	f.until("n2 back", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Servers[1].Phase == "serving" })
}

// Fail static, and a restart changes nothing: traffic goes on without the controller, and the new one only looks.
func TestControllerKilledAndStartedAgainChangesNothing(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	tally, stop := f.load(f.HAProxyAddr, "/", 40)
	web, stopWeb := f.load(f.NginxAddr, "/", 20)
	f.turns(3)
	before := f.status()
	f.Controller.Kill()
	time.Sleep(3 * time.Second) // longer than HAProxy needs to notice; nothing to poll for
	if err := f.RunController(); err != nil {
		t.Fatal(err)
	}
	f.until("the controller back", 20*time.Second, func(s api.Status) bool { return s.Started.After(before.Started) && len(s.Sources) > 0 })
	f.turns(6)
	stop()
	stopWeb()
	noFailures(t, "through HAProxy", tally)
	noFailures(t, "through nginx", web)
	after := f.status()
	for _, kind := range []string{"drain", "park", "ready", "enter", "warm"} {
		if n := after.Totals.Actions[kind]; n != 0 {
			t.Errorf("after the restart: %d x %s, want none", n, kind)
		}
	}
	for i, v := range after.Apps[0].Servers {
		if was := before.Apps[0].Servers[i]; v.Phase != was.Phase || v.Admin != was.Admin || v.Workers != was.Workers {
			t.Errorf("%s was %+v, is %+v", v.Name, was, v)
		}
	}
}

func TestDeadAgentAndMissingSocketShrinkNothing(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{AppYAML: strings.Replace(steadyBusy, "min_workers: 4", "min_workers: 2", 1)})
	// As soon as the load ends the need falls to two workers; the data are gone before that is noticed.
	_, stop := f.load(f.HAProxyAddr, "/?ms=100", 40)
	f.until("six workers", 40*time.Second, func(s api.Status) bool { return s.Apps[0].Ready >= 6 })
	f.Agents[1].Kill()
	stop()
	f.until("the hold", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Hold == "hold_no_data" })
	ready := f.server("n1").Ready
	f.turns(8)
	s := f.status()
	if serving(s) < 2 || f.server("n1").Ready < ready {
		t.Errorf("shrank without data: %+v", s.Apps[0])
	}
	if err := get("http://" + f.MetricsAddr + "/readyz"); err == nil || !strings.Contains(err.Error(), "agent n2") {
		t.Errorf("/readyz says %v, want it to name agent n2", err)
	}
	if err := get("http://" + f.MetricsAddr + "/healthz"); err != nil {
		t.Errorf("/healthz: %v", err)
	}
	f.HAProxy.Kill()
	f.until("HAProxy missed", 20*time.Second, func(s api.Status) bool {
		for _, src := range s.Sources {
			if src.Name == "haproxy" {
				return !src.OK
			}
		}
		return false
	})
	f.turns(20)
	if n := strings.Count(f.Controller.Log(), "source=haproxy"); n > 3 {
		t.Errorf("a missing socket gave %d log lines, want it throttled", n)
	}
	if err := f.HAProxy.Restart(); err != nil {
		t.Fatal(err)
	}
	f.until("HAProxy back", 20*time.Second, func(s api.Status) bool { return serving(s) >= 2 })
}

func get(url string) error { return read(url, io.Discard) }

// read copies what a URL answers; any status but 200 is an error with the answer.
func read(url string, to io.Writer) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	_, err = to.Write(body)
	return err
}

// Garbage on the SPOE socket is counted, logged once and hurts nobody.
func TestGarbageOnTheSPOESocketIsHarmless(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	tally, stop := f.load(f.HAProxyAddr, "/", 40)
	huge := binary.BigEndian.AppendUint32(nil, 0xffffffff)
	for range 20 {
		for _, text := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), huge, {0, 0, 0, 0}, {0, 0, 0, 1, 3}} {
			c, err := net.Dial("unix", f.Rig.Path("spoa.sock"))
			if err != nil {
				t.Fatal(err)
			}
			// The agent may have closed already; what counts is what it does.
			_, _ = c.Write(text)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}
	f.turns(2)
	stop()
	noFailures(t, "through HAProxy", tally)
	s := f.status()
	if s.SPOA.Malformed < 60 {
		t.Errorf("%d malformed frames counted, 80 were sent", s.SPOA.Malformed)
	}
	if s.Apps[0].TrafficAgeMS < 0 || s.Apps[0].TrafficAgeMS > 3000 {
		t.Errorf("the real feed stopped: %+v", s.Apps[0])
	}
	if n := strings.Count(f.Controller.Log(), "level=WARN"); n > 12 {
		t.Errorf("%d warnings for 80 bad connections, want them throttled:\n%s", n, f.Controller.Log())
	}
}

// A full disk: logged once, nothing shrinks, the process goes on and recovers by itself.
func TestFullDiskShrinksNothing(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a small tmpfs takes root")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	f := startSteady(t, demo.Options{State: disk, AppYAML: strings.Replace(steadyBusy, "min_workers: 4", "min_workers: 2", 1)})
	_, stop := f.load(f.HAProxyAddr, "/?ms=100", 40)
	f.until("six workers", 40*time.Second, func(s api.Status) bool { return s.Apps[0].Ready >= 6 })
	filler := filepath.Join(disk, "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	f.until("the hold", 20*time.Second, func(s api.Status) bool { return s.Apps[0].Hold == "hold_self" })
	stop()
	ready := f.status().Apps[0].Ready
	f.turns(8)
	if now := f.status().Apps[0].Ready; now < ready {
		t.Errorf("shrank from %d to %d workers with a full disk", ready, now)
	}
	if n := strings.Count(f.Controller.Log(), "the state cannot be saved; nothing shrinks"); n != 1 {
		t.Errorf("%d log lines about the full disk, want one", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// For a minute after requests have piled up nothing shrinks anyway.
	f.until("scaling to go on", 100*time.Second, func(s api.Status) bool { return s.Apps[0].Hold == "" && s.Apps[0].Ready < ready })
}

// fill writes until the disk is full.
func fill(path string) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for {
		if _, err := w.Write(block); err != nil {
			break
		}
	}
	for n := len(block); n > 0; n /= 2 {
		_, _ = w.Write(block[:n]) // the last bytes, too
	}
	return w.Close()
}
