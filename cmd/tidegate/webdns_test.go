package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
)

// What nginx is told, and what stands in the file, for servers of every kind.
func TestWhatNginxIsToldThroughDNS(t *testing.T) {
	a, err := srv.Start(srv.Options{Listen: "127.0.0.1:0"})
	noError(t, err)
	defer a.Close()
	server := func(n, weight int, speed float64) control.WebServer {
		return control.WebServer{Name: fmt.Sprint("s", n), Address: fmt.Sprintf("10.0.0.%d:80", n), Weight: weight, Workers: 8, Speed: speed}
	}
	spare, down, nowhere := server(7, 0, 1), server(8, 0, 1), server(9, 4, 1)
	spare.Backup, down.Down, nowhere.Address = true, true, ""
	for name, c := range map[string]struct {
		servers []control.WebServer
		live    []nginxgen.Server
		want    []srv.Server
		backups string
	}{
		"ready workers, not divided by what they have in common": {
			servers: []control.WebServer{server(1, 4, 1), server(2, 2, 1), server(3, 0, 1)},
			want:    []srv.Server{{Address: "10.0.0.1:80", Weight: 4}, {Address: "10.0.0.2:80", Weight: 2}},
			backups: "s1 s2 s3",
		},
		"the nodes' speed": {
			servers: []control.WebServer{server(1, 4, 1.5), server(2, 4, 1), server(3, 1, 0.5)},
			want:    []srv.Server{{Address: "10.0.0.1:80", Weight: 12}, {Address: "10.0.0.2:80", Weight: 8}, {Address: "10.0.0.3:80", Weight: 1}},
			backups: "s1 s2 s3",
		},
		"spares": {
			servers: []control.WebServer{server(1, 4, 1), spare, down},
			want:    []srv.Server{{Address: "10.0.0.1:80", Weight: 4}, {Address: "10.0.0.7:80", Weight: 1, Backup: true}},
			backups: "s1 s7",
		},
		"a spare when nobody else serves": {
			servers: []control.WebServer{server(1, 0, 1), spare},
			want:    []srv.Server{{Address: "10.0.0.7:80", Weight: 1, Backup: true}},
			backups: "s1 s7",
		},
		"a name that never stood for anything": {
			servers: []control.WebServer{server(1, 4, 1), nowhere},
			want:    []srv.Server{{Address: "10.0.0.1:80", Weight: 4}},
			backups: "s1",
		},
		"a name that stood for something in the last run": {
			servers: []control.WebServer{server(1, 4, 1), nowhere},
			live:    []nginxgen.Server{{Name: "s9", Address: "10.9.9.9:80", Backup: true}},
			want:    []srv.Server{{Address: "10.0.0.1:80", Weight: 4}, {Address: "10.9.9.9:80", Weight: 4}},
			backups: "s1 s9",
		},
	} {
		manager, err := nginxgen.New(nginxgen.Options{File: "/none/a", Main: "/none/b"})
		noError(t, err)
		w := &webDNS{webAdapter: webAdapter{manager: manager, live: nginxgen.Model{Upstreams: []nginxgen.Upstream{{Name: "app", Servers: c.live}}}}, answerer: a, fallback: true}
		lines := w.lines([]control.WebUpstream{{Name: "app", Zone: "256k", Servers: c.servers}})
		if diff := cmp.Diff([]srv.Upstream{{Name: "app", Servers: c.want}}, dnsAnswers(lines)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var backups []string
		for _, s := range w.model(lines).Upstreams[0].Servers {
			if !s.Backup || s.Down {
				t.Errorf("%s: %+v is no backup", name, s)
			}
			backups = append(backups, s.Name)
		}
		if got := strings.Join(backups, " "); got != c.backups {
			t.Errorf("%s: the fallback is %s, want %s", name, got, c.backups)
		}
		if _, err := nginxgen.Render(w.model(lines)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fakeNginx prints a version and does nothing else.
func fakeNginx(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nginx")
	noError(t, os.WriteFile(path, []byte("#!/bin/sh\necho 'nginx version: nginx/"+version+"' >&2\n"), 0o755))
	return path
}

// dnsFile is a configuration with weights through DNS; the result is its path.
func dnsFile(t *testing.T, binary, listen, more string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "tidegate.yaml")
	text := fmt.Sprintf(`api: unix:%[1]s/api.sock
state_dir: %[1]s/state
nginx: {include: %[1]s/up.conf, config: %[1]s/nginx.conf, binary: %[2]s, weights: dns, dns: {listen: "%[3]s"}}
apps:
  - name: shop
    strategy: noop
    nginx_upstream: {name: app%[4]s}
    servers: [{name: n1, address: "10.0.0.1:8000"}, {name: n2, address: "[fd00::2]:8000"}]
`, dir, binary, listen, more)
	noError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func freePort(t *testing.T) string {
	t.Helper()
	s, err := srv.Start(srv.Options{Listen: "127.0.0.1:0"})
	noError(t, err)
	defer s.Close()
	return s.Addr()
}

// An nginx that is too old is refused in the same words by check, check --live and run.
func TestAnOldNginxIsRefused(t *testing.T) {
	binary := fakeNginx(t, "1.22.1")
	want := `weights through DNS need nginx 1.27.3 or later, and ` + binary + ` is 1.22.1: use "weights: reload", or a newer nginx`
	file := dnsFile(t, binary, freePort(t), "")
	_, err := check(t.Context(), &bytes.Buffer{}, file)
	if err == nil || err.Error() != file+": nginx.weights: "+want {
		t.Fatalf("check: %v", err)
	}
	if _, err := wire(t.Context(), file, slog.New(slog.DiscardHandler)); err == nil || err.Error() != "nginx.weights: "+want {
		t.Fatalf("run: %v", err)
	}
	c, err := conf.LoadController(file)
	noError(t, err)
	var out bytes.Buffer
	if err := checkLive(t.Context(), &out, c, liveOptions{}); err == nil || !strings.Contains(out.String(), "MISSING  "+want+"\n") {
		t.Fatalf("check --live: %v\n%s", err, out.String())
	}
	// A newer one is good; one that is not there is refused by a check alone.
	if _, err := check(t.Context(), &out, dnsFile(t, fakeNginx(t, "1.27.3"), freePort(t), "")); err != nil {
		t.Fatal(err)
	}
	gone := dnsFile(t, "/no/such/nginx", freePort(t), "")
	if _, err := check(t.Context(), &out, gone); err == nil || !strings.Contains(err.Error(), "nginx.weights: find out nginx's version: find nginx: there is no program /no/such/nginx") {
		t.Fatal(err)
	}
	run, err := wire(t.Context(), gone, slog.New(slog.DiscardHandler))
	noError(t, err)
	run.rooms.endDNS(&rooms{})
	run.closeListeners()
}

// A reload of the configuration keeps the answerer, moves it, or ends it, and leaves everything as it was when it cannot.
func TestTheAnswererFollowsTheConfiguration(t *testing.T) {
	binary, first, second := fakeNginx(t, "1.30.0"), freePort(t), freePort(t)
	r := &rooms{log: slog.New(slog.DiscardHandler), set: metrics.NewSet()}
	t.Cleanup(func() { r.endDNS(&rooms{}) })
	build := func(c *conf.Controller) (control.Setup, error) { return r.build(t.Context(), c) }
	load := func(listen string) *conf.Controller {
		t.Helper()
		c, err := conf.LoadController(dnsFile(t, binary, listen, ""))
		noError(t, err)
		return c
	}
	answers := func(at string) bool {
		_, err := srv.Ask(t.Context(), at, "app")
		return err != nil && strings.Contains(err.Error(), "SERVFAIL") // nothing is known yet
	}
	c := load(first)
	s, err := build(c)
	noError(t, err)
	if _, ok := s.Web.(*webDNS); !ok || !answers(first) {
		t.Fatalf("%T", s.Web)
	}
	kept := r.answerer
	if _, err := build(c); err != nil || r.answerer != kept {
		t.Fatalf("the same configuration: %v", err)
	}
	taken, err := net.Listen("tcp", second)
	noError(t, err)
	if _, err := build(load(second)); err == nil || !strings.Contains(err.Error(), "nginx's DNS") || r.answerer != kept || !answers(first) {
		t.Fatalf("a port that is taken: %v", err)
	}
	noError(t, taken.Close())
	if _, err := build(load(second)); err != nil || answers(first) || !answers(second) {
		t.Fatalf("moved: %v", err)
	}
	c = load(second)
	c.Nginx.DNS, c.Nginx.Fallback = "", false
	if s, err = build(c); err != nil || answers(second) {
		t.Fatalf("ended: %v", err)
	}
	if _, ok := s.Web.(*webAdapter); !ok {
		t.Fatalf("%T", s.Web)
	}
}

// The file names no weights, so that it changes with the servers of the configuration alone.
func TestTheFileThatMakesNginxAsk(t *testing.T) {
	a, err := srv.Start(srv.Options{Listen: "127.0.0.1:0"})
	noError(t, err)
	defer a.Close()
	wish := func(one, two int) []control.WebUpstream {
		servers := []control.WebServer{{Name: "n1", Address: "10.0.0.1:1", Weight: one}, {Name: "n2", Address: "[fd00::2]:1", Weight: two}}
		return []control.WebUpstream{
			{Name: "App", Method: "least_conn", Zone: "256k", Keepalive: 8, Servers: servers},
			{Name: "four", Method: "random", Zone: "1m", Servers: servers[:1]},
		}
	}
	manager, err := nginxgen.New(nginxgen.Options{File: "/none/a", Main: "/none/b"})
	noError(t, err)
	w := &webDNS{webAdapter: webAdapter{manager: manager}, answerer: a, fallback: true, both: map[string]bool{"App": true}}
	text, err := nginxgen.Render(w.model(w.lines(wish(3, 0))))
	noError(t, err)
	_, blocks, _ := strings.Cut(string(text), "\n\n")
	want := strings.ReplaceAll(`upstream App {
    zone tidegate_App 256k;
    least_conn;
    keepalive 8;
    resolver ADDR valid=1s;
    resolver_timeout 8s;
    server App.tidegate service=http resolve;
    server 10.0.0.1:1 weight=1 backup; # n1
    server [fd00::2]:1 weight=1 backup; # n2
}

upstream four {
    zone tidegate_four 1m;
    random;
    resolver ADDR valid=1s ipv6=off;
    resolver_timeout 8s;
    server four.tidegate service=http resolve;
}
`, "ADDR", a.Addr())
	if diff := cmp.Diff(want, blocks); diff != "" {
		t.Fatal(diff)
	}
	again, err := nginxgen.Render(w.model(w.lines(wish(9, 4))))
	noError(t, err)
	if !bytes.Equal(text, again) {
		t.Fatal("weights changed the file")
	}
}

// What is live is not known as long as the file is not, or nginx has not asked.
func TestWhatNginxHasIsNotGuessed(t *testing.T) {
	a, err := srv.Start(srv.Options{Listen: "127.0.0.1:0"})
	noError(t, err)
	defer a.Close()
	dir := t.TempDir()
	manager, err := nginxgen.New(nginxgen.Options{File: dir + "/up.conf", Main: dir + "/nginx.conf", Binary: fakeNginx(t, "1.30.0")})
	noError(t, err)
	w := &webDNS{webAdapter: webAdapter{manager: manager}, answerer: a}
	wish := []control.WebUpstream{{Name: "app", Zone: "256k", Servers: []control.WebServer{{Name: "n1", Address: "10.0.0.1:1", Weight: 2}}}}
	if _, known := w.Live(); known {
		t.Fatal("known without a file")
	}
	// This nginx runs with the file: .good is what was verified.
	text, err := nginxgen.Render(w.model(w.lines(wish)))
	noError(t, err)
	noError(t, os.WriteFile(dir+"/up.conf", text, 0o644))
	noError(t, os.WriteFile(dir+"/.up.conf.good", text, 0o644))
	noError(t, manager.Recover(context.Background()))
	if _, known := w.Live(); known {
		t.Fatal("known before nginx asked")
	}
	if out, err := w.Apply(t.Context(), time.Now(), wish); err != nil || out.Reloaded || !out.Changed {
		t.Fatalf("%+v %v", out, err)
	}
	for range 3 { // each from another port, as a person would
		if n, err := srv.Ask(t.Context(), a.Addr(), "app"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	if live, known := w.Live(); known {
		t.Fatalf("known, though nobody asked twice: %v", live)
	}
	if _, err := w.Apply(t.Context(), time.Now().Add(time.Minute), wish); err == nil || !strings.Contains(err.Error(), "nginx has not asked "+a.Addr()+" for the servers of upstream app for") {
		t.Fatal(err)
	}
}

// An upstream of which no server has an address has no answer, and then nginx is not made to ask for it; once it has one, it keeps it.
func TestNoAnswerIsEmpty(t *testing.T) {
	a, err := srv.Start(srv.Options{Listen: "127.0.0.1:0"})
	noError(t, err)
	defer a.Close()
	dir := t.TempDir()
	manager, err := nginxgen.New(nginxgen.Options{File: dir + "/up.conf", Main: dir + "/nginx.conf", Binary: fakeNginx(t, "1.30.0")})
	noError(t, err)
	w := &webDNS{webAdapter: webAdapter{manager: manager}, answerer: a}
	wish := func(address string) []control.WebUpstream {
		return []control.WebUpstream{
			{Name: "named", Zone: "256k", Servers: []control.WebServer{{Name: "n1", Address: address, Weight: 2}}},
			{Name: "plain", Zone: "256k", Servers: []control.WebServer{{Name: "n1", Address: "10.0.0.1:1", Weight: 2}, {Name: "n2", Address: address, Weight: 2}}},
		}
	}
	out, err := w.Apply(t.Context(), time.Now(), wish(""))
	// There is no nginx.conf: had the file been tried, the error would say so, too.
	if err == nil || err.Error() != "nginx's DNS: upstream named: no server would be left, so the last answer stays" || !out.Changed || out.Reloaded {
		t.Fatalf("nginx is made to ask for what has no answer: %+v %v", out, err)
	}
	has := func(upstream string, want int) {
		t.Helper()
		if n, err := srv.Ask(t.Context(), a.Addr(), upstream); err != nil || n != want {
			t.Fatalf("%s: %d servers, %v, want %d", upstream, n, err, want)
		}
	}
	has("plain", 1)
	_, _ = w.Apply(t.Context(), time.Now(), wish("10.0.0.9:1"))
	has("named", 1)
	has("plain", 2)
	if _, err = w.Apply(t.Context(), time.Now(), wish("")); err == nil {
		t.Fatal("nothing is said of what stays as it was")
	}
	has("named", 1)
	has("plain", 1)
}
