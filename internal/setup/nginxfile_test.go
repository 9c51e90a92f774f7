package setup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHTTPIncludes(t *testing.T) {
	const text = `include top.conf;
events { include events.conf; }
stream { include stream.conf; }
# http { include comment.conf; }
http
{
    map $a $b { "x{" y; include map.conf; }
    log_format f '{ include "quoted.conf"; }' ${x};
    include 'one.conf'; include two/*.conf;
    server { include server.conf; }
    include three\;x.conf;
}`
	patterns, line := httpIncludes(text)
	if d := cmp.Diff([]string{"one.conf", "two/*.conf", `three\;x.conf`}, patterns); d != "" || line != 6 {
		t.Errorf("line %d (-want +got)\n%s", line, d)
	}
}

func TestUpstreamSpan(t *testing.T) {
	for name, c := range map[string]struct {
		text             string
		line, start, end int
	}{
		"one line":               {"upstream a { server b; }\n", 1, 1, 1},
		"many":                   {"x y;\n  upstream a # {\n{\n server b; # }\n}\nz;", 2, 2, 5},
		"shared at the front":    {"http { upstream a {\n}\n}", 1, 0, 0},
		"shared at the end":      {"upstream a {\n} server { }\n", 1, 0, 0},
		"a comment at the end":   {"upstream a {\n} # a\n", 1, 1, 2},
		"not closed":             {"upstream a {\n", 1, 0, 0},
		"line unknown":           {"upstream a {\n}\n", 0, 0, 0},
		"another word is there":  {"upstreams a {\n}\n", 1, 0, 0},
		"a variable is no block": {"upstream a {\n hash ${x};\n}\n", 1, 1, 3},
	} {
		start, end := upstreamSpan(c.text, c.line)
		if start != c.start || end != c.end {
			t.Errorf("%s: %d to %d, want %d to %d", name, start, end, c.start, c.end)
		}
	}
}

func TestPlaceForTheInclude(t *testing.T) {
	isDir := func(p string) bool { return p == "/e/conf.d" || p == "/e/all" }
	for name, c := range map[string]struct {
		patterns []string
		given    string
		want     nginxFile
	}{
		"Debian":                   {[]string{"/e/mime.types", "/e/conf.d/*.conf", "/e/all/*"}, "", nginxFile{include: "/e/conf.d/tidegate-upstreams.conf"}},
		"a folder not there":       {[]string{"/e/none/*.conf", "/e/all/*"}, "", nginxFile{include: "/e/all/tidegate-upstreams.conf"}},
		"other endings":            {[]string{"/e/conf.d/*.vhost"}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"folders by pattern":       {[]string{"/e/*/*.conf"}, "", nginxFile{include: "/e/tidegate-upstreams.conf", needLine: true}},
		"given and included":       {[]string{"/e/*/*.conf"}, "/e/up/x.conf", nginxFile{include: "/e/up/x.conf"}},
		"given and not included":   {[]string{"/e/conf.d/*.conf"}, "/e/x.conf", nginxFile{include: "/e/x.conf", needLine: true}},
		"given, the line is there": {[]string{"/e/x.conf"}, "/e/x.conf", nginxFile{include: "/e/x.conf"}},
	} {
		if got := placeInclude(Options{Nginx: "/e/nginx.conf", NginxInclude: c.given}, c.patterns, isDir); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func FuzzNginxFile(f *testing.F) {
	f.Add("http { include a; upstream b { server c; } }")
	f.Add("upstream a {\n \"x\\\"\n ${y} }\n'")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		last := 1
		for _, k := range tokens(text) {
			if k.line < last || k.line > lines {
				t.Fatalf("a word on line %d after one on line %d of %d", k.line, last, lines)
			}
			last = k.line
		}
		if _, line := httpIncludes(text); line > lines {
			t.Fatal("a line that is not there")
		}
		for line := range min(lines, 20) {
			if start, end := upstreamSpan(text, line); start > end || end > lines {
				t.Fatalf("lines %d to %d of %d", start, end, lines)
			}
		}
	})
}
