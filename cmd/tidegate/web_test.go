package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
)

// lines are the server lines of the first upstream, short.
func lines(m nginxgen.Model) []string {
	var out []string
	for _, s := range m.Upstreams[0].Servers {
		text := fmt.Sprintf("%s %s w%d", s.Name, s.Address, s.Weight)
		for _, word := range []struct {
			is   bool
			text string
		}{{s.Down, " down"}, {s.Backup, " backup"}, {s.MaxConns > 0, fmt.Sprint(" conns", s.MaxConns)}} {
			if word.is {
				text += word.text
			}
		}
		out = append(out, text)
	}
	return out
}

func TestWebModel(t *testing.T) {
	srv := func(n, weight, workers int, speed float64) control.WebServer {
		return control.WebServer{Name: fmt.Sprint("s", n), Address: fmt.Sprintf("10.0.0.%d:80", n), Weight: weight, Workers: workers, Speed: speed}
	}
	spare := func(n int, backup bool) control.WebServer {
		return control.WebServer{Name: fmt.Sprint("s", n), Address: fmt.Sprintf("10.0.0.%d:80", n), Backup: backup, Down: !backup, Workers: 1, Speed: 1}
	}
	nowhere := func(s control.WebServer) control.WebServer { s.Address = ""; return s }
	live := func(method string, servers ...nginxgen.Server) nginxgen.Model {
		return nginxgen.Model{Upstreams: []nginxgen.Upstream{{Name: "app", Method: method, Servers: servers}}}
	}
	for name, c := range map[string]struct {
		up   control.WebUpstream
		live nginxgen.Model
		want []string
	}{
		"ready workers": {
			up:   control.WebUpstream{Servers: []control.WebServer{srv(1, 6, 8, 1), srv(2, 3, 8, 1), srv(3, 0, 8, 1)}},
			want: []string{"s1 10.0.0.1:80 w2", "s2 10.0.0.2:80 w1", "s3 10.0.0.3:80 w1 down"},
		},
		"ready workers of nodes that differ": {
			up:   control.WebUpstream{Servers: []control.WebServer{srv(1, 4, 8, 1.5), srv(2, 4, 8, 1), srv(3, 4, 8, 0.5)}},
			want: []string{"s1 10.0.0.1:80 w3", "s2 10.0.0.2:80 w2", "s3 10.0.0.3:80 w1"},
		},
		"more than 64 workers": {
			up:   control.WebUpstream{Servers: []control.WebServer{srv(1, 131, 200, 1), srv(2, 67, 200, 1)}},
			want: []string{"s1 10.0.0.1:80 w2", "s2 10.0.0.2:80 w1"},
		},
		"a hash keeps its scale, and a server that is down its weight": {
			up:   control.WebUpstream{Method: "hash $uri consistent", Servers: []control.WebServer{srv(1, 4, 8, 1), srv(2, 4, 8, 1), srv(3, 0, 8, 1)}},
			live: live("hash $uri consistent", nginxgen.Server{Name: "s3", Address: "10.0.0.3:80", Weight: 7}),
			want: []string{"s1 10.0.0.1:80 w5", "s2 10.0.0.2:80 w5", "s3 10.0.0.3:80 w7 down"},
		},
		"a hash with a server that was never up": {
			up:   control.WebUpstream{Method: "ip_hash", Servers: []control.WebServer{srv(1, 8, 8, 1), srv(2, 0, 4, 1)}},
			want: []string{"s1 10.0.0.1:80 w10", "s2 10.0.0.2:80 w5 down"},
		},
		"spares": {
			up:   control.WebUpstream{MaxConns: 50, Servers: []control.WebServer{spare(1, false), srv(2, 4, 8, 1), spare(3, true)}},
			want: []string{"s1 10.0.0.1:80 w1 down conns50", "s2 10.0.0.2:80 w1 conns50", "s3 10.0.0.3:80 w1 backup conns50"},
		},
		"connections for each worker": {
			up: control.WebUpstream{MaxConnsPerWorker: 3, Servers: []control.WebServer{srv(1, 4, 8, 1), srv(2, 0, 8, 1),
				{Name: "s3", Address: "10.0.0.3:80", Backup: true, MaxConns: 9}}},
			want: []string{"s1 10.0.0.1:80 w1 conns12", "s2 10.0.0.2:80 w1 down", "s3 10.0.0.3:80 w1 backup conns9"},
		},
		"a name that never stood for anything": {
			up:   control.WebUpstream{Servers: []control.WebServer{nowhere(srv(1, 4, 8, 1)), srv(2, 3, 8, 1)}},
			want: []string{"s2 10.0.0.2:80 w3"},
		},
		"a name that stood for something in the last run": {
			up:   control.WebUpstream{Servers: []control.WebServer{nowhere(srv(1, 4, 8, 1)), srv(2, 3, 8, 1)}},
			live: live("", nginxgen.Server{Name: "s1", Address: "10.9.9.9:80", Weight: 1}),
			want: []string{"s1 10.9.9.9:80 w4", "s2 10.0.0.2:80 w3"},
		},
		"what it stood for is another's by now": {
			up:   control.WebUpstream{Servers: []control.WebServer{nowhere(srv(1, 4, 8, 1)), srv(2, 3, 8, 1)}},
			live: live("", nginxgen.Server{Name: "s1", Address: "10.0.0.2:80", Weight: 1}),
			want: []string{"s2 10.0.0.2:80 w3"},
		},
		"no name stands for anything": {
			up:   control.WebUpstream{Servers: []control.WebServer{nowhere(srv(1, 4, 8, 1)), nowhere(srv(2, 4, 8, 1))}},
			want: nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.up.Name = "app"
			m := webModel([]control.WebUpstream{c.up}, c.live)
			if diff := cmp.Diff(c.want, lines(m)); diff != "" {
				t.Fatal(diff)
			}
			if _, err := nginxgen.Render(m); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestNoServerOfAHashMovesAnother: whatever happens to one server, the lines of the others stay, byte for byte.
func TestNoServerOfAHashMovesAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := control.WebUpstream{Name: "app", Method: rapid.SampledFrom([]string{"ip_hash", "hash $uri", "hash $uri consistent"}).Draw(t, "method")}
		for i := range rapid.IntRange(1, 8).Draw(t, "servers") {
			workers := rapid.IntRange(1, 200).Draw(t, "workers")
			u.Servers = append(u.Servers, control.WebServer{
				Name: fmt.Sprint("s", i), Address: fmt.Sprintf("10.0.0.%d:80", i+1), Workers: workers,
				Weight: rapid.IntRange(0, workers).Draw(t, "ready"), Speed: rapid.Float64Range(0.05, 20).Draw(t, "speed"),
			})
		}
		before := webModel([]control.WebUpstream{u}, nginxgen.Model{})
		which := rapid.IntRange(0, len(u.Servers)-1).Draw(t, "which")
		u.Servers[which].Weight = rapid.IntRange(0, u.Servers[which].Workers).Draw(t, "ready now")
		after := webModel([]control.WebUpstream{u}, before)
		for i, s := range after.Upstreams[0].Servers {
			was := before.Upstreams[0].Servers[i]
			if i != which && s != was {
				t.Fatalf("%+v became %+v because %s changed", was, s, u.Servers[which].Name)
			}
			if i == which && s.Down && s.Weight != was.Weight {
				t.Fatalf("%s went down with weight %d instead of %d, which moves others' keys", s.Name, s.Weight, was.Weight)
			}
		}
	})
}

// TestWhatTheConfigurationAcceptsIsRendered: nothing that `check` lets through is refused when the file is to be written.
func TestWhatTheConfigurationAcceptsIsRendered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tidegate.yaml")
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := genConfig(t)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := conf.LoadController(file)
		if err != nil {
			return
		}
		accepted++
		var stream, http []control.WebUpstream
		for _, a := range c.Apps {
			u := controlUpstream(a.Upstream)
			for i := range u.Servers {
				u.Servers[i].Weight = rapid.IntRange(0, u.Servers[i].Workers).Draw(t, "ready")
				if strings.HasPrefix(u.Servers[i].Address, "app") {
					u.Servers[i].Address = ""
				}
			}
			if u.Stream {
				stream = append(stream, u)
			} else {
				http = append(http, u)
			}
		}
		for _, us := range [][]control.WebUpstream{http, stream} {
			if _, err := nginxgen.Render(webModel(us, nginxgen.Model{})); err != nil {
				t.Fatalf("accepted, but not rendered: %v\n%s", err, text)
			}
		}
	})
	if accepted < 5 {
		t.Fatalf("only %d configurations were accepted: this proves nothing", accepted)
	}
}

// genConfig draws configurations of one or two apps, about half of them good.
func genConfig(t *rapid.T) string {
	// One value in sixteen is likely to be refused.
	one := func(what string, good []string, bad ...string) string {
		if rapid.IntRange(0, 15).Draw(t, "bad") == 15 {
			return rapid.SampledFrom(bad).Draw(t, what)
		}
		return rapid.SampledFrom(good).Draw(t, what)
	}
	var b strings.Builder
	b.WriteString("nginx: {include: /etc/nginx/t.conf, stream_include: /etc/nginx/s.conf}\nnodes: [{name: n1, url: 'http://h:1', speed: 1.5}]\napps:\n")
	for i := range rapid.IntRange(1, 2).Draw(t, "apps") {
		fmt.Fprintf(&b, "- name: a%d\n  strategy: noop\n  nginx_upstream: {name: %s%s%s%s}\n  servers:\n", i,
			one("name", []string{"app", "Stream", "a.b-c_d", "9x"}, "APP", "a:b", "-a"),
			one("method", []string{"", ", method: least_conn", ", method: random two least_conn", ", method: 'hash $uri'",
				", method: 'hash $a.b/c:$d-e consistent'", ", method: 'hash consistent'"}, ", method: ip_hash", ", method: 'hash $'", ", method: 'hash a b'"),
			one("stream", []string{"", ", stream: true"}, ", stream: x"),
			one("more", []string{"", ", zone: 'off'", ", zone: 32k", ", max_conns: 9", ", max_fails: 0", ", max_fails: 1000, fail_timeout: 1h"},
				", keepalive: 8", ", max_conns_per_worker: 2", ", zone: 65m", ", fail_timeout: 1.5s"))
		for j := range rapid.IntRange(1, 5).Draw(t, "servers") {
			address := one("address", []string{"10.0.0.%d:80", "[fd00::%d]:80", "unix:/run/%d.sock", "app%d.example:80", "127.0.0.%d:9"},
				"[FD00:0:0::%d]:80", "127.0.0.1:9", "unix:/a b%d", "[fe80::%d%%a]:80", "[::ffff:10.0.0.%d]:80")
			fmt.Fprintf(&b, "  - {name: %s%d, address: '%s'%s}\n", one("server", []string{"s", "s:", "s.-_"}, "s/", "-s"), j,
				strings.Replace(strings.Replace(address, "%d", fmt.Sprint(j+1), 1), "%%", "%", 1),
				one("role", []string{"", "", ", node: n1, workers: {max: 200}", ", down: true"}, ", backup: true", ", max_conns: 3"))
		}
	}
	return b.String()
}

// TestConfigurationOfAnUpstreamReachesTheFile: every key of nginx_upstream, and of a server, is seen in what is written.
func TestConfigurationOfAnUpstreamReachesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tidegate.yaml")
	text := `nginx: {include: /etc/nginx/t.conf, stream_include: /etc/nginx/s.conf}
nodes: [{name: n1, url: "http://h:1", speed: 2}, {name: n2, url: "http://h:1"}]
apps:
- name: web
  strategy: noop
  nginx_upstream: {name: web, method: least_conn, zone: 1m, keepalive: 16, max_conns_per_worker: 2, max_fails: 3, fail_timeout: 20s}
  servers:
  - {name: a, address: "10.0.0.1:80", node: n1}
  - {name: gone, address: "10.0.0.2:80", down: true}
  - {name: b, address: "[fd00::3]:80", node: n2}
  - {name: spare, address: "unix:/run/spare.sock", backup: true, max_conns: 100}
- name: mail
  strategy: noop
  nginx_upstream: {name: mail, stream: true, method: "hash  $remote_addr  consistent", max_fails: 0}
  servers: [{name: a, address: "10.0.0.1:25"}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(file)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, a := range c.Apps {
		u := controlUpstream(a.Upstream)
		for i := range u.Servers {
			u.Servers[i].Weight = u.Servers[i].Workers
		}
		part, err := nginxgen.Render(webModel([]control.WebUpstream{u}, nginxgen.Model{}))
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(part), "\n\n")
		got += body
	}
	want := `upstream web {
    zone tidegate_web 1m;
    least_conn;
    keepalive 16;
    server 10.0.0.1:80 fail_timeout=20s max_conns=8 max_fails=3 weight=2; # a
    server 10.0.0.2:80 fail_timeout=20s max_fails=3 weight=1 down; # gone
    server [fd00::3]:80 fail_timeout=20s max_conns=8 max_fails=3 weight=1; # b
    server unix:/run/spare.sock fail_timeout=20s max_conns=100 max_fails=3 weight=1 backup; # spare
}
upstream mail {
    zone tidegate_stream:mail 64k;
    hash $remote_addr consistent;
    server 10.0.0.1:25 max_fails=0 weight=10; # a
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if w := c.Apps[0].Policy.Servers; len(w) != 2 || c.ResolveEvery != 30*time.Second {
		t.Fatalf("spares are no business of the core: %+v", w)
	}
}

func TestCheckLiveResolvesNames(t *testing.T) {
	c := &conf.Controller{Apps: []conf.App{{
		Servers:  []conf.Server{{Address: "localhost:80"}, {Address: "10.0.0.1:80"}},
		Upstream: &conf.Upstream{Lines: []conf.UpstreamLine{{Address: "localhost:80"}, {Address: "unix:/run/spare.sock", Backup: true}}},
	}}}
	var out strings.Builder
	l := &liveCheck{out: &out}
	l.names(t.Context(), c)
	if got := out.String(); l.missed > 0 || got != "ok       localhost is at 127.0.0.1:80\n" && got != "ok       localhost is at [::1]:80\n" {
		t.Fatalf("%d missed: %s", l.missed, got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	c.Apps[0].Servers[0].Address = "gone.example:80"
	c.Apps[0].Upstream = nil
	if l.names(ctx, c); l.missed != 1 || out.String() != "MISSING  gone.example cannot be resolved: its servers would be left out\n" {
		t.Fatalf("%d missed: %s", l.missed, out.String())
	}
}
