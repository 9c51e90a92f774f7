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

// streamExample is the same for nginx's stream block.
func streamExample() Model {
	return Model{Upstreams: []Upstream{
		{Name: "mail", Stream: true, Zone: "64k", Method: "random two least_conn", Servers: []Server{
			{Address: "10.0.0.11:25", Weight: 4, Name: "node-a"},
			{Address: "10.0.0.12:25", Weight: 3, MaxConns: 60, Name: "node-b"},
		}},
		{Name: "redis", Stream: true, Zone: "64k", Servers: []Server{
			{Address: "10.0.0.11:6379", MaxFails: 3, FailTimeout: 30 * time.Second, Name: "node-a"},
			{Address: "unix:/run/redis.sock", Backup: true, Name: "spare"},
		}},
		{Name: "sessions", Stream: true, Zone: "64k", Method: "hash $remote_addr consistent", Servers: []Server{
			{Address: "10.0.0.11:9000", Weight: 10, Name: "node-a"},
			{Address: "10.0.0.12:9000", Weight: 5, Down: true, Name: "node-b"},
		}},
	}}
}

func TestShippedExamples(t *testing.T) {
	for file, m := range map[string]Model{"tidegate-upstreams.conf.example": example(), "tidegate-streams.conf.example": streamExample()} {
		t.Run(file, func(t *testing.T) { shipped(t, file, m) })
	}
}

func shipped(t *testing.T, file string, m Model) {
	got, err := Render(m)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("..", "conf", "nginx", file)
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
		t.Fatalf("the shipped example is not what Render writes (-shipped +rendered; go test -run ShippedExamples -update):\n%s", diff)
	}
	back, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.normal(), back); diff != "" {
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

func TestAnUpstreamOfBackupsGetsAServerThatIsDown(t *testing.T) {
	m := Model{Upstreams: []Upstream{{Name: "app", Servers: []Server{{Address: "10.0.0.1:80", Backup: true, Name: "spare"}}}}}
	got, err := Render(m)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), "    server 127.0.0.1:9 weight=1 down; # no-server-known\n    server 10.0.0.1:80 weight=1 backup; # spare\n") {
		t.Fatalf("want the stand-in before the backup, got:\n%s", got)
	}
}

// The first lines tell a person who opens the file what it is.
func TestTheHeaderSaysWhoWhyAndHowToStopIt(t *testing.T) {
	for _, stream := range []bool{false, true} {
		got, err := Render(Model{Upstreams: []Upstream{{Name: "app", Stream: stream}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range []string{"# Written by tidegate.", "# Why: ", "tidegate explain", "# To stop that, stop tidegate", "# To be rid of the file"} {
			if !strings.Contains(string(got), words) {
				t.Errorf("the header lacks %q:\n%s", words, got)
			}
		}
		if strings.Contains(string(got), "stream block, not for http") != stream {
			t.Errorf("stream %v:\n%s", stream, got)
		}
		for line := range strings.Lines(strings.Split(string(got), "\n\n")[0]) {
			if len(line) > 130 {
				t.Errorf("a line of %d characters: %s", len(line), line)
			}
		}
	}
}

func TestZonesOfHTTPAndStreamDiffer(t *testing.T) {
	zone := map[bool]string{}
	for _, stream := range []bool{false, true} {
		got, err := Render(Model{Upstreams: []Upstream{{Name: "app", Stream: stream, Zone: "64k"}}})
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(got), "    zone ")
		zone[stream], _, _ = strings.Cut(after, " ")
	}
	if zone[false] == zone[true] || zone[false] == "" {
		t.Fatalf("nginx refuses one zone name for two kinds of upstreams: %v", zone)
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
		"name with a block":                  {up(Upstream{Name: "a b; {"}), `the name "a b; {" is not allowed`},
		"name with a newline":                {up(Upstream{Name: "a\nb"}), `the name "a\nb" is not allowed`},
		"no name":                            {up(Upstream{}), "is not allowed"},
		"name too long":                      {up(Upstream{Name: strings.Repeat("x", 129)}), "1 to 128"},
		"name twice":                         {Model{Upstreams: []Upstream{{Name: "app"}, {Name: "App"}}}, "twice"},
		"address closes block":               {server(Server{Address: "x; } server {"}), "is not allowed: ip:port"},
		"host name":                          {server(Server{Address: "app.example:80"}), "is not allowed: ip:port"},
		"no port":                            {server(Server{Address: "127.0.0.1"}), "is not allowed: ip:port"},
		"port 0":                             {server(Server{Address: "127.0.0.1:0"}), "port 1 to 65535"},
		"ipv6 zone":                          {server(Server{Address: "[fe80::1%a;b]:80"}), "is not allowed: ip:port"},
		"socket with a space":                {server(Server{Address: "unix:/a b"}), "is not allowed: unix:"},
		"socket not absolute":                {server(Server{Address: "unix:a"}), "is not allowed: unix:"},
		"weight below":                       {server(Server{Address: "127.0.0.1:80", Weight: -1}), "weight -1 is not allowed: 1 to 1000"},
		"weight above":                       {server(Server{Address: "127.0.0.1:80", Weight: 1001}), "weight 1001 is not allowed"},
		"fraction of a second":               {server(Server{Address: "127.0.0.1:80", FailTimeout: 1500 * time.Millisecond}), "whole seconds"},
		"max_fails":                          {server(Server{Address: "127.0.0.1:80", MaxFails: -2}), "max_fails -2"},
		"max_conns":                          {server(Server{Address: "127.0.0.1:80", MaxConns: -2}), "max_conns -2"},
		"comment with a newline":             {server(Server{Address: "127.0.0.1:80", Name: "x\n}"}), "the comment"},
		"comment ends the line":              {server(Server{Address: "127.0.0.1:80", Name: "x\r}"}), "the comment"},
		"address twice":                      {up(Upstream{Name: "a", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:1"}}}), "there twice"},
		"the stand-in's address":             {server(Server{Address: "127.0.0.1:9", Backup: true}), "all servers are backups"},
		"address twice, written another way": {up(Upstream{Name: "a", Servers: []Server{{Address: "[::1]:1"}, {Address: "[0:0::0:1]:1"}}}), "there twice"},
		"backup with random":                 {up(Upstream{Name: "a", Method: "random two", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:2", Backup: true}}}), "backup is not allowed"},
		"backup with hash in stream":         {up(Upstream{Name: "a", Stream: true, Method: "hash $remote_addr", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:2", Backup: true}}}), "backup is not allowed"},
		"ip_hash in stream":                  {up(Upstream{Name: "a", Stream: true, Method: "ip_hash"}), "ip_hash is not allowed in a stream upstream"},
		"keepalive in stream":                {up(Upstream{Name: "a", Stream: true, Keepalive: 4}), "keepalive 4 is not allowed in a stream upstream"},
		"http and stream":                    {Model{Upstreams: []Upstream{{Name: "a"}, {Name: "b", Stream: true}}}, `upstream 2 ("b"): http and stream upstreams are not allowed in one file`},
		"a key that is no variable":          {up(Upstream{Name: "a", Method: "hash $"}), "the method"},
		"a key that is too long":             {up(Upstream{Name: "a", Method: "hash " + strings.Repeat("k", 129)}), "the method"},
		"backup with ip_hash":                {up(Upstream{Name: "a", Method: "ip_hash", Servers: []Server{{Address: "1.1.1.1:1"}, {Address: "1.1.1.1:2", Backup: true}}}), "backup is not allowed"},
		"unknown method":                     {up(Upstream{Name: "a", Method: "least_time header"}), "the method"},
		"method with a directive":            {up(Upstream{Name: "a", Method: "hash $x; server 1.1.1.1"}), "the method"},
		"method with a brace":                {up(Upstream{Name: "a", Method: "hash ${x}"}), "the method"},
		"zone too small":                     {up(Upstream{Name: "a", Zone: "1k"}), "32k to 64m"},
		"zone with a directive":              {up(Upstream{Name: "a", Zone: "64k; x"}), "32k to 64m"},
		"keepalive":                          {up(Upstream{Name: "a", Keepalive: -1}), "keepalive -1"},
		"ring too large":                     {up(Upstream{Name: "a", Method: "hash $uri consistent", Servers: []Server{{Address: "1.1.1.1:1", Weight: 101}}}), "1 to 100"},
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

// genKey draws keys of hash methods.
func genKey(t *rapid.T) string {
	return rapid.StringMatching(`([A-Za-z0-9_.:/-]|\$[A-Za-z0-9_]){1,30}`).Draw(t, "key")
}

// genModel draws valid models, of http or of stream.
func genModel(t *rapid.T) Model {
	stream := rapid.Bool().Draw(t, "stream")
	methods := []string{"", "least_conn", "random", "random two", "random two least_conn", "hash", "consistent"}
	if !stream {
		methods = append(methods, "ip_hash")
	}
	var m Model
	for i := range rapid.IntRange(0, 4).Draw(t, "upstreams") {
		u := Upstream{Name: fmt.Sprintf("%s%d", rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_.-]{0,20}`).Draw(t, "name"), i),
			Stream: stream, Method: rapid.SampledFrom(methods).Draw(t, "method"),
			Zone: rapid.SampledFrom([]string{"", "32k", "1m"}).Draw(t, "zone")}
		switch u.Method {
		case "hash":
			u.Method = "hash " + genKey(t)
		case "consistent":
			u.Method = "hash " + genKey(t) + " consistent"
		}
		if !stream {
			u.Keepalive = rapid.IntRange(0, 100).Draw(t, "keepalive")
		}
		for j := range rapid.IntRange(0, 6).Draw(t, "servers") {
			u.Servers = append(u.Servers, genServer(t, u.Method, j))
		}
		m.Upstreams = append(m.Upstreams, u)
	}
	return m
}

func genServer(t *rapid.T, method string, j int) Server {
	s := Server{Weight: rapid.IntRange(0, 100).Draw(t, "weight"), Down: rapid.Bool().Draw(t, "down"),
		MaxConns: rapid.IntRange(0, 9).Draw(t, "max_conns"), MaxFails: rapid.IntRange(-1, 9).Draw(t, "max_fails"),
		FailTimeout: time.Duration(rapid.IntRange(0, 9).Draw(t, "fail_timeout")) * time.Second,
		Name:        rapid.StringMatching(`[A-Za-z0-9._:@/+-]{0,20}`).Draw(t, "comment")}
	s.Address = rapid.SampledFrom([]string{"10.0.0.1:%d", "[::1]:%d", "[fd00::a:%x]:80", "unix:/run/%d.sock"}).Draw(t, "address")
	s.Address = fmt.Sprintf(s.Address, 1000+j)
	s.Backup = (method == "" || method == "least_conn") && rapid.Bool().Draw(t, "backup")
	return s
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
