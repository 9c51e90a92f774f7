package nginxgen_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/nginxgen"
)

// resolving is an upstream whose servers come from DNS.
func resolving() nginxgen.Upstream {
	return nginxgen.Upstream{Name: "app", Method: "least_conn", Zone: "256k", Keepalive: 16,
		Resolve: nginxgen.Resolve{Resolver: "127.0.0.1:539", Host: "app.tidegate", Service: "http", NoIPv6: true},
		Servers: []nginxgen.Server{{Address: "10.0.0.1:80", Weight: 1, Backup: true, Name: "n1"}},
	}
}

func TestServersFromDNSAreRendered(t *testing.T) {
	m := nginxgen.Model{Upstreams: []nginxgen.Upstream{resolving()}}
	bare := resolving()
	bare.Name, bare.Servers, bare.Resolve.NoIPv6, bare.Method, bare.Keepalive = "bare", nil, false, "", 0
	bare.Resolve.Resolver = "[::1]:53"
	m.Upstreams = append(m.Upstreams, bare)
	text, err := nginxgen.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	_, blocks, _ := strings.Cut(string(text), "\n\n")
	want := `upstream app {
    zone tidegate_app 256k;
    least_conn;
    keepalive 16;
    resolver 127.0.0.1:539 valid=1s ipv6=off;
    resolver_timeout 8s;
    server app.tidegate service=http resolve;
    server 10.0.0.1:80 weight=1 backup; # n1
}

upstream bare {
    zone tidegate_bare 256k;
    resolver [::1]:53 valid=1s;
    resolver_timeout 8s;
    server app.tidegate service=http resolve;
}
`
	if diff := cmp.Diff(want, blocks); diff != "" {
		t.Fatal(diff)
	}
	back, err := nginxgen.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back); diff != "" {
		t.Fatal(diff)
	}
	for _, edit := range [][2]string{
		{" ipv6=off", " ipv6=on"}, {"valid=1s ipv6", "valid=9s ipv6"}, {"resolver_timeout 8s", "resolver_timeout 6s"},
		{" resolve;", " resolve max_fails=0;"}, {"    server app.tidegate service=http resolve;\n", ""},
	} {
		if _, err := nginxgen.Parse([]byte(strings.Replace(string(text), edit[0], edit[1], 1))); err == nil {
			t.Errorf("an edit goes unseen: %s", edit[1])
		}
	}
}

func TestServersFromDNSAreValidated(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*nginxgen.Upstream)
		want   string
	}{
		"no zone":         {func(u *nginxgen.Upstream) { u.Zone = "" }, "servers from DNS need a zone"},
		"host injected":   {func(u *nginxgen.Upstream) { u.Resolve.Host = "a; } server {" }, "the host"},
		"service":         {func(u *nginxgen.Upstream) { u.Resolve.Service = "http resolve" }, "the service"},
		"resolver's name": {func(u *nginxgen.Upstream) { u.Resolve.Resolver = "localhost:53" }, "the resolver"},
		"primary":         {func(u *nginxgen.Upstream) { u.Servers[0].Backup = false }, "is not a backup"},
		"stream":          {func(u *nginxgen.Upstream) { u.Stream, u.Keepalive = true, 0 }, "servers from DNS are not allowed in a stream upstream"},
		"random, backups": {func(u *nginxgen.Upstream) { u.Method = "random" }, "backup is not allowed"},
	} {
		u := resolving()
		c.change(&u)
		if _, err := nginxgen.Render(nginxgen.Model{Upstreams: []nginxgen.Upstream{u}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestVersionsThatResolve(t *testing.T) {
	for text, want := range map[string]string{
		"nginx version: nginx/1.22.1\n":                               "weights through DNS need nginx 1.27.3 or later, and ngx is 1.22.1: use \"weights: reload\", or a newer nginx",
		"nginx version: nginx/1.26.3":                                 "is 1.26.3",
		"nginx version: nginx/1.27.2 (Ubuntu)":                        "is 1.27.2",
		"nginx version: openresty/1.27.1.2":                           "is 1.27.1",
		"Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0": "is 1.24.0",
		"nginx version: nginx/1.27.3":                                 "",
		"nginx version: nginx/1.30.6\nbuilt by gcc":                   "",
		"nginx version: nginx/2.0.0":                                  "",
		"nginx version: nginx/1.27.4 (nginx-plus-r34)":                "",
		"Angie version: Angie/1.8.0":                                  "find out nginx's version: ngx -v says \"Angie version",
		"":                                                            "find out nginx's version",
	} {
		err := nginxgen.Resolves("ngx", text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// The installed nginx is judged as it judges the file itself.
func TestTheInstalledNginxResolvesOrNot(t *testing.T) {
	s := newSite(t, siteOptions{})
	ctx := context.Background()
	err := nginxgen.CheckResolve(ctx, s.opts)
	var old nginxgen.TooOldError
	if err != nil && !errors.As(err, &old) {
		t.Fatal(err)
	}
	m := s.manager()
	out, applied := m.Apply(ctx, time.Now(), nginxgen.Model{Upstreams: []nginxgen.Upstream{resolving()}})
	t.Logf("version: %v; applied: %v %v", err, out.Result, applied)
	if (err == nil) != (out.Result == nginxgen.Applied) || err != nil && out.Result != nginxgen.Refused {
		t.Fatalf("the version says %v, nginx says %v", err, applied)
	}
	if err != nil {
		s.says(applied, "resolve")
	}

	s.opts.Binary = s.rig.Path("no-such-nginx")
	s.says(nginxgen.CheckResolve(ctx, s.opts), "find out nginx's version", "no-such-nginx")
	fake := s.rig.Path("fake")
	s.must(os.WriteFile(fake, []byte("#!/bin/sh\necho 'nginx version: nginx/1.27.2' >&2\n"), 0o755))
	s.opts.Binary = fake
	s.says(nginxgen.CheckResolve(ctx, s.opts), "need nginx 1.27.3 or later", fake+" is 1.27.2")
}
