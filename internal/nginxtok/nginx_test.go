package nginxtok

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/tests/harness"
)

var emergRE = regexp.MustCompile(`(?s)\[emerg\] (?:\d+#\d+: )?(.*) in \S+nginx\.conf:(\d+)\n`)

// nginxSays runs the real nginx on a main configuration and returns what it refuses and on which line, "" and 0 when it passes.
func nginxSays(t *testing.T, dir, text string) (string, int) {
	t.Helper()
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := harness.Find("nginx")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-t", "-q", "-p", dir, "-c", path, "-e", "stderr").CombinedOutput()
	if err == nil {
		return "", 0
	}
	g := emergRE.FindStringSubmatch(string(out))
	if g == nil {
		t.Fatalf("%v: %s", err, out)
	}
	line, _ := strconv.Atoi(g[2])
	return g[1], line
}

// Where general parsers and nginx part: both accept, or both refuse on the same line.
func TestAcceptsWhatNginxAccepts(t *testing.T) {
	harness.Need(t, "nginx")
	dir := t.TempDir()
	site := func(inside string) string {
		return fmt.Sprintf("pid %s/pid;\nerror_log stderr;\nevents { }\nhttp {\nclient_body_temp_path %[1]s/a;\nproxy_temp_path %[1]s/b;\nfastcgi_temp_path %[1]s/c;\nuwsgi_temp_path %[1]s/d;\nscgi_temp_path %[1]s/e;\n%s\n}\n", dir, inside)
	}
	for name, inside := range map[string]string{
		"a stray brace":                "}\n# the next brace has no block",
		"two semicolons":               "sendfile on;;",
		"a brace without a word":       "{ }",
		"an escaped semicolon":         `server { location ~ ^/(.*)\;$ { return 404; } }`,
		"an escaped space":             `server { location ~ ^/a\ b$ { return 404; } }`,
		"an escaped brace":             `server { location ~ ^/a\{b$ { return 404; } }`,
		"a closing brace in a regex":   `server { location ~ ^/a}b$ { return 404; } }`,
		"a backtick":                   "server { location ~ ^/a`b$ { return 404; } }",
		"a NUL in a comment":           "# \x00\nsendfile on;",
		"a backslash before the quote": `map $uri $x { a "c:\\"; b "d"; }`,
		"a quote inside a word":        `map $uri $x { a b"c; }`,
		"a word after a quote":         `map $uri $x { a "b"c; }`,
		"a bracket after a quote":      `server { if ($uri = "/a"){ return 404; } }`,
		"a comment between":            "server { if ($uri = /a) # x {\n { return 404; } }",
		"a comment after a quote":      `map $uri $x { a "b"# c` + "\n; }",
		"a variable in braces":         `map $uri $x { a ${uri}b; }`,
		"a variable that is open":      `map $uri $x { a "${uri"; }`,
		"a quote of two lines":         "log_format f 'a\n{b};\nc';\nsendfile on;",
		"a quote that is open":         "map $uri $x { a \"b; }\n",
		"a block that is open":         "server { ",
		"lines that end with \\r\\n":   "upstream a {\r\n server 127.0.0.1:1; # }\r\n}\r",
		"a form feed":                  "sendfile\fon;",
		"Latin-1 bytes":                "map $uri $x { \xe4 \xff; }",
		"a comment at the very end":    "#",
	} {
		t.Run(name, func(t *testing.T) {
			text := site(inside)
			_, err := Parse(text, 64)
			said, line := nginxSays(t, dir, text)
			syntax := strings.HasPrefix(said, "unexpected")
			if (err != nil) != syntax {
				t.Fatalf("we say %v, nginx says %q", err, said)
			}
			if err != nil && err.(*Error).Line != line {
				t.Errorf("we say %v, nginx says %q on line %d", err, said, line)
			}
		})
	}
}

// The words themselves: nginx quotes a directive that it does not know.
func TestWordsAreNginxs(t *testing.T) {
	harness.Need(t, "nginx")
	dir := t.TempDir()
	for _, word := range []string{
		`a`, `"a b"`, `'a;{}'`, `a"b`, `\"a`, `a\'b`, `a\\b`, `a\tb`, `a\qb`, `a\ b`, `a\;b`, `a\{b`, `a}b`, `${a}b`, `"${a}"`, `$${a`, `"a\"b\\"`, `'a"\'b'`, "`a", `a#b`, "\"a\nb\"", "\\\na",
		`"\\n"`, `\\\\n`, `\`, `a\`,
	} {
		text := "\n" + word + " x;\n"
		said, line := nginxSays(t, dir, text)
		ds, err := Parse(text, 64)
		if err != nil {
			t.Errorf("%q: %v; nginx says %q", word, err, said)
			continue
		}
		d := ds[0]
		if want := `unknown directive "` + d.Name() + `"`; said != want || line != d.Last {
			t.Errorf("%q: %q until line %d; nginx says %q on line %d", word, d.Name(), d.Last, said, line)
		}
	}
}
