package setup

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/tests/harness"
)

// writeSite makes files below a new folder and returns it.
func writeSite(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "/SITE", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// makeNginx plans from an nginx.conf alone.
func makeNginx(t *testing.T, dir string, o Options) (*Plan, error) {
	t.Helper()
	o.Nginx, o.Out = filepath.Join(dir, "nginx.conf"), filepath.Join(t.TempDir(), "out")
	o.Token, o.Middleware, o.Lookup = strings.Repeat("t", 32), "# python\n", lookup
	return Make(t.Context(), o)
}

// lookup stands in for DNS.
func lookup(_ context.Context, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, ip := range map[string][]string{
		"localhost": {"127.0.0.1", "::1", "127.0.0.1"}, "one.example.com": {"10.0.0.9"}, "four.example.com": {"10.0.0.4"}, "alias.example.com": {"10.0.0.9"}, "mail.example.com": {"fd00::25"},
		"app.example.com": {"10.1.0.2", "10.1.0.1"}, "six.example.com": {"fd00::1", "fd00::2"}, "zero.example.com": {"0.0.0.0"},
	}[host] {
		out = append(out, netip.MustParseAddr(ip))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

const (
	two  = "server 10.0.0.1:8000; server 10.0.0.2:8000;"
	five = "server 10.0.0.5:1; server 10.0.0.6:1;"
	used = " server { location / { proxy_pass http://shop; } }"
)

// Lua has braces in strings, comments and tables. Debian's nginx has no Lua, so this is for the reader alone.
func TestLuaIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/nginx/lua")); err != nil {
		t.Fatal(err)
	}
	p, err := makeNginx(t, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := verdicts(p.Report); got != "shop -chosen" || !strings.Contains(p.Report, `its line "balancer_by_lua_block" has no counterpart`) {
		t.Errorf("%s in\n%s", got, p.Report)
	}
	if !strings.Contains(p.Instructions, "replace lines 14 to 17 (your own block `upstream shop`") {
		t.Errorf("in\n%s", p.Instructions)
	}
}

func TestWhatNginxSaysIsSaid(t *testing.T) {
	harness.Need(t, "nginx")
	dir := writeSite(t, map[string]string{"nginx.conf": "pid /SITE/pid;\nevents { }\nhttp { upstream shop { " + two + " }\n content_by_what { }\n" + used + "}\n"})
	p, err := makeNginx(t, dir, Options{AskNginx: "nginx"})
	if err != nil {
		t.Fatal(err)
	}
	want := `nginx itself refuses this configuration: unknown directive "content_by_what" in ` + dir + "/nginx.conf:4"
	if !strings.Contains(p.Report, "error    ") || !strings.Contains(p.Report, want) || !strings.Contains(p.Instructions, want) {
		t.Errorf("%s is not said in\n%s\n%s", want, p.Report, p.Instructions)
	}
	if p, err = makeNginx(t, dir, Options{AskNginx: "/nowhere/nginx"}); err != nil || !strings.Contains(p.Report, "nginx itself was not asked about this configuration") {
		t.Errorf("without nginx: %v\n%s", err, p.Report)
	}
	if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
		t.Error("nginx -T has left an empty pid file, which breaks nginx -s reload")
	}
}

// gonginx's known defects, one by one: each must end in what nginx does with the text, or in a refusal that names the line.
func TestGonginxIsNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		http     string
		verdicts string // what is taken and left
		refused  string // or the refusal
	}{
		"a stray brace hides the rest":         {"} }\nhttp { upstream api { " + two + " } ", "", `nginx.conf:3: this is not what nginx reads: unexpected "}"`},
		"two semicolons":                       {"sendfile on;;", "", `nginx.conf:3: this is not what nginx reads: unexpected ";"`},
		"a brace without a name":               {"{ }", "", `nginx.conf:3: this is not what nginx reads: unexpected "{"`},
		"a backslash before the closing quote": {`map $uri $x { a "c:\\"; } upstream api { server a; } map $uri $y { a "d:\\"; }`, "", "nginx.conf:3: the upstream is api by nginx's rules and shop for gonginx"},
		"a backslash before the last quote":    {`map $uri $x { a "c:\\"; }`, "shop", ""},
		"an escaped space":                     {`server { location ~ ^/a\ b$ { } }`, "shop", ""},
		"an escaped brace":                     {`server { location ~ ^/a\{b$ { } }`, "shop", ""},
		"a closing brace in a word":            {`server { location ~ ^/a}b$ { } }`, "shop", ""},
		"a backtick":                           {"server { location ~ ^/`b$ { } }", "shop", ""},
		"an escaped semicolon":                 {`server { location ~ ^/(.*)\;$ { } }`, "shop", ""},
		"Latin-1":                              {"# \xe4\nserver { location /\xe4 { } }", "shop", ""},
		"a length in Lua":                      {"init_by_lua_block { n = #t } ", "shop", ""},
		"a brace in a Lua string":              {"init_by_lua_block { s = '}' }", "shop", ""},
		"a NUL":                                {"# \x00", "", "nginx.conf:3: there is a NUL byte"},
		"bodies that strict mode refuses":      {"geo $g { default 0; } split_clients a $v { * b; } charset_map a b { 80 E282AC; }", "shop", ""},
		"a flag twice":                         {"upstream dup { server 10.0.0.9:1 weight=2 weight=2; }", "", `nginx.conf:3: in upstream dup nginx's rules give "server 10.0.0.9:1 weight=2 weight=2" and gonginx gives "server 10.0.0.9:1 weight=2"`},
		"an upstream that gonginx cannot read": {"upstream odd { hash ^a}b$; server 10.0.0.9:1; server 10.0.0.8:1; }", "-odd shop", ""},
		"an upstream in a comment and a text":  {"# upstream a {\nlog_format l 'upstream a { server 10.0.0.1:1; }';", "shop", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeSite(t, map[string]string{"nginx.conf": "events { }\nhttp {\n" + c.http + "\nupstream shop { " + two + " }\n" + used + "}\n"})
			p, err := makeNginx(t, dir, Options{})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("%v; want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := verdicts(p.Report); got != c.verdicts {
				t.Errorf("%s, want %s in\n%s", got, c.verdicts, p.Report)
			}
		})
	}
}

// The lines of a block are its first and its last, whatever gonginx gives.
func TestLinesOfABlock(t *testing.T) {
	dir := writeSite(t, map[string]string{"nginx.conf": "events { }\nhttp {\nupstream shop {\n" + two + "\n}\n" + used + "}\n"})
	r, err := readNginxTree(filepath.Join(dir, "nginx.conf"))
	if err != nil || r.upstreams[0].Line != 3 || r.upstreams[0].last != 5 {
		t.Errorf("%+v, %v", r.upstreams[0], err)
	}
}

func TestWrongInputsAreOneSentence(t *testing.T) {
	shop := "upstream shop { " + two + " }" + used
	big := "#" + strings.Repeat("x", maxNginxFile)
	for name, c := range map[string]struct {
		files map[string]string
		more  func(dir string) error
		want  string
	}{
		"not nginx's":              {map[string]string{"nginx.conf": "frontend x\n bind :80\n"}, nil, "nginx.conf:3: this is not what nginx reads: unexpected end of file"},
		"a part of a site":         {map[string]string{"nginx.conf": shop}, nil, "has no http block, so it is not nginx's main file"},
		"empty":                    {map[string]string{"nginx.conf": ""}, nil, "has no http block"},
		"no upstreams":             {map[string]string{"nginx.conf": "http { include a.conf; }", "a.conf": ""}, nil, "nginx.conf with 1 file that it includes: no upstream block, so there is nothing to take over"},
		"none to take":             {map[string]string{"nginx.conf": "http { upstream a { server 10.0.0.1; } upstream b { server b; } }"}, nil, `can be taken: a (it has only one server, so there is nothing to choose between); b (its server "b" is a name`},
		"a folder":                 {map[string]string{"nginx.conf/x": ""}, nil, "is a folder; name nginx's main file, such as "},
		"missing":                  {nil, nil, "no such file"},
		"a pipe":                   {nil, func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "nginx.conf"), 0o600) }, "is not a regular file"},
		"a million blocks deep":    {map[string]string{"nginx.conf": strings.Repeat("a{", 1_000_000)}, nil, "nginx.conf:1: this is not what nginx reads: blocks nest deeper than 64"},
		"the same in an include":   {map[string]string{"nginx.conf": "http { include deep.conf; }", "deep.conf": strings.Repeat("a{\n", 1_000_000)}, nil, "deep.conf:65: this is not what nginx reads: blocks nest deeper than 64"},
		"deep behind gonginx only": {map[string]string{"nginx.conf": "http { " + shop + ` map $a $b { x "\\"; y "` + strings.Repeat("a{", 90_000) + `"; } }`}, nil, ""},
		"too large":                {map[string]string{"nginx.conf": big}, nil, "bytes, at most 8388608 are allowed here"},
		"an include of itself":     {map[string]string{"nginx.conf": "http {\ninclude nginx.conf;\n}"}, nil, "nginx.conf:2: the include leads back to "},
		"a loop of two":            {map[string]string{"nginx.conf": "http { include a/*; }", "a/b": "include c;", "c": "\ninclude a/b;"}, nil, "c:2: the include leads back to "},
		"a broken include":         {map[string]string{"nginx.conf": "http { include a/*; }", "a/b": "x;\n}"}, nil, `a/b:2: this is not what nginx reads: unexpected "}"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeSite(t, c.files)
			if c.more != nil {
				if err := c.more(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := makeNginx(t, dir, Options{})
			if c.want == "" && err == nil {
				return
			}
			if err == nil || c.want != "" && !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
				t.Fatalf("%v; want one line with %q", err, c.want)
			}
		})
	}
}

// A chain of includes that never comes back is as endless as a loop.
func TestIncludesNestToABound(t *testing.T) {
	files := map[string]string{"nginx.conf": "http { include 0; }"}
	for i := range 20 {
		files[string(rune('a'+i))] = "include " + string(rune('a'+i+1)) + ";"
	}
	files["0"] = "include a;"
	_, err := readNginxTree(filepath.Join(writeSite(t, files), "nginx.conf"))
	if err == nil || !strings.Contains(err.Error(), "/n:1: includes nest deeper than 16") {
		t.Error(err)
	}
}

// What nginx does not start without is said, and the rest is read all the same.
func TestMissingIncludes(t *testing.T) {
	dir := writeSite(t, map[string]string{
		"nginx.conf": "http {\ninclude mime.types;\ninclude none/*.conf;\ninclude dirs/*;\nupstream shop { " + two + " }" + used + "}\n",
		"dirs/one/x": "", "dirs/two": "gzip on;",
	})
	p, err := makeNginx(t, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nginx.conf:2: include mime.types: no such file or directory", "nginx.conf:4: include dirs/*: it is not a file"} {
		if !strings.Contains(p.Report, "error    "+dir+"/"+want) {
			t.Errorf("not said: %s\n%s", want, p.Report)
		}
	}
	if strings.Contains(p.Report, "none/") {
		t.Error("a pattern that matches nothing is no error to nginx")
	}
}

func TestGlobsAreNginxs(t *testing.T) {
	dir := writeSite(t, map[string]string{"a.conf": "", "b.conf": "", ".c.conf": "", "x/d.conf": "", ".y/e.conf": "", "z.txt": ""})
	for pattern, want := range map[string]string{
		"*.conf": "a.conf b.conf", ".*.conf": ".c.conf", "*/*.conf": "x/d.conf", ".y/*.conf": ".y/e.conf", "[!a].conf": "b.conf", "[^a].conf": "b.conf", "?.conf": "a.conf b.conf", "plain": "plain",
		"[a": "error", "none*": "",
	} {
		got, err := nginxGlob(filepath.Join(dir, pattern))
		for i := range got {
			got[i], _ = filepath.Rel(dir, got[i])
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != want && (want != "error" || err == nil) {
			t.Errorf("%s: %s, %v; want %s", pattern, s, err, want)
		}
	}
}

// What nginx reads and what is read here must be the same files.
func TestDumpIsCompared(t *testing.T) {
	const mark = "# configuration file "
	r := &nginxReader{main: "/n/nginx.conf", texts: map[string]string{"/n/nginx.conf": "a\n" + mark + "/x:\nb\n", "/n/empty": ""}}
	good := mark + "/n/nginx.conf:\na\n" + mark + "/x:\nb\n\n" + mark + "/n//empty:\n\n"
	for name, c := range map[string]struct{ dump, want string }{
		"the same":      {good, ""},
		"one more":      {good + mark + "/n/other:\n\n", "/n/other: nginx reads this file too"},
		"one less":      {strings.Split(good, mark+"/n//")[0], "/n/empty: an include leads to this file here, and nginx does not read it"},
		"another text":  {strings.Replace(good, "a\n", "c\n", 1), "/n/nginx.conf: nginx reads another text"},
		"something odd": {"nginx: hello\n" + good, "the output of nginx -T is not understood"},
	} {
		err := r.compareDump(c.dump)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

func TestPlaceForTheInclude(t *testing.T) {
	isDir := func(p string) bool { return p == "/e/conf.d" || p == "/e/all" }
	http := []string{"http"}
	for name, c := range map[string]struct {
		includes []includeLine
		given    string
		want     nginxFile
	}{
		"Debian":                   {[]includeLine{{http, "/e/mime.types"}, {http, "/e/conf.d/*.conf"}, {http, "/e/all/*"}}, "", nginxFile{include: "/e/conf.d/tidegate-upstreams.conf"}},
		"a folder not there":       {[]includeLine{{http, "/e/none/*.conf"}, {http, "/e/all/*"}}, "", nginxFile{include: "/e/all/tidegate-upstreams.conf"}},
		"other endings":            {[]includeLine{{http, "/e/conf.d/*.vhost"}}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"folders by pattern":       {[]includeLine{{http, "/e/*/*.conf"}}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"in a server":              {[]includeLine{{[]string{"http", "server"}, "/e/conf.d/*.conf"}}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"read in stream too":       {[]includeLine{{http, "/e/conf.d/*.conf"}, {[]string{"stream"}, "/e/conf.d/*"}, {http, "/e/all/*"}}, "", nginxFile{include: "/e/all/tidegate-upstreams.conf"}},
		"read twice":               {[]includeLine{{http, "/e/conf.d/*.conf"}, {http, "/e/conf.d/*"}}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"given and included":       {[]includeLine{{http, "/e/*/*.conf"}}, "/e/up/x.conf", nginxFile{include: "/e/up/x.conf"}},
		"given and not included":   {[]includeLine{{http, "/e/conf.d/*.conf"}}, "/e/x.conf", nginxFile{include: "/e/x.conf", needLine: true}},
		"given, the line is there": {[]includeLine{{http, "/e/x.conf"}}, "/e/x.conf", nginxFile{include: "/e/x.conf"}},
	} {
		if got := placeInclude("http", c.given, "/e/tidegate-upstreams.conf", c.includes, isDir); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	stream := []includeLine{{http, "/e/conf.d/*.conf"}, {[]string{"stream"}, "/e/all/*"}}
	if got := placeInclude("stream", "", "/e/tidegate-stream.conf", stream, isDir); got != (nginxFile{include: "/e/all/tidegate-stream.conf"}) {
		t.Errorf("for stream: %+v", got)
	}
}

// The changes of lines: a whole block, a part of a line, several in one line, an insertion.
func TestChanges(t *testing.T) {
	const text = "a;\r\nu {\n s;\n} # x\nb; v { s; } w { s; }\nc; x {\n s; } d;\nhttp { e; }"
	cut := func(what string) splice {
		i := strings.Index(text, what)
		return splice{from: i, to: i + len(what), why: what[:1], comment: true}
	}
	after := strings.Index(text, "http {") + len("http {")
	got := changesOf("/etc/f", text, []splice{cut("x {\n s; }"), cut("v { s; }"), cut("w { s; }"), cut("u {\n s;\n}"), {from: after, to: after, text: "\n  include i; # tidegate\n"}})
	want := []change{
		{File: "/etc/f", Start: 8, End: 8, Old: []string{"http { e; }"}, New: []string{"http {", "  include i; # tidegate", " e; }"}},
		{File: "/etc/f", Start: 6, End: 7, Old: []string{"c; x {", " s; } d;"}, New: []string{"c;  d;"}, Why: "x"},
		{File: "/etc/f", Start: 5, End: 5, Old: []string{"b; v { s; } w { s; }"}, New: []string{"b;"}, Why: "v; w"},
		{File: "/etc/f", Start: 2, End: 4, Old: []string{"u {", " s;", "} # x"}, New: []string{"#tidegate# u {", "#tidegate#  s;", "#tidegate# } # x"}, Why: "u",
			Sed: "sed -i '2,4s/^/#tidegate# /' /etc/f", SedUndo: "sed -i 's/^#tidegate# //' /etc/f"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for line, want := range map[string]string{"a\tb\r": "a\tb", "é": "é", "\xe9": `\xe9`, "\x1b[31m": `\x1b[31m`, `\x41`: `\x5cx41`, "\u202e": `\xe2\x80\xae`} {
		if got := shownLine(line); got != want || unshown(got) != strings.TrimSuffix(line, "\r") {
			t.Errorf("%q is shown as %q, want %q", line, got, want)
		}
	}
}

// FuzzNginxFile: whatever a file holds, reading it ends, and changes stay inside it.
func FuzzNginxFile(f *testing.F) {
	f.Add("http { include a; upstream b { server 10.0.0.1:1; server 10.0.0.2:1; } server { proxy_pass http://b; } }")
	f.Add("stream { upstream a {\n \"x\\\"\n ${y} }\n'")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		main := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{Nginx: main, Out: filepath.Join(dir, "out"), Token: strings.Repeat("t", 32), Lookup: lookup}
		p, err := Make(t.Context(), o)
		if err != nil {
			return
		}
		for _, g := range changeRE.FindAllString(p.Instructions, -1) {
			if !strings.Contains(g, main) {
				t.Fatalf("a change elsewhere: %s", g)
			}
		}
	})
}
