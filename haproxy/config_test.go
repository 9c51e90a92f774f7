package haproxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func noEnv(string) (string, bool) { return "", false }

func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	cfg, err := parseConfig("haproxy.cfg", text, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLinesAreCutIntoWords(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "x y", "EMPTY": "", "L": "1 2  3"}[name]
		return v, ok
	}
	for line, want := range map[string][]string{
		"":                              nil,
		" \t # comment":                 nil,
		"a b\tc":                        {"a", "b", "c"},
		"a#b c":                         {"a"},
		`a\#b c`:                        {"a#b", "c"},
		`"a b" 'c d'`:                   {"a b", "c d"},
		`a"b c"d'e f'g`:                 {"ab cde fg"},
		`'a"b' "c'd"`:                   {`a"b`, "c'd"},
		`"#" '#'`:                       {"#", "#"},
		`a\ b \\ \n`:                    {"a b", `\`, "\n"},
		`'\ ' "\x41"`:                   {`\ `, "A"},
		`a\q`:                           {`a\q`},
		`end\`:                          {`end\`},
		`""`:                            {""},
		`$A "$A" "${A}z" '$A'`:          {"$A", "x y", "x yz", "$A"},
		`"${A[*]}"`:                     {"x", "y"},
		`"${NO-def ault}" "${EMPTY-d}"`: {"def ault", ""},
		`"\$A"`:                         {"$A"},
		`\$A`:                           {`\$A`},
	} {
		got, _, _, err := splitLine(line, env)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", line, d)
		}
	}
	for _, line := range []string{`"a`, `'a`, `\x4`, `\xzz`, `"$"`, `"${A"`, `"${A-b"`, `"$1"`, `"${A-b}`} {
		if got, _, _, err := splitLine(line, env); err == nil {
			t.Errorf("%s was read as %q", line, got)
		}
	}
	if _, _, unknown, _ := splitLine(`"$NO" "${A}"`, env); len(unknown) != 1 || unknown[0] != "NO" {
		t.Errorf("unknown variables: %q", unknown)
	}
}

const sound = `global
    stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
    mode http
    option redispatch
backend web # the shop
    balance leastconn
    default-server weight 100 check disabled
    server s1 10.0.0.1:80
    server s2 10.0.0.2:80 maxconn 20 cookie c2 backup
`

func TestASoundConfiguration(t *testing.T) {
	cfg := mustParse(t, sound)
	want := []ConfigBackend{{Name: "web", Kind: "backend", Line: 6, Mode: "http", Balance: "leastconn", BalanceLine: 7, HashType: "map-based", Redispatch: true,
		Servers: []ConfigServer{
			{Name: "s1", Line: 9, Host: "10.0.0.1", Port: 80, Check: true, Disabled: true, Weight: 100, Options: []string{"weight", "100", "check", "disabled"}},
			{Name: "s2", Line: 10, Host: "10.0.0.2", Port: 80, Check: true, Disabled: true, Weight: 100, MaxConn: 20, Cookie: "c2", Backup: true,
				Options: []string{"weight", "100", "check", "disabled", "maxconn", "20", "cookie", "c2", "backup"}},
		}}}
	if d := cmp.Diff(want, cfg.Backends); d != "" {
		t.Errorf("backends (-want +got):\n%s", d)
	}
	sections := []Section{{Kind: "global", Line: 1}, {Kind: "defaults", Line: 3}, {Kind: "backend", Name: "web", Line: 6}}
	if d := cmp.Diff(sections, cfg.Sections); d != "" {
		t.Errorf("sections (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]StatsSocket{{Line: 2, Address: "/run/haproxy/admin.sock", Level: "admin", Mode: "660"}}, cfg.Sockets); d != "" {
		t.Errorf("sockets (-want +got):\n%s", d)
	}
	if got := Problems(cfg, "web"); len(got) != 0 {
		t.Errorf("problems: %+v", got)
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		severity       Severity
		line           int
		text           string
	}{
		{"a static algorithm", "balance leastconn", "balance static-rr", Error, 7, "use roundrobin or leastconn"},
		{"a map-based hash", "balance leastconn", "balance uri depth 2", Error, 7, `add "hash-type consistent"`},
		{"a consistent hash", "balance leastconn", "balance uri\n    hash-type consistent", "", 0, ""},
		{"a map-based hash by defaults", "    option redispatch\n", "    option redispatch\n    balance hdr(host)\n", "", 0, ""},
		{"balance first", "balance leastconn", "balance first", Warning, 7, "ignores weights"},
		{"the default weight", "weight 100 check", "check", Warning, 9, "server s1 (and 1 more) of backend web has weight 1"},
		{"weight 1 of one server", "maxconn 20", "weight 1 maxconn 20", Warning, 10, "server s2 of backend web has weight 1"},
		{"an operator's socket", "level admin", "level operator", Error, 2, `add "level admin"`},
		{"a socket without a level", " level admin", "", Error, 2, "has level operator"},
		{"a socket by descriptor", "/run/haproxy/admin.sock", "fd@5", Error, 2, "not one that tidegate can dial"},
		{"no socket", "    stats socket /run/haproxy/admin.sock mode 660 level admin\n", "", Error, 0, "has no stats socket"},
		{"few slots", "    stats socket", "    stats maxconn 4\n    stats socket", Error, 2, `"stats maxconn 4" allows too few connections`},
		{"enough slots", "    stats socket", "    stats maxconn 5\n    stats socket", "", 0, ""},
		{"persist in the backend", "balance leastconn", "option persist", Error, 7, `put "no option persist"`},
		{"persist in defaults", "option redispatch", "option redispatch\n    option persist", Error, 6, `put "no option persist"`},
		{"a slot that is not disabled", "cookie c2", "enabled", Warning, 10, "server s2 of backend web is not \"disabled\""},
		{"no redispatch", "    option redispatch\n", "", Warning, 5, `no "option redispatch"`},
		{"redispatch taken back", "balance leastconn", "no option redispatch", Warning, 6, `no "option redispatch"`},
		{"a disabled backend", "balance leastconn", "disabled", Error, 6, "never runs it"},
		{"a conditional block", "balance leastconn", ".if defined(X)", Warning, 7, "all its branches are read"},
		{"an unknown variable", "balance leastconn", `balance "${ALGO-roundrobin}" "$X"`, Warning, 7, "the environment variable X is not set here"},
	} {
		text := strings.Replace(sound, c.old, c.new, 1)
		if text == sound {
			t.Errorf("%s: nothing was changed", c.name)
			continue
		}
		got := Problems(mustParse(t, text), "web")
		if c.text == "" {
			if len(got) != 0 {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Severity != c.severity || got[0].Line != c.line || !strings.Contains(got[0].Text, c.text) {
			t.Errorf("%s: %+v; want one %s in line %d with %q", c.name, got, c.severity, c.line, c.text)
		}
	}
	if got := Problems(mustParse(t, sound), "api"); len(got) != 1 || got[0].Severity != Error || !strings.Contains(got[0].Text, `no backend or listen section "api"`) {
		t.Errorf("a backend that is not there: %+v", got)
	}
	if got := Problems(mustParse(t, "backend empty\n"), "empty"); len(got) != 3 || got[0].Severity != Error || got[2].Severity != Warning {
		t.Errorf("errors come first: %+v", got)
	}
	two := strings.Replace(sound, "    stats", "    stats socket 127.0.0.1:9999\n    stats", 1)
	if got := Problems(mustParse(t, two), "web"); len(got) != 0 {
		t.Errorf("one socket of two with level admin is enough: %+v", got)
	}
}

// What is refused depends on which servers tidegate has and which of them always serve.
func TestRefusals(t *testing.T) {
	text := strings.Replace(sound, "cookie c2", "enabled weight 1", 1)
	for name, c := range map[string]struct {
		servers map[string]bool
		want    int
	}{
		"s2 is a slot":         {map[string]bool{"s1": false, "s2": false}, 2},
		"s2 always serves":     {map[string]bool{"s1": false, "s2": true}, 1},
		"s2 is not tidegate's": {map[string]bool{"s1": false}, 0},
	} {
		got := Refusals(mustParse(t, text), "web", c.servers)
		errs := 0
		for _, p := range got {
			if p.Severity == Error && p.Line == 10 {
				errs++
			}
		}
		if errs != c.want || len(got) != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTidegateIsRecognised(t *testing.T) {
	cfg := mustParse(t, sound+`
    # tidegate: begin
    filter spoe engine tidegate config /etc/haproxy/tidegate-spoe.conf
    # tidegate: end
backend other
    # nothing of tidegate here
    filter spoe engine waf config /etc/haproxy/waf.conf
    server s1 10.0.0.1:80
`)
	if d := cmp.Diff([][]int{{12, 13, 14}, nil}, [][]int{cfg.Backends[0].Tidegate, cfg.Backends[1].Tidegate}); d != "" {
		t.Errorf("lines of tidegate (-want +got):\n%s", d)
	}
}

func TestAddressesOfStatsSockets(t *testing.T) {
	for address, want := range map[string]string{
		"/run/x.sock": "unix:/run/x.sock", "unix@/run/x.sock": "unix:/run/x.sock", "abns@x": "abns@x",
		"127.0.0.1:9999": "127.0.0.1:9999", "ipv4@127.0.0.1:9999": "127.0.0.1:9999", "ipv4@*:9999": "127.0.0.1:9999", ":9999": "127.0.0.1:9999",
		"ipv4@10.0.0.1:9999": "", "fd@5": "", "run/x.sock": "",
	} {
		got, ok := StatsSocket{Address: address}.Dial()
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v; want %q", address, got, ok, want)
		}
	}
}

func TestConfigurationErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"global\n  log \"x\n":                               "haproxy.cfg:2: the quote",
		"backend\n":                                         "haproxy.cfg:1: backend needs a name",
		"backend a;b\n":                                     "haproxy.cfg:1: the backend name",
		"backend a from b\n":                                "haproxy.cfg:1: backend a is from \"b\"",
		"backend a\n server s1\n":                           "haproxy.cfg:2: a server line has",
		"backend a\n server s1 :80 weight\n":                "haproxy.cfg:2: the server option weight needs a value",
		"backend a\n server s1 :80 weight 300\n":            "haproxy.cfg:2: the server option weight: \"300\"",
		"backend a\n server s1 :99999\n":                    "haproxy.cfg:2: the port",
		"backend a\n server-template s 1-4000000000 x:80\n": "haproxy.cfg:2: the number",
		"backend a\n server-template s 5-1 x:80\n":          "haproxy.cfg:2: the number",
		"backend a\n server-template s 100000 :80\n server-template t 100000 :80\n": "haproxy.cfg:3: the backend a has more than",
	} {
		if _, err := parseConfig("haproxy.cfg", text, noEnv); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v; want %s...", text, err, want)
		}
	}
	if _, err := ReadConfig(t.TempDir() + "/none.cfg"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestReadConfigChangesNothing(t *testing.T) {
	path := t.TempDir() + "/haproxy.cfg"
	if err := os.WriteFile(path, []byte(sound), 0o400); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != sound || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file has changed: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(sound)
	f.Add("defaults a\n balance uri\ndefaults b from a\nlisten x from b\n server-template s 1-3 \"${H-h}\":+1 source 0.0.0.0 usesrc client\n")
	f.Add("global\n setenv L \"a b\"\n stats socket \"${L[*]}\" level admin\nbackend b\n server 's 1' \\x31:80 #x\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseConfig("f", text, noEnv)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		for _, b := range cfg.Backends {
			for _, s := range b.Servers {
				// What is found has to be fit for a command.
				if err := SetWeight(b.Name, s.Name, s.Weight).Check(); err != nil {
					t.Fatalf("%s/%s: %v", b.Name, s.Name, err)
				}
			}
			for _, p := range Problems(cfg, b.Name) {
				if p.Text == "" || p.Line < 0 || p.Line > strings.Count(text, "\n")+1 {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}

func ExampleProblems() {
	cfg, err := parseConfig("haproxy.cfg", "global\n stats socket /run/h.sock\nbackend web\n balance source\n option redispatch\n server s1 10.0.0.1:80 disabled\n", noEnv)
	if err != nil {
		fmt.Println(err)
	}
	for _, p := range Problems(cfg, "web") {
		fmt.Printf("%s, line %d: %s\n", p.Severity, p.Line, p.Text)
	}
	// Output:
	// error, line 4: backend web uses "balance source" with a map-based hash, which takes no weight but 0 and the configured one; add "hash-type consistent"
	// error, line 2: the stats socket /run/h.sock has level operator, which refuses changes; add "level admin" to its line
	// warning, line 6: server s1 of backend web has weight 1 (the default), so after each reload it gets next to nothing beside servers that tidegate has given their weight, until it has that too; better give all servers "weight 100", for instance by "default-server weight 100"
}
