package setup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/nginxgen"
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
		"a key in braces":                  {"upstream shop { hash ${cookie_sid}${uri} consistent; " + two + " }", Options{}, "shop", "with hash $cookie_sid$uri consistent each"},
		"braces that are needed":           {"upstream shop { " + two + " } upstream x { hash ${uri}a; " + five + " }", Options{}, "shop -x", `its method "hash ${uri}a" has no counterpart`},
		"a key with a space":               {"upstream shop { " + two + " } upstream x { hash \"$uri consistent\"; " + five + " }", Options{}, "shop -x", `"hash \"$uri consistent\"" has no counterpart`},
		"random by response times":         {"upstream shop { " + two + " } upstream x { random two least_time=header; " + five + " }", Options{}, "shop -x", "least_time=header\" has no counterpart"},
		"a backup":                         {"upstream shop { " + two + " server 10.0.0.9:1 backup; }", Options{}, "shop", "server 10.0.0.9-1 10.0.0.9:1 (a backup, and stays one)"},
		"one and a backup":                 {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 10.0.0.6:1 backup; }", Options{Upstreams: []string{"shop"}}, "shop -x", ""},
		"a backup of two":                  {"upstream shop { " + two + " server 10.0.0.9:1 backup; } upstream x { " + five + " server 10.0.0.9:1 backup; } server { location / { proxy_pass http://x; } }", Options{}, "shop x", ""},
		"a backup that serves elsewhere":   {"upstream shop { " + two + " } upstream x { " + five + " server 10.0.0.1:8000 backup; } upstream y { server 10.0.0.7:1; server 10.0.0.8:1; } server { location / { proxy_pass http://x; proxy_pass http://y; } }", Options{}, "-shop -x y", "its server 10.0.0.1:8000 stands in upstream x"},
		"down":                             {"upstream shop { " + two + " server 10.0.0.9:1 down; }", Options{}, "shop", "server 10.0.0.9-1 10.0.0.9:1 (down, and stays so)"},
		"down elsewhere":                   {"upstream shop { " + two + " } upstream x { " + five + " server 10.0.0.1:8000 down; } server { location / { proxy_pass http://x; } }", Options{}, "shop x", ""},
		"backup and up":                    {"upstream shop { " + two + " server 10.0.0.1:8000 backup; }", Options{}, "shop", "server 10.0.0.1-8000 10.0.0.1:8000 (always up)"},
		"max_fails":                        {"upstream shop { server 10.0.0.1:1 max_fails=1; server 10.0.0.2:1 fail_timeout=10s; server 10.0.0.3:1 down max_fails=5; }", Options{}, "shop", ""},
		"max_fails that differ":            {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 max_fails=2; server 10.0.0.6:1; }", Options{}, "shop -x", `its servers "10.0.0.5:1" and "10.0.0.6:1" differ (max_fails=2 fail_timeout=10s and max_fails=1 fail_timeout=10s)`},
		"fail_timeout that differs":        {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 10.0.0.6:1 backup fail_timeout=1m; }", Options{}, "shop -x", "differ (max_fails=1"},
		"fail_timeout of days":             {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 fail_timeout=1d; server 10.0.0.6:1; }", Options{}, "shop -x", `has "fail_timeout=1d"; tidegate.yaml takes`},
		"fail_timeout of nothing":          {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 fail_timeout=0; server 10.0.0.6:1; }", Options{}, "shop -x", `has "fail_timeout=0"; tidegate.yaml takes`},
		"max_conns without a zone":         {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1 max_conns=9; server 10.0.0.6:1; }", Options{}, "shop -x", "has max_conns=9, and the upstream no zone"},
		"max_conns":                        {"upstream shop { zone z 64k; server 10.0.0.1:1 max_conns=9; server 10.0.0.2:1 max_conns=0; }", Options{}, "shop", ""},
		"a zone too small to say":          {"upstream shop { zone z 17k; " + two + " }", Options{}, "shop", ""},
		"a name":                           {"upstream shop { server localhost:1; server one.example.com; }", Options{}, "shop", "server one.example.com-80 one.example.com:80 (serves now, at 10.0.0.9:80 now)"},
		"a name and its address":           {"upstream shop { server one.example.com:1; server 10.0.0.9:2; }", Options{}, "shop", "strategy noop, because servers one.example.com-1 and one.example.com-2 are both on one.example.com"},
		"a name nobody knows":              {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server no.example.com:1; }", Options{}, "shop -x", `its server "no.example.com:1" is a name that could not be looked up here`},
		"a name for nothing":               {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server zero.example.com:1; }", Options{}, "shop -x", "no answer is an address that a server can have"},
		"a name of two machines":           {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server app.example.com:1; }", Options{}, "shop -x", "is a name of 2 addresses (10.1.0.1, 10.1.0.2 ...)"},
		"a name of two by IPv6":            {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server six.example.com:1; }", Options{}, "shop -x", "is a name of 2 addresses (fd00::1"},
		"two names of one machine":         {"upstream shop { " + two + " } upstream x { server one.example.com:1; server alias.example.com:1; }", Options{}, "shop -x", "its servers one.example.com:1 and alias.example.com:1 both are 10.0.0.9:1 now"},
		"no name and no address":           {"upstream shop { " + two + " } upstream x { server 10.0.0.5:1; server 300.0.0.1:1; }", Options{}, "shop -x", "is no address and no name"},
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

// A stream upstream is an app that is only watched, with an include file of its own.
func TestStreamUpstreams(t *testing.T) {
	const stream = "stream {\ninclude enabled/*.conf;\nupstream db { " + two + " }\nserver { listen 5432; proxy_pass db; } }\n"
	dir := writeSite(t, map[string]string{"nginx.conf": stream, "enabled/.keep": ""})
	include := filepath.Join(dir, "enabled", streamName)
	p, err := makeNginx(t, dir, Options{})
	if err != nil || !strings.Contains(p.Instructions, "(your stream block includes all files there already") || strings.Contains(p.Instructions, " put (") {
		t.Fatalf("%v\n%s", err, p.Instructions)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(filepath.Join(p.Out, configName))
	if err != nil || c.Nginx.Include != "" || c.Nginx.StreamInclude != include || !c.Apps[0].Upstream.Stream || c.Apps[0].Policy.Strategy != noop || len(c.Nodes) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if p, err := makeNginx(t, dir, Options{Strategy: busyRatio}); err != nil || !strings.Contains(p.Report, "strategy busy_ratio\n") {
		t.Errorf("busy_ratio asked for: %v", err)
	}
	// One file for http and stream; and, afterwards, one that tidegate wrote at another place.
	both := stream + "http { upstream shop { server 10.0.0.5:1; server 10.0.0.6:1; }\n server { location / { proxy_pass http://shop; } } }\n"
	for _, c := range []struct {
		main, written string
		o             Options
		want          string
	}{
		{both, "", Options{NginxInclude: include}, include + " cannot be the include file of the http block and of the stream block"},
		{strings.Replace(both, "upstream db { "+two+" }", "", 1), fileOf(p, streamName), Options{NginxStreamInclude: filepath.Join(dir, "s.conf"), Upstreams: []string{"db"}}, "say --nginx-stream-include " + include},
	} {
		for file, text := range map[string]string{filepath.Join(dir, "nginx.conf"): c.main, include: c.written} {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := makeNginx(t, dir, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

// fileOf is the text of one of a plan's files.
func fileOf(p *Plan, name string) string {
	for _, f := range p.Files {
		if f.Name == name {
			return f.Text
		}
	}
	return ""
}

// What the configuration says of an upstream is what the first include says: the running tidegate does not turn it into something else.
func TestTheConfigurationSaysWhatTheIncludeSays(t *testing.T) {
	dir := writeSite(t, map[string]string{"nginx.conf": `http { upstream shop {
 hash ${cookie_sid} consistent; zone shop 1m; keepalive 4;
 server localhost:8000 max_fails=0 fail_timeout=2m max_conns=7 weight=3; server 10.0.0.3 down; server 10.0.0.2:81 max_fails=0 fail_timeout=120;
} ` + used + " }"})
	p, err := makeNginx(t, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(filepath.Join(p.Out, configName))
	if err != nil {
		t.Fatal(err)
	}
	want := conf.Upstream{Name: "shop", Method: "hash $cookie_sid consistent", Zone: "1m", Keepalive: 4, MaxFails: -1, FailTimeout: 2 * time.Minute, Lines: []conf.UpstreamLine{
		{Name: "localhost-8000", Address: "localhost:8000", MaxConns: 7, Workers: 8, Speed: 1},
		{Name: "10.0.0.3-80", Address: "10.0.0.3:80", Down: true, Workers: 1, Speed: 1},
		{Name: "10.0.0.2-81", Address: "10.0.0.2:81", Workers: 8, Speed: 1},
	}}
	if d := cmp.Diff(want, *c.Apps[0].Upstream); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if c.Nodes[0].URL != "http://localhost:9101" || c.Nodes[0].Token != "" {
		t.Errorf("%+v", c.Nodes[0])
	}
	m, err := nginxgen.Parse([]byte(fileOf(p, upstreamsName)))
	servers := []nginxgen.Server{
		{Name: "localhost-8000", Address: "127.0.0.1:8000", Weight: 3, MaxConns: 7, MaxFails: -1, FailTimeout: 2 * time.Minute},
		{Name: "10.0.0.3-80", Address: "10.0.0.3:80", Weight: 1, Down: true, MaxFails: -1, FailTimeout: 2 * time.Minute},
		{Name: "10.0.0.2-81", Address: "10.0.0.2:81", Weight: 1, MaxFails: -1, FailTimeout: 2 * time.Minute},
	}
	if d := cmp.Diff([]nginxgen.Upstream{{Name: "shop", Method: want.Method, Zone: "1m", Keepalive: 4, Servers: servers}}, m.Upstreams); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if agent := fileOf(p, "agent-localhost.yaml"); !strings.Contains(agent, `listen: "127.0.0.1:9101"`) || strings.Contains(agent, "token_file") {
		t.Errorf("the agent's file:\n%s", agent)
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
