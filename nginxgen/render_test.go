package nginxgen

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example is the model behind the shipped example include.
func example() Model {
	return Model{Upstreams: []Upstream{
		{Name: "shop", Zone: "64k", Keepalive: 16, Servers: []Server{
			{Address: "10.0.0.11:8000", Weight: 4, Name: "node-a"},
			{Address: "10.0.0.12:8000", Weight: 3, MaxFails: 2, FailTimeout: 5 * time.Second, Name: "node-b"},
			{Address: "[fd00::13]:8000", Weight: 1, MaxConns: 40, Down: true, Name: "node-c"},
			{Address: "unix:/run/spare.sock", Backup: true, Name: "spare"},
		}},
		{Name: "api.internal", Zone: "64k", Method: "least_conn", Servers: []Server{
			{Address: "10.0.0.11:8100", Weight: 2, MaxFails: -1}, {Address: "10.0.0.12:8100"},
		}},
		{Name: "sessions", Method: "hash $remote_addr consistent", Servers: []Server{
			{Address: "10.0.0.11:8200", Weight: 10}, {Address: "10.0.0.12:8200", Weight: 5},
		}},
		{Name: "parked", Method: "random"},
	}}
}

func TestShippedExample(t *testing.T) {
	got, err := Render(example())
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("..", "conf", "nginx", "tidegate-upstreams.conf.example")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Fatalf("the shipped example is not what Render writes (-shipped +rendered; go test -run ShippedExample -update):\n%s", diff)
	}
	back, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example().normal(), back); diff != "" {
		t.Fatalf("Parse(Render(m)) differs from m:\n%s", diff)
	}
}

func TestEmptyUpstreamGetsAServerThatIsDown(t *testing.T) {
	got, err := Render(Model{Upstreams: []Upstream{{Name: "app"}}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), "server 127.0.0.1:9 weight=1 down; # no-server-known") {
		t.Fatalf("want the stand-in, got:\n%s", got)
	}
}

func TestMethodStandsBeforeKeepaliveAndServers(t *testing.T) {
	got, err := Render(Model{Upstreams: []Upstream{{Name: "app", Keepalive: 8, Method: "least_conn", Zone: "1m",
		Servers: []Server{{Address: "127.0.0.1:80"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, word := range []string{"zone tidegate_app 1m;", "least_conn;", "keepalive 8;", "server 127.0.0.1:80 weight=1;"} {
		i := strings.Index(string(got), word)
		if i <= at {
			t.Fatalf("%q is missing or out of order in:\n%s", word, got)
		}
		at = i
	}
}

func TestReasonIsNotInTheBytes(t *testing.T) {
	a, b := example(), example()
	b.Why = "node-a has two workers more"
	ta, err := Render(a)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := Render(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ta, tb) {
		t.Fatal("the reason changed the bytes; every new reason would be a reload")
	}
}

func TestBadModelsAreRefusedWithASentence(t *testing.T) {
	server := func(s Server) Model { return Model{Upstreams: []Upstream{{Name: "app", Servers: []Server{s}}}} }
	up := func(u Upstream) Model {
		if u.Servers == nil {
			u.Servers = []Server{{Address: "127.0.0.1:80"}}
		}
		return Model{Upstreams: []Upstream{u}}
	}
	for name, c := range map[string]struct {
		m    Model
		says string
	}{
		"name with a block":       {up(Upstream{Name: "a b; {"}), `the name "a b; {" is not allowed`},
		"name with a newline":     {up(Upstream{Name: "a\nb"}), `the name "a\nb" is not allowed`},
		"no name":                 {up(Upstream{}), "is not allowed"},
		"name too long":           {up(Upstream{Name: strings.Repeat("x", 129)}), "1 to 128"},
		"name twice":              {Model{Upstreams: []Upstream{{Name: "app"}, {Name: "App"}}}, "twice"},
		"address closes block":    {server(Server{Address: "x; } server {"}), "is not allowed: ip:port"},
		"host name":               {server(Server{Address: "app.example:80"}), "is not allowed: ip:port"},
		"no port":                 {server(Server{Address: "127.0.0.1"}), "is not allowed: ip:port"},
		"port 0":                  {server(Server{Address: "127.0.0.1:0"}), "port 1 to 65535"},
		"ipv6 zone":               {server(Server{Address: "[fe80::1%a;b]:80"}), "is not allowed: ip:port"},
		"socket with a space":     {server(Server{Address: "unix:/a b"}), "is not allowed: unix:"},
		"socket not absolute":     {server(Server{Address: "unix:a"}), "is not allowed: unix:"},
		"weight below":            {server(Server{Address: "127.0.0.1:80", Weight: -1}), "weight -1 is not allowed: 1 to 1000"},
		"weight above":            {server(Server{Address: "127.0.0.1:80", Weight: 1001}), "weight 1001 is not allowed"},
		"fraction of a second":    {server(Server{Address: "127.0.0.1:80", FailTimeout: 1500 * time.Millisecond}), "whole seconds"},
		"max_fails":               {server(Server{Address: "127.0.0.1:80", MaxFails: -2}), "max_fails -2"},
		"max_conns":               {server(Server{Address: "127.0.0.1:80", MaxConns: -2}), "max_conns -2"},
		"comment with a newline":  {server(Server{Address: "127.0.0.1:80", Name: "x\n}"}), "the comment"},
		"comment ends the line":   {server(Server{Address: "127.0.0.1:80", Name: "x\r}"}), "the comment"},
		"address twice":           {up(Upstream{Name: "a", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:1"}}}), "there twice"},
		"only backups":            {server(Server{Address: "127.0.0.1:80", Backup: true}), "all servers are backups"},
		"backup with hash":        {up(Upstream{Name: "a", Method: "ip_hash", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:2", Backup: true}}}), "backup is not allowed"},
		"unknown method":          {up(Upstream{Name: "a", Method: "least_time header"}), "the method"},
		"method with a directive": {up(Upstream{Name: "a", Method: "hash $x; server 1.1.1.1"}), "the method"},
		"method with a brace":     {up(Upstream{Name: "a", Method: "hash ${x}"}), "the method"},
		"zone too small":          {up(Upstream{Name: "a", Zone: "1k"}), "32k to 64m"},
		"zone with a directive":   {up(Upstream{Name: "a", Zone: "64k; x"}), "32k to 64m"},
		"keepalive":               {up(Upstream{Name: "a", Keepalive: -1}), "keepalive -1"},
		"ring too large":          {up(Upstream{Name: "a", Method: "hash $uri consistent", Servers: []Server{{Address: "1.1.1.1:1", Weight: 101}}}), "1 to 100"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(c.m)
			if err == nil {
				t.Fatalf("want a refusal, got:\n%s", got)
			}
			if !strings.Contains(err.Error(), c.says) || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("want one sentence with %q, got: %v", c.says, err)
			}
		})
	}
}

func TestParseRefusesWhatRenderDoesNotWrite(t *testing.T) {
	good, err := Render(Model{Upstreams: []Upstream{{Name: "app", Servers: []Server{{Address: "127.0.0.1:80", Name: "a"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":                "",
		"a stranger's":         "upstream app { server 127.0.0.1:80; }\n",
		"a brace too many":     string(good) + "}\nupstream evil { server 127.0.0.1:81; }\n",
		"another directive":    string(good) + "include other.conf;\n",
		"a space more":         strings.Replace(string(good), "weight=1", " weight=1", 1),
		"another zone":         strings.Replace(string(good), "    server", "    zone x 64k;\n    server", 1),
		"a comment more":       string(good) + "# hello\n",
		"a stray semicolon":    strings.Replace(string(good), "weight=1;", "weight=1;;", 1),
		"a host name":          strings.Replace(string(good), "127.0.0.1", "localhost", 1),
		"a nest of blocks":     marker + "\n" + strings.Repeat("a{", 1_000_000),
		"a NUL":                string(good) + "\x00",
		"an unfinished block":  string(good[:len(good)-3]),
		"a block in a block":   strings.Replace(string(good), "    server", "    a { }\n    server", 1),
		"an unfinished quote":  string(good) + "\"",
		"a parameter more":     strings.Replace(string(good), "weight=1", "weight=1 slow_start=1", 1),
		"a parameter too much": strings.Replace(string(good), "weight=1", "weight=1 weight=1", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := Parse([]byte(text)); err == nil {
				t.Fatalf("want an error, got %+v", m)
			}
		})
	}
}

// genModel draws valid models.
func genModel(t *rapid.T) Model {
	method := rapid.SampledFrom([]string{"", "least_conn", "random", "random two", "ip_hash", "hash $uri", "hash $remote_addr$uri consistent"})
	var m Model
	for i := range rapid.IntRange(0, 4).Draw(t, "upstreams") {
		u := Upstream{Name: fmt.Sprintf("%s%d", rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_.-]{0,20}`).Draw(t, "name"), i),
			Method: method.Draw(t, "method"), Keepalive: rapid.IntRange(0, 100).Draw(t, "keepalive"),
			Zone: rapid.SampledFrom([]string{"", "32k", "1m"}).Draw(t, "zone")}
		for j := range rapid.IntRange(0, 6).Draw(t, "servers") {
			s := Server{Weight: rapid.IntRange(0, 100).Draw(t, "weight"), Down: rapid.Bool().Draw(t, "down"),
				MaxConns: rapid.IntRange(0, 9).Draw(t, "max_conns"), MaxFails: rapid.IntRange(-1, 9).Draw(t, "max_fails"),
				FailTimeout: time.Duration(rapid.IntRange(0, 9).Draw(t, "fail_timeout")) * time.Second,
				Name:        rapid.StringMatching(`[A-Za-z0-9._:@/+-]{0,20}`).Draw(t, "comment")}
			s.Address = rapid.SampledFrom([]string{"10.0.0.1:%d", "[::1]:%d", "unix:/run/%d.sock"}).Draw(t, "address")
			s.Address = fmt.Sprintf(s.Address, 1000+j)
			s.Backup = j > 0 && (u.Method == "" || u.Method == "least_conn") && rapid.Bool().Draw(t, "backup")
			u.Servers = append(u.Servers, s)
		}
		m.Upstreams = append(m.Upstreams, u)
	}
	return m
}

func TestParseIsTheInverseOfRender(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genModel(t)
		text, err := Render(m)
		if err != nil {
			t.Fatalf("a valid model is refused: %v", err)
		}
		back, err := Parse(text)
		if err != nil {
			t.Fatalf("Parse: %v\n%s", err, text)
		}
		if diff := cmp.Diff(m.normal(), back); diff != "" {
			t.Fatalf("not the same model:\n%s", diff)
		}
		again, err := Render(back)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("rendering the model read back gives other bytes (%v)", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	good, err := Render(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(header))
	f.Add([]byte(header + "\nupstream a {\n    server 127.0.0.1:9 weight=1 down; # x\n}\n"))
	f.Add([]byte(header + "}\nupstream a { server \"c:\\\\\"; }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Render(m)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("Parse accepts what Render does not write (%v):\n%s", err, text)
		}
	})
}

// FuzzRender: whatever strings come in, the text that comes out holds exactly the directives of the model, counted here
// by nginx's own rules and not by the parser that Render uses.
func FuzzRender(f *testing.F) {
	f.Add("app", "127.0.0.1:80", "", "", "node-a")
	f.Add("a b; {", "x; } server {", "hash $a; b", "64k; c", "x\n}")
	f.Add("a", "unix:/x y", "hash ${a}", "1m", "x\r}")
	f.Add("a", "[fe80::1%a;}]:80", "least_conn", "32k", "#")
	f.Fuzz(func(t *testing.T, name, address, method, zone, comment string) {
		m := Model{Upstreams: []Upstream{{Name: name, Method: method, Zone: zone, Servers: []Server{{Address: address, Name: comment}}}}}
		text, err := Render(m)
		if err != nil {
			return
		}
		want := 1
		for _, s := range []string{method, zone} {
			if s != "" {
				want++
			}
		}
		body := bytes.TrimPrefix(text, []byte(header))
		if n := bytes.Count(body, []byte(";")); n != want {
			t.Fatalf("%d semicolons, want %d:\n%s", n, want, text)
		}
		if bytes.Count(body, []byte("{")) != 1 || bytes.Count(body, []byte("}")) != 1 || bytes.ContainsAny(body, "\"'\\\r\x00") {
			t.Fatalf("braces or quotes that are not ours:\n%s", text)
		}
		s, err := scanText(string(text), 1)
		if err != nil || s.trouble != "" || len(s.upstreams[name]) != 1 {
			t.Fatalf("the upstream is not there as nginx reads it: %v %+v\n%s", err, s, text)
		}
	})
}
