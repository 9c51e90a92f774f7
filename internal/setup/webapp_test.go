package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/conf"
)

// Which upstreams are apps, and how they are sized.
func TestUpstreamsAsApps(t *testing.T) {
	for name, c := range map[string]struct {
		http     string
		o        Options
		verdicts string
		says     string
	}{
		"busy_ratio":                       {"upstream shop { " + two + " }", Options{}, "shop", "strategy busy_ratio, because nginx tells no times"},
		"two on one machine":               {"upstream shop { server 10.0.0.1:1; server 10.0.0.1:2; }", Options{}, "shop", "strategy noop, because servers 10.0.0.1-1 and 10.0.0.1-2 are both on 10.0.0.1"},
		"noop asked for":                   {"upstream shop { " + two + " }", Options{Strategy: "noop"}, "shop", "strategy noop\n"},
		"IPv6 and no port":                 {"upstream shop { server [fd00::1]:81; server 10.0.0.1; }", Options{}, "shop", "server fd00--1-81 [fd00::1]:81"},
		"nobody passes to it":              {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 10.0.0.6:1; }", Options{}, "shop -x", "no *_pass line"},
		"named by a map":                   {"upstream shop { " + two + " } map $a $b { default http://x/; } server { location / { proxy_pass $b; } } upstream x { server 10.0.0.5:1; server 10.0.0.6:1; }", Options{}, "shop x", ""},
		"in a map without a variable pass": {"upstream shop { " + two + " } map $a $b { default x; } upstream x { server 10.0.0.5:1; server 10.0.0.6:1; }", Options{}, "shop -x", ""},
		"before a variable":                {"upstream x { server 10.0.0.5:1; server 10.0.0.6:1; } upstream shop { " + two + " } server { location / { grpc_pass grpc://x$uri; } }", Options{}, "x shop", ""},
		"one asked for":                    {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 10.0.0.6:1; } server { location / { proxy_pass http://x; } }", Options{Upstreams: []string{"x"}}, "-shop x", "not named by --upstream"},
		"a twin asked for":                 {"upstream shop { " + two + " } upstream x { " + two + " } server { location / { proxy_pass http://x; } }", Options{Upstreams: []string{"x"}}, "-shop x", ""},
		"resolve":                          {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 resolve; server 10.0.0.6:1; }", Options{}, "shop -x", `has "resolve": nginx looks its address up`},
		"slow_start":                       {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 slow_start=30s; server 10.0.0.6:1; }", Options{}, "shop -x", `has "slow_start=30s", which has no counterpart`},
		"sticky":                           {"upstream shop { " + two + " } upstream x { sticky cookie a; server 10.0.0.5:1; }", Options{}, "shop -x", `its line "sticky cookie a" has no counterpart`},
		"ntlm":                             {"upstream shop { " + two + " } upstream x { ntlm; server 10.0.0.5:1; }", Options{}, "shop -x", `its line "ntlm" has no counterpart`},
		"least_time":                       {"upstream shop { " + two + " } upstream x { least_time header; server 10.0.0.5:1; }", Options{}, "shop -x", `its method "least_time header" has no counterpart`},
		"a variable":                       {"upstream shop { " + two + " } upstream x { server $x:1; server 10.0.0.6:1; }", Options{}, "shop -x", `its server "$x:1" has a variable`},
		"ip_hash with backup":              {"upstream shop { " + two + " } upstream x { ip_hash; server 10.0.0.5:1 backup; server 10.0.0.6:1; }", Options{}, "shop -x", `which nginx itself refuses with "ip_hash"`},
		"all down":                         {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 down; server 10.0.0.6:1 down; }", Options{}, "shop -x", "all its servers are down"},
		"a server twice":                   {"upstream shop { " + two + " server 10.0.0.1:8000 weight=3; }", Options{}, "shop", "warning  /SITE/nginx.conf:3: server 10.0.0.1:8000 stands there twice"},
		"two methods":                      {"upstream shop { ip_hash; least_conn; " + two + " }", Options{}, "shop", `a second method; nginx takes this one and not "ip_hash"`},
		"a name twice":                     {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 10.0.0.6:1; } upstream X { server 10.0.0.7:1; server 10.0.0.8:1; }", Options{}, "shop -x -X", "nginx refuses a name twice"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeSite(t, map[string]string{"nginx.conf": "events { }\nhttp {\n" + c.http + "\n server { location / { proxy_pass http://shop/; } }\n}\n"})
			p, err := makeNginx(t, dir, c.o)
			if err != nil {
				t.Fatal(err)
			}
			report := strings.ReplaceAll(p.Report, dir, "/SITE")
			if got := verdicts(report); got != c.verdicts || !strings.Contains(report, c.says) {
				t.Errorf("%s, want %s and %q in\n%s", got, c.verdicts, c.says, report)
			}
			if err := p.Write(); err != nil {
				t.Error(err)
			}
		})
	}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no such upstream":    {Options{Upstreams: []string{"blog"}}, `--upstream "blog": `},
		"one not to take":     {Options{Upstreams: []string{"one"}}, "--upstream one: "},
		"erlang":              {Options{Strategy: "erlang"}, "--strategy erlang needs --haproxy"},
		"latency":             {Options{Strategy: "latency"}, "--strategy latency needs --haproxy"},
		"a backend":           {Options{Backends: []string{"shop"}}, "--backend needs --haproxy"},
		"busy_ratio together": {Options{Strategy: "busy_ratio", Upstreams: []string{"same"}}, "counts one set of workers for each app on a node; --strategy noop can take it"},
	} {
		dir := writeSite(t, map[string]string{"nginx.conf": "http { upstream shop { " + two + " } upstream one { server 10.0.0.9:1; } upstream same { server 10.0.0.7:1; server 10.0.0.7:2; } server { location / { proxy_pass http://shop; proxy_pass http://same; proxy_pass http://one; } } }"})
		if _, err := makeNginx(t, dir, c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	if _, err := Make(t.Context(), Options{HAProxy: "x", Out: "y", Upstreams: []string{"z"}}); err == nil || !strings.Contains(err.Error(), "--upstream needs --nginx") {
		t.Error(err)
	}
}

// The http block may stand in an included file, and a site may be a link: the files named are those to edit.
func TestFilesToEdit(t *testing.T) {
	dir := writeSite(t, map[string]string{
		"nginx.conf": "include web.conf;\n", "web.conf": "http\n{ # here\ninclude enabled/*;\n}\n",
		"available/shop": "upstream shop {\n" + two + "\n}\n" + used, "enabled/.keep": "",
	})
	if err := os.Symlink("../available/shop", filepath.Join(dir, "enabled", "shop.conf")); err != nil {
		t.Fatal(err)
	}
	p, err := makeNginx(t, dir, Options{NginxInclude: filepath.Join(dir, "up.conf")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"In " + dir + "/available/shop replace lines 1 to 3 (", "In " + dir + "/web.conf after line 2 put ("} {
		if !strings.Contains(p.Instructions, want) {
			t.Errorf("no %q in\n%s", want, p.Instructions)
		}
	}
	// What tidegate has written before is its own, where the include file stays where it was.
	for _, f := range p.Files {
		if f.Name == upstreamsName {
			if err := os.WriteFile(filepath.Join(dir, "available", "shop"), []byte(f.Text+used), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := makeNginx(t, dir, Options{NginxInclude: filepath.Join(dir, "up.conf")}); err == nil || !strings.Contains(err.Error(), "tidegate wrote it, and its include file is to be another one now; say --nginx-include "+dir+"/available/shop") {
		t.Error(err)
	}
	p, err = makeNginx(t, dir, Options{NginxInclude: filepath.Join(dir, "enabled", "shop.conf")})
	if err != nil || changeRE.MatchString(p.Instructions) {
		t.Errorf("%v\n%s", err, p.Instructions)
	}
}

// Servers that coincide are one app; with --upstream another upstream is one of its own beside it.
func TestHAProxyAndNginxTogether(t *testing.T) {
	const ha = head + "backend shop\n server s1 10.0.0.1:8000\n server s2 10.0.0.2:8000\n"
	const web = "events { }\nhttp {\nupstream web { " + two + " }\nupstream SHOP { server 10.0.0.5:1; server 10.0.0.6:1; }\nupstream part { server 10.0.0.1:8000; server 10.0.0.6:1; }\nserver { location / { proxy_pass http://web; proxy_pass http://shop; proxy_pass http://part; } } }\n"
	p, err := makeFrom(t, ha, Options{Nginx: web, Token: strings.Repeat("t", 32)})
	if err != nil || verdicts(p.Report) != "web -SHOP -part" || !strings.Contains(p.Report, "with nginx upstream web") {
		t.Fatalf("%v\n%s", err, p.Report)
	}
	p, err = makeFrom(t, ha, Options{Nginx: web, Upstreams: []string{"SHOP"}, Token: strings.Repeat("t", 32)})
	if err != nil || verdicts(p.Report) != "web SHOP -part" {
		t.Fatalf("%v\n%s", err, p.Report)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(filepath.Join(p.Out, configName))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range c.Apps {
		got = append(got, a.Policy.Name+" "+a.Backend+" "+a.Upstream.Name+" "+string(a.Policy.Strategy))
	}
	if d := cmp.Diff([]string{"shop shop web erlang", "SHOP-nginx  SHOP busy_ratio"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, f := range p.Files {
		if f.Name == insertName && strings.Contains(f.Text, "SHOP") {
			t.Errorf("an app of nginx's in HAProxy's lines:\n%s", f.Text)
		}
	}
	if _, err := makeFrom(t, ha, Options{Nginx: web, Upstreams: []string{"part"}}); err == nil || !strings.Contains(err.Error(), "its server 10.0.0.1:8000 belongs to backend shop too") {
		t.Error(err)
	}
}
