package setup

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/conf"
)

var update = flag.Bool("update", false, "write the golden files anew")

// folder copies one of testdata to a folder of its own and returns its path.
func folder(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Everything that init prints and writes for four users, the last without HAProxy, but for what conf/haproxy writes and tests itself.
func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{
		"debian": {Nginx: "nginx.conf", Token: "not-a-secret-but-a-test"},
		"nodes":  {Strategy: "busy_ratio", Variant: "3.0", Token: "not-a-secret-but-a-test", Middleware: "# python\n", RackMiddleware: "# ruby\n", Backends: []string{"shop:80", "api"}},
		"odd":    {Nginx: "nginx.conf", Strategy: "noop", HAProxyDir: "/opt/haproxy"},
		"web":    {Nginx: "nginx.conf", Token: "not-a-secret-but-a-test", Middleware: "# python\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, name)
			o.Out = filepath.Join(dir, "made", "out")
			if name != "web" {
				o.HAProxy = filepath.Join(dir, "haproxy.cfg")
			}
			if o.Nginx != "" {
				o.Nginx = filepath.Join(dir, o.Nginx)
			}
			o.Lookup = lookup
			p, err := Make(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(golden(p), dir, "/SITE")
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if name == "nodes" {
				// The token file is named by its path.
				p.Files = slices.DeleteFunc(p.Files, func(f File) bool { return f.Name == marksName })
			}
			if err := p.Write(); err != nil {
				t.Fatal(err)
			}
			for _, f := range p.Files {
				text, err := os.ReadFile(filepath.Join(p.Out, f.Name))
				if err != nil || string(text) != f.Text {
					t.Errorf("%s: %v", f.Name, err)
				}
				if fi, err := os.Stat(filepath.Join(p.Out, f.Name)); err != nil || fi.Mode().Perm() != f.Mode {
					t.Errorf("%s: mode %v, want %v (%v)", f.Name, fi.Mode(), f.Mode, err)
				}
			}
		})
	}
}

func golden(p *Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "==== printed\n%s", p.Report)
	inLines := false
	for _, f := range p.Files {
		fmt.Fprintf(&b, "==== %s, mode %o\n", f.Name, f.Mode)
		if f.Name == spoeName || f.Name == includeName {
			continue
		}
		for line := range strings.Lines(f.Text) {
			begin := strings.HasPrefix(line, "    "+beginMark)
			if end := strings.HasPrefix(line, "    "+endMark); begin || end {
				inLines = begin
				b.WriteString(line)
			} else if !inLines {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// --arrivals is a matter of the SPOE file alone.
func TestArrivalsAreAskedFor(t *testing.T) {
	spoe := func(o Options) (text string) {
		p, err := makeFrom(t, head+"backend shop\n server s1 10.0.0.1:80\n", o)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Files {
			if f.Name == spoeName {
				text = f.Text
			}
		}
		return text
	}
	if got := spoe(Options{Arrivals: true, Variant: "3.0"}); !strings.Contains(got, "messages tidegate-arrive") {
		t.Errorf("with --arrivals, the SPOE file is\n%s", got)
	}
	if got := spoe(Options{}); strings.Contains(got, "arrive") {
		t.Errorf("without --arrivals, the SPOE file is\n%s", got)
	}
	if got := spoe(Options{RequestIDs: true}); !strings.Contains(got, "uuid()") {
		t.Errorf("with --request-ids, the SPOE file is\n%s", got)
	}
	if got := spoe(Options{}); strings.Contains(got, "uuid()") {
		t.Errorf("without --request-ids, the SPOE file is\n%s", got)
	}
}

const head = "global\n stats socket /run/h.sock level admin\ndefaults\n mode http\n option redispatch\n default-server weight 100\n"

func makeFrom(t *testing.T, text string, o Options) (*Plan, error) {
	t.Helper()
	dir := t.TempDir()
	o.HAProxy, o.Out = filepath.Join(dir, "haproxy.cfg"), filepath.Join(dir, "out")
	if err := os.WriteFile(o.HAProxy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Nginx != "" {
		text := o.Nginx
		o.Nginx = filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(o.Nginx, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.Lookup = lookup
	return Make(t.Context(), o)
}

func TestMistakesAreOneSentence(t *testing.T) {
	shop := head + "backend shop\n server s1 10.0.0.1:80\n"
	for name, c := range map[string]struct {
		text string
		o    Options
		want string
	}{
		"nothing to scale":        {head, Options{}, "has no backend or listen section"},
		"a quote left open":       {head + "backend \"a\n", Options{}, ":7: the quote"},
		"all are tcp":             {head + "backend a\n mode tcp\n server s :1\nlisten b\n", Options{}, "can be taken: a (mode tcp: tidegate times HTTP answers, so it needs mode http); b (no servers)"},
		"a disabled one":          {head + "backend a\n disabled\n server s 10.0.0.1:1\n", Options{}, "it is disabled"},
		"static-rr":               {head + "backend a\n balance static-rr\n server s 10.0.0.1:1\n", Options{}, "use roundrobin or leastconn"},
		"a map-based hash":        {head + "backend a\n balance source\n server s 10.0.0.1:1\n", Options{}, `add "hash-type consistent"`},
		"only names":              {head + "backend a\n server s example.com:1\n", Options{}, `none of its servers can be taken: s: "example.com" is a name`},
		"only sockets":            {head + "backend a\n server s /run/x\n", Options{}, "a unix socket"},
		"the client's address":    {head + "backend a\n server s *:1\n server t 0.0.0.0:1\n", Options{}, "no address of its own"},
		"no port":                 {head + "backend a\n server s 10.0.0.1\n", Options{}, "no fixed port"},
		"a name too long":         {head + "backend " + strings.Repeat("a", 65) + "\n server s 10.0.0.1:1\n", Options{}, "its name is too long"},
		"a backend not there":     {shop, Options{Backends: []string{"blog"}}, `--backend "blog": `},
		"a backend not to take":   {shop + "backend x\n mode tcp\n server s 10.0.0.1:1\n", Options{Backends: []string{"x"}}, "--backend x: "},
		"two servers on a node":   {head + "backend a\n server s 10.0.0.1:1\n server t 10.0.0.1:2\n", Options{Strategy: "busy_ratio"}, "are both on 10.0.0.1"},
		"all counters in use":     {"frontend f\n http-request track-sc0 src\n http-request track-sc1 src\n http-request track-sc2 src\n" + shop, Options{}, "all three stick counters"},
		"a chroot too deep":       {"global\n chroot /" + strings.Repeat("x", 90) + "\n" + shop, Options{}, "longer than a unix socket's path"},
		"a mark without its end":  {shop + " # tidegate begin\n", Options{}, "haproxy.cfg:9: \"# tidegate begin\" and"},
		"a mark twice":            {shop + "# tidegate begin\n# tidegate begin\n# tidegate end\n", Options{}, "haproxy.cfg:9: "},
		"an end without a mark":   {shop + "# tidegate end\n", Options{}, "haproxy.cfg:9: "},
		"an unknown strategy":     {shop, Options{Strategy: "guess"}, `--strategy "guess" is not allowed: erlang, latency, busy_ratio, noop`},
		"arrivals with 2.6":       {shop, Options{Arrivals: true}, `--arrivals needs the files for HAProxy 3.0 and later`},
		"an unknown variant":      {shop, Options{Variant: "2.4"}, `--variant "2.4" is not allowed`},
		"a path for two files":    {shop, Options{HAProxyDir: "/etc/my haproxy"}, "letters, digits and"},
		"an nginx.conf like this": {shop, Options{Nginx: "http {\x00"}, "nginx.conf:1: there is a NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := makeFrom(t, c.text, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v; want one line with %q", err, c.want)
			}
		})
	}
	_, err := Make(t.Context(), Options{HAProxy: "none.cfg", Out: "x"})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Make(t.Context(), Options{HAProxy: "none.cfg"}); err == nil {
		t.Error("no --out was accepted")
	}
}

// Without a strategy asked for, each backend gets the best that can size it, and what is written can be loaded.
func TestStrategyIsChosenPerBackend(t *testing.T) {
	p, err := makeFrom(t, head+"backend one\n server s 10.0.0.1:1\n server t 10.0.0.2:1\nbackend two\n server s 10.0.0.1:2\n server t 10.0.0.1:3\n", Options{Token: strings.Repeat("t", 32)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"strategy erlang\n", "strategy latency, because servers s and t are both on 10.0.0.1, and erlang counts"} {
		if !strings.Contains(p.Report, want) {
			t.Errorf("%q is not in\n%s", want, p.Report)
		}
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadController(filepath.Join(p.Out, configName))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Nodes) != 2 || c.Apps[0].Policy.Strategy != "erlang" || c.Apps[1].Policy.Strategy != "latency" || c.Apps[1].Servers[0].Node != "" {
		t.Errorf("%+v", c)
	}
}

// Which upstream is which backend. The backend shop has 10.0.0.1 to 3, the backend blog 10.0.0.4.
func TestPairing(t *testing.T) {
	const backends = head + "backend shop\n server s1 10.0.0.1:80\n server s2 10.0.0.2:80\n server s3 10.0.0.3:80 disabled\nbackend blog\n server b 10.0.0.4:80\n"
	const three = "server 10.0.0.1:80; server 10.0.0.2; server 10.0.0.3:80;"
	for name, c := range map[string]struct{ upstreams, want, why string }{
		"the same servers":              {"upstream web { " + three + " }", "shop=web", ""},
		"the name before the first":     {"upstream web { " + three + " }\nupstream shop { " + three + " }", "shop=shop", "paired with upstream shop already"},
		"a part of the same name":       {"upstream shop { server 10.0.0.2:80; }", "shop=shop", ""},
		"a part of another name":        {"upstream web { server 10.0.0.2:80; }", "", "no backend that is taken has the same servers"},
		"the name before HAProxy":       {"upstream shop { server 127.0.0.1:8080; }", "", "127.0.0.1:8080 is not among"},
		"two pairs":                     {"upstream a { server 10.0.0.4:80; }\nupstream b { " + three + " }", "shop=b blog=a", ""},
		"a hash":                        {"upstream shop { hash $uri; " + three + " }", "shop=shop", "with hash $uri each change of a weight moves keys"},
		"another directive":             {"upstream shop { ntlm; " + three + " }", "", `its line "ntlm"`},
		"a backup":                      {"upstream shop { server 10.0.0.1:80; server 10.0.0.2:80 backup; }", "", "is a backup here, and one of those that serve in backend shop"},
		"a backup of its own":           {"upstream web { " + three + " server 10.0.0.9:80 backup; server 10.0.0.10:80 down; }", "shop=web", "server 10.0.0.9-80 10.0.0.9:80 (a backup, and stays one)"},
		"a name for one of them":        {"upstream web { server one.example.com; }\nupstream blog { server four.example.com:80; }", "blog=blog", ""},
		"in stream":                     {"} stream { upstream web { " + three + " }", "shop=web", "stream upstream web"},
		"a name for a server":           {"upstream shop { server example.com; }", "", "is a name"},
		"a socket for a server":         {"upstream shop { server unix:/run/x; }", "", "is a unix socket"},
		"a zone that is too large":      {"upstream shop { zone z 1000m; " + three + " }", "", "the zone size"},
		"a name that nginx alone knows": {"upstream shop+ { " + three + " }", "", "its name is not made of"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := makeFrom(t, backends, Options{Strategy: "latency", Nginx: "events { }\nhttp {\n" + c.upstreams + "\n}\n"})
			if err != nil {
				t.Fatal(err)
			}
			var pairs []string
			app := ""
			for line := range strings.Lines(p.Report) {
				f := strings.Fields(line)
				if len(f) > 2 && f[1] == "backend" {
					app = f[2]
				}
				if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "with nginx upstream "); ok {
					pairs = append(pairs, app+"="+rest)
				}
			}
			if got := strings.Join(pairs, " "); got != c.want || !strings.Contains(p.Report, c.why) {
				t.Errorf("pairs %q, want %q, with %q in\n%s", got, c.want, c.why, p.Report)
			}
			if err := p.Write(); err != nil {
				t.Error(err)
			}
			if _, err := conf.LoadController(filepath.Join(p.Out, configName)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVariant(t *testing.T) {
	for text, want := range map[string]string{
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17": "2.6", "HAProxy version 2.9.1": "2.6", "HAProxy version 3.0.11": "3.0", "HAProxy version 3.4-dev1": "3.0",
		"HA-Proxy version 2.2.9": "", "HAProxy version 2.5.0": "", "": "2.6", "HAProxy version ?": "2.6",
	} {
		if got, err := Variant(text); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestFreeCounter(t *testing.T) {
	for text, want := range map[string]string{
		"": "sc2", " track-sc2 src": "sc1", " # track-sc2 src": "sc2", "a track-sc2 src\nb sc1_conn_cnt": "sc0", "track-sc0 track-sc1 track-sc2": "",
		"  # tidegate begin\n track-sc2 be_name\n  # tidegate end\n": "sc2",
	} {
		if got := freeCounter(strings.Split(text, "\n")); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
