package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
	"github.com/tidegate/tidegate/tests/harness"
)

// Weights, servers that leave and servers that come cost no reload once the file makes nginx ask.
func TestWeightsThroughDNSCostNoReload(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 4, true)
	if out := d.apply(d.wish(1, 2, 7, 0)); !out.Reloaded || !out.Changed {
		t.Fatalf("the file that makes nginx ask: %+v", out)
	}
	d.become(10, 20, 70, 0)
	d.waitTaken(1, 2, 7, 0)
	// The answers were there before nginx was made to ask for them.
	if n := d.refused(); n != 0 {
		t.Fatalf("%v questions had no answer", n)
	}
	workers := d.children()
	file := read(t, d.opts.File)
	for _, c := range []struct {
		weights []int
		shares  []int64
	}{
		{[]int{5, 3, 2, 0}, []int64{50, 30, 20, 0}},
		{[]int{5, 0, 5, 0}, []int64{50, 0, 50, 0}},   // one leaves
		{[]int{4, 0, 2, 4}, []int64{40, 0, 20, 40}},  // one comes
		{[]int{10, 10, 0, 0}, []int64{50, 50, 0, 0}}, // two change places
		{[]int{0, 0, 0, 2}, []int64{0, 0, 0, 100}},   // one is left
		{[]int{25, 25, 25, 25}, []int64{25, 25, 25, 25}},
	} {
		out := d.apply(d.wish(c.weights...))
		if out.Reloaded || !out.Changed {
			t.Fatalf("%v: %+v", c.weights, out)
		}
		t.Logf("weights %v: the shares are there after %v", c.weights, d.become(c.shares...).Round(10*time.Millisecond))
		d.waitTaken(c.weights...)
	}
	if out := d.apply(d.wish(25, 25, 25, 25)); out.Changed || out.Reloaded {
		t.Fatalf("equal weights: %+v", out)
	}
	if now := d.children(); now != workers {
		t.Fatalf("the workers were %q and are %q", workers, now)
	}
	if read(t, d.opts.File) != file {
		t.Fatal("the file changed")
	}
	// All servers down: the answer, and what is live, stays as it was.
	_, err := d.web.Apply(context.Background(), time.Now(), d.wish(0, 0, 0, 0))
	if err == nil || !strings.Contains(err.Error(), "upstream app: no server would be left, so the last answer stays") {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // nginx asks meanwhile
	d.become(25, 25, 25, 25)
}

// Without tidegate nginx keeps the servers it has, also through a reload; a tidegate that comes back changes nothing until it
// knows, and everything then.
func TestDNSGoneNginxKeepsItsServers(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 3, true)
	d.apply(d.wish(1, 2, 7))
	d.become(10, 20, 70)
	noError(t, d.web.answerer.Close())
	time.Sleep(8 * time.Second) // the answer was good for one
	d.become(10, 20, 70)
	workers := d.children()
	noError(t, d.nginx.Signal(syscall.SIGHUP))
	noError(t, harness.WaitFor("other workers", 20*time.Second, func() bool {
		now := strings.Fields(d.children())
		for _, old := range strings.Fields(workers) {
			for _, pid := range now {
				if pid == old {
					return false
				}
			}
		}
		return len(now) > 0
	}))
	d.become(10, 20, 70)
	d.startAnswerer()
	noError(t, harness.WaitFor("a question that has no answer yet", 60*time.Second, func() bool {
		d.shares(1)
		return d.refused() > 0
	}))
	d.become(10, 20, 70)
	if out := d.apply(d.wish(5, 3, 2)); out.Reloaded {
		t.Fatalf("a restarted tidegate reloads nginx: %+v", out)
	}
	t.Logf("after the restart it took %v", d.become(50, 30, 20).Round(10*time.Millisecond))
	// Membership of the file is another matter: one more server for the fallback is a reload.
	d.listen("127.0.0.1:0")
	if out := d.apply(d.wish(5, 3, 2, 10)); !out.Reloaded {
		t.Fatalf("%+v", out)
	}
	d.become(25, 15, 10, 50)
}

// An nginx that starts while tidegate does not run has the servers of the file; without them it has none until tidegate is there.
func TestDNSGoneWhenNginxStarts(t *testing.T) {
	t.Parallel()
	for name, fallback := range map[string]bool{"with fallback": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDNSRig(t, 3, fallback)
			d.apply(d.wish(1, 2, 7))
			d.become(10, 20, 70)
			noError(t, d.nginx.Stop(20*time.Second))
			noError(t, d.web.answerer.Close())
			d.startNginx()
			if fallback {
				d.become(33, 33, 33)
			} else {
				for range 3 {
					if code, err := d.get(); err != nil || code != http.StatusBadGateway {
						t.Fatalf("%d %v, want 502", code, err)
					}
				}
			}
			d.startAnswerer()
			if out := d.apply(d.wish(5, 3, 2)); out.Reloaded {
				t.Fatalf("%+v", out)
			}
			began := time.Now()
			noError(t, harness.WaitFor("a good answer", 60*time.Second, func() bool {
				code, err := d.get()
				return err == nil && code == http.StatusOK
			}))
			d.become(50, 30, 20)
			t.Logf("after tidegate's start it took %v", time.Since(began).Round(10*time.Millisecond))
		})
	}
}

// When nothing that nginx is told of answers, the fallback serves: every server of the configuration.
func TestDNSFallbackServesWhenNothingElseDoes(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 3, true)
	dead, err := d.rig.Port()
	noError(t, err)
	d.addrs[0] = "127.0.0.1:" + strconv.Itoa(dead)
	d.apply(d.wish(1, 0, 0))
	d.waitTaken(1, 0, 0)
	d.become(0, 50, 50)
}

// One answer of many that gets lost does not cost nginx the server: it asks again before it gives up.
func TestDNSALostAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 3, false)
	d.apply(d.wish(1, 2, 7))
	d.become(10, 20, 70)
	d.waitTaken(1, 2, 7)
	noError(t, d.web.answerer.Close())
	lose, lost := atomic.Bool{}, make(chan struct{})
	loser := &dns.Server{Addr: d.dns, Net: "udp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		hdr := dns.RR_Header{Name: name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 1}
		switch {
		case q.Question[0].Qtype == dns.TypeSRV:
			for i, weight := range []uint16{1, 2, 7} {
				port := netip.MustParseAddrPort(d.addrs[i]).Port()
				m.Answer = append(m.Answer, &dns.SRV{Hdr: hdr, Priority: 1, Weight: weight, Port: port, Target: strconv.Itoa(i) + ".x."})
			}
		case name == "2.x." && lose.Swap(false):
			close(lost)
			return
		default:
			m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = loser.ListenAndServe() }()
	t.Cleanup(func() { _ = loser.Shutdown() })
	lose.Store(true)
	select {
	case <-lost:
	case <-time.After(60 * time.Second):
		t.Fatal("nginx does not ask")
	}
	for began := time.Now(); time.Since(began) < 12*time.Second; time.Sleep(100 * time.Millisecond) {
		if got := d.shares(10); got[2] == 0 {
			t.Fatalf("%v after the loss nginx has lost the server: %v", time.Since(began), got)
		}
	}
}

// A spare, by its priority, serves when nothing else does; one that is down never. Its node's speed weighs a server.
func TestBackupsThroughDNS(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 4, false)
	dead, err := d.rig.Port()
	noError(t, err)
	wish := d.wish(1, 2, 0, 0)
	u := &wish[0]
	u.Servers[1].Speed = 1.5 // three quarters of 1 + 2 x 1.5
	u.Servers[2].Backup, u.Servers[3].Down = true, true
	d.apply(wish)
	d.become(25, 75, 0, 0)
	u.Servers[0].Weight, u.Servers[1].Address = 0, "127.0.0.1:"+strconv.Itoa(dead) // no one listens there
	if out := d.apply(wish); out.Reloaded {
		t.Fatalf("%+v", out)
	}
	d.become(0, 0, 100, 0)
	u.Servers[1].Weight = 0
	d.apply(wish)
	d.become(0, 0, 100, 0)
}

// A server that gets another address is known by its name all the time, and while nginx may have the old address it counts.
func TestDNSAServerMoves(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 3, false)
	d.apply(d.wish(5, 5))
	d.become(50, 50, 0)
	d.waitTaken(5, 5)
	d.addrs[1], d.addrs[2] = d.addrs[2], d.addrs[1]
	if out := d.apply(d.wish(5, 0)); out.Reloaded || !out.Changed {
		t.Fatalf("%+v", out)
	}
	if live, known := d.web.Live(); !known || live["app"]["node-1"] != 5 {
		t.Fatalf("nginx has the old address still: %t %v", known, live)
	}
	d.waitTaken(5, 0)
	d.apply(d.wish(5, 5))
	d.become(50, 0, 50)
	d.waitTaken(5, 5)
}

// Somebody else's edit of the file that makes nginx ask is reported and repaired, and costs no request.
func TestDNSAnEditOfTheFileIsRepaired(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 2, true)
	d.apply(d.wish(1, 3))
	d.become(25, 75)
	file := read(t, d.opts.File)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken := make(chan struct{}, 1)
	var w control.Watcher = d.web
	go w.Watch(ctx, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	noError(t, os.WriteFile(d.opts.File, []byte(strings.Replace(file, "resolver_timeout 8s", "resolver_timeout 1s", 1)), 0o644))
	select {
	case <-woken:
	case <-time.After(60 * time.Second):
		t.Fatal("the edit was not noticed")
	}
	out := d.apply(d.wish(1, 3))
	if !out.Reloaded || out.Drift == "" || out.Reason != string(nginxgen.ReasonDrift) || out.Told != "" {
		t.Fatalf("%+v", out)
	}
	if read(t, d.opts.File) != file {
		t.Fatal("the file is not repaired")
	}
	d.become(25, 75)
	d.waitTaken(1, 3)
}

// An upstream that is not wanted any more, and that nginx's configuration still names, goes on with its last answer. It keeps
// nobody from knowing what the others do.
func TestDNSAnUpstreamInUseStays(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 2, true)
	other := d.wish(1)[0]
	other.Name = "other"
	d.apply(append(d.wish(1, 3), other))
	d.become(25, 75)
	d.waitTaken(1, 3)
	d.apply([]control.WebUpstream{other})
	noError(t, harness.WaitFor("what the other upstream does to be known", 60*time.Second, func() bool {
		live, known := d.web.Live()
		return known && live["other"]["node-0"] == 1 && live["app"] == nil
	}))
	d.become(25, 75)
	if n, err := srv.Ask(t.Context(), d.dns, "app"); err != nil || n != 2 {
		t.Fatalf("nginx still asks for it, and gets %d servers, %v", n, err)
	}
}

// Forty servers do not fit into 512 bytes: nginx comes by TCP. 200 servers fit into the zone that upstreams get without one,
// beside as many of the fallback.
func TestManyServersThroughDNS(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 1, true)
	for i := range 199 {
		d.listen("127.0.1." + strconv.Itoa(i+1) + ":0")
	}
	for _, n := range []int{40, 200} {
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1
		}
		wish := d.wish(weights...)
		wish[0].Zone = conf.DNSZone(n)
		d.apply(wish)
		d.waitTaken(weights...)
		want := int64(0)
		noError(t, harness.WaitFor("every server's request", 60*time.Second, func() bool {
			want = 0
			for _, got := range d.shares(2 * n)[:n] {
				if got == 2 {
					want++
				}
			}
			return want == int64(n)
		}))
	}
	if log := read(t, d.nginx.ErrorLog); strings.Contains(log, "memory exhausted") {
		t.Fatal("the zone is too small")
	}
}

// That nginx does not ask is told, and nothing is taken for known.
func TestDNSNotAskedIsTold(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 2, true)
	d.apply(d.wish(1, 1))
	d.waitTaken(1, 1)
	noError(t, d.nginx.Stop(20*time.Second))
	_, err := d.web.Apply(context.Background(), time.Now().Add(time.Minute), d.wish(1, 1))
	if err == nil || !strings.Contains(err.Error(), "nginx has not asked "+d.dns+" for the servers of upstream app for 1m") {
		t.Fatal(err)
	}
	if _, known := d.web.Live(); known {
		// Its last questions are still young; they grow old.
		noError(t, harness.WaitFor("the last question to be too old", 60*time.Second, func() bool { _, known = d.web.Live(); return !known }))
	}
}

// From weights in the file to weights through DNS and back: one reload each, and no request fails.
func TestFromReloadsToDNSAndBack(t *testing.T) {
	t.Parallel()
	d := newDNSRig(t, 3, true)
	byFile := &webAdapter{manager: d.web.manager}
	if out, err := byFile.Apply(t.Context(), time.Now(), d.wish(1, 1, 8)); err != nil || !out.Reloaded {
		t.Fatalf("%+v %v", out, err)
	}
	d.become(10, 10, 80)
	if live, known := d.web.Live(); !known || live["app"]["node-2"] != 8 {
		t.Fatalf("before the switch the file tells: %t %v", known, live)
	}
	if out := d.apply(d.wish(2, 2, 6)); !out.Reloaded {
		t.Fatalf("%+v", out)
	}
	d.become(20, 20, 60)
	d.waitTaken(2, 2, 6)
	if _, known := byFile.Live(); known {
		t.Fatal("what nginx has from DNS is not in the file")
	}
	if out, err := byFile.Apply(t.Context(), time.Now(), d.wish(1, 1, 8)); err != nil || !out.Reloaded {
		t.Fatalf("%+v %v", out, err)
	}
	d.become(10, 10, 80)
}
