package setup

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/tests/harness"
)

var (
	siteRE = regexp.MustCompile(`(?:192\.0\.2\.(\d+)|localhost):(8000|80)\b`)
	pathRE = regexp.MustCompile(`/SITE\b`)
)

// nginxSite copies one of testdata/nginx to a folder of its own, with real addresses: 192.0.2.N:8000 becomes an origin that
// answers "N", localhost:8000 one that answers "1", and 192.0.2.2NN:80 an address to listen at, which listen tells.
func nginxSite(t *testing.T, rig *harness.Rig, name string) (dir string, listen func(n int) string) {
	t.Helper()
	dir = t.TempDir()
	addrs := map[string]string{}
	address := func(m string) string {
		g := siteRE.FindStringSubmatch(m)
		if addrs[m] != "" {
			return addrs[m]
		}
		if g[1] == "" {
			_, port, _ := net.SplitHostPort(originAt(t, "127.0.0.1", "1"))
			addrs[m] = "localhost:" + port
		} else if g[2] == "80" {
			a, err := rig.Addr()
			if err != nil {
				t.Fatal(err)
			}
			addrs[m] = a
		} else {
			addrs[m] = originAt(t, "127.0.0."+g[1], g[1])
		}
		return addrs[m]
	}
	root := filepath.Join("testdata", "nginx", name)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		to := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		out := siteRE.ReplaceAllStringFunc(string(text), address)
		return os.WriteFile(to, []byte(pathRE.ReplaceAllString(out, dir)), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	writePaths(t, dir)
	return dir, func(n int) string { return addrs[fmt.Sprintf("192.0.2.%d:80", n)] }
}

// writePaths makes the file that keeps nginx's folders inside dir.
func writePaths(t *testing.T, dir string) {
	t.Helper()
	text := "access_log off;\n"
	for _, mod := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s/tmp-%[1]s;\n", mod, dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "paths.inc"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func originAt(t *testing.T, host, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, says) }))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String()
}

// texts reads all files below a folder but those that nginx itself writes.
func texts(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, path := range tree(t, dir) {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !fi.Mode().IsRegular() || filepath.Base(path) == "error.log" || strings.HasSuffix(path, ".pid") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = string(text)
	}
	return out
}

var (
	changeRE = regexp.MustCompile(`(?m)^   In (\S+) (before line 1|after line (\d+)|replace lines? (\d+)(?: to (\d+))?)(?: put)? \(.*\):\n\n((?:     [-+] .*\n)+)`)
	escapeRE = regexp.MustCompile(`\\x[0-9a-f]{2}`)
)

// unshown is what a printed line stands for.
func unshown(l string) string {
	return escapeRE.ReplaceAllStringFunc(l, func(x string) string {
		n, _ := strconv.ParseUint(x[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}

// byHand does to the files what the printed changes say, in their order, and fails where an old line is not there.
func byHand(t *testing.T, instructions string) (changes int) {
	t.Helper()
	for _, g := range changeRE.FindAllStringSubmatch(instructions, -1) {
		changes++
		text, err := os.ReadFile(g[1])
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		first, last := 1, 0
		switch {
		case g[3] != "":
			last, _ = strconv.Atoi(g[3])
			first = last + 1
		case g[4] != "":
			first, _ = strconv.Atoi(g[4])
			if last = first; g[5] != "" {
				last, _ = strconv.Atoi(g[5])
			}
		}
		var old, put []string
		cr := ""
		for line := range strings.Lines(g[6]) {
			line = strings.TrimSuffix(line, "\n")[len("     "):]
			if line[0] == '-' {
				old = append(old, unshown(line[2:]))
			} else {
				put = append(put, unshown(line[2:]))
			}
		}
		for i, line := range lines[first-1 : last] {
			if i >= len(old) || strings.TrimSuffix(line, "\r") != old[i] || len(old) != last-first+1 {
				t.Fatalf("%s:%d is %q; the old lines are printed as %q", g[1], first+i, line, old)
			}
			if strings.HasSuffix(line, "\r") {
				cr = "\r"
			}
		}
		for i := range put {
			put[i] += cr
		}
		lines = slices.Replace(lines, first-1, last, put...)
		if err := os.WriteFile(g[1], []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return changes
}

// sed runs the sed lines of the instructions between two headings, and returns how many there were.
func sed(t *testing.T, instructions, from, to string) (n int) {
	t.Helper()
	_, part, _ := strings.Cut(instructions, from)
	part, _, _ = strings.Cut(part, to)
	for line := range strings.Lines(part) {
		if cmd, ok := strings.CutPrefix(line, "     sed "); ok {
			n++
			if out, err := exec.Command("sh", "-ec", "sed "+cmd).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		}
	}
	return n
}

// copyInclude does the instructions' cp lines, and returns where the first leads.
func copyInclude(t *testing.T, p *Plan) (to string) {
	t.Helper()
	g := regexp.MustCompile(`(?m)^     cp (\S+tidegate-(?:upstreams|stream)\.conf) (\S+)$`).FindAllStringSubmatch(p.Instructions, -1)
	if g == nil {
		t.Fatalf("no cp line in\n%s", p.Instructions)
	}
	for _, g := range g {
		text, err := os.ReadFile(g[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(g[2], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return g[0][2]
}

// nginxTest is `nginx -t` on a site, "" when it passes without a word.
func nginxTest(t *testing.T, dir string) string {
	t.Helper()
	bin, err := harness.Find("nginx")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-t", "-q", "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf")).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

// verdicts is "NAME" of each upstream of a report, in order, with a minus before those that are left.
func verdicts(report string) string {
	var out []string
	for _, g := range regexp.MustCompile(`(?m)^  (take |leave)  (?:stream )?upstream (\S+)`).FindAllStringSubmatch(report, -1) {
		out = append(out, map[string]string{"take ": "", "leave": "-"}[g[1]]+g[2])
	}
	return strings.Join(out, " ")
}

// The proof by real use: init reads a configuration and changes nothing; what it prints is done to the files, by hand and by
// its commands, the generated include is put in its place; then the real nginx accepts it all and serves.
func TestPrintedChangesMakeAGoodNginx(t *testing.T) {
	harness.Need(t, "nginx", "sed")
	for name, c := range map[string]provenSite{
		"maps":   {"shop api -lonely -unused", 3, 0, []string{"nginx.conf:28: the method stands after keepalive", "it has only one server", "(down, and stays so)"}},
		"globs":  {"shop api", 2, 0, nil},
		"regex":  {"shop -one cafe", 3, 1, nil},
		"stream": {"-both db -shop -both shop", 4, 0, []string{"included in both http and stream", "what is spoken in a stream is not known here", "upstream shop of http"}},
		"shared": {"shop names -sockets spare keyed -limited -differs -cache -twin-a -twin-b", 5, 0, []string{
			"is a unix socket", "(a backup, and stays one)", "with hash $cookie_id consistent each", "has max_conns=5, and the upstream no zone", "differ (max_fails=2",
			"memcached_pass alone", "stands in upstream twin-b", "upstreams.conf:7: the method stands after keepalive", "site-a.conf:8: proxy_pass goes straight to",
		}},
		"wide":    {"db -shop shop pool", 5, 0, []string{"localhost:", " now)", "(down, and stays so)", "(a backup, and stays one)", "upstream shop of http", "with hash $cookie_sid$uri consistent each"}},
		"oneline": {"shop api", 1, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.prove(t, name)
		})
	}
}

// provenSite says what init finds in one of testdata/nginx.
type provenSite struct {
	// upstreams as verdicts gives them.
	upstreams string
	// changes are printed, and of those hand have no command.
	changes, hand int
	says          []string
}

func (c provenSite) prove(t *testing.T, name string) {
	rig := harness.ForTest(t)
	dir, listen := nginxSite(t, rig, name)
	asked := "nginx"
	if said := nginxTest(t, dir); strings.Contains(said, `unknown directive "stream"`) {
		if !loadStream(t, dir) {
			asked = ""
		}
	} else if strings.Contains(said, "[emerg]") {
		t.Fatalf("nginx does not take the configuration of the test: %s", said)
	}
	was := texts(t, dir)
	o := Options{Nginx: filepath.Join(dir, "nginx.conf"), Out: filepath.Join(t.TempDir(), "out"), AskNginx: asked, Token: strings.Repeat("t", 32), Middleware: "# python\n"}
	p, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(was, texts(t, dir)); d != "" {
		t.Fatalf("init has changed the user's files (-was +is)\n%s", d)
	}
	if got := verdicts(p.Report); got != c.upstreams {
		t.Errorf("taken and left: %s, want %s in\n%s", got, c.upstreams, p.Report)
	}
	for _, want := range append(c.says, "") {
		if !strings.Contains(p.Report, want) || strings.Contains(p.Report, "  error ") {
			t.Errorf("want %q and no error in\n%s", want, p.Report)
		}
	}
	c.apply(t, dir, p, was)
	include := copyInclude(t, p)
	if asked == "" {
		t.Skip("nginx has no stream module, so what it would say is not known")
	}
	if said := nginxTest(t, dir); said != "" {
		t.Fatalf("nginx says %s\n%s", said, p.Instructions)
	}
	serves(t, rig, dir, listen, name == "wide")
	// Done twice, init finds its own block and has nothing to change.
	o.Out = filepath.Join(t.TempDir(), "out")
	p, err = Make(t.Context(), o)
	if err != nil || changeRE.MatchString(p.Instructions) || !strings.Contains(p.Report, include) {
		t.Errorf("a second time: %v\n%s", err, p.Report)
	}
}

// apply does the changes by their commands, takes them back, and does them by hand.
func (c provenSite) apply(t *testing.T, dir string, p *Plan, was map[string]string) {
	t.Helper()
	if n := sed(t, p.Instructions, "tidegate: what to do", "Put it into force"); n != c.changes-c.hand {
		t.Errorf("%d sed lines in\n%s", n, p.Instructions)
	}
	bySed := texts(t, dir)
	sed(t, p.Instructions, "To take it all out again", "\x00")
	if d := cmp.Diff(was, texts(t, dir)); d != "" {
		t.Errorf("taken out again (-was +is)\n%s", d)
	}
	if n := byHand(t, p.Instructions); n != c.changes {
		t.Errorf("%d changes in\n%s", n, p.Instructions)
	}
	if d := cmp.Diff(bySed, texts(t, dir)); d != "" && c.hand == 0 {
		t.Errorf("(-sed +hand)\n%s", d)
	}
}

// loadStream puts nginx's module for stream before a configuration that needs it, false when there is none.
func loadStream(t *testing.T, dir string) bool {
	t.Helper()
	load, ok := harness.Stream(t)
	if !ok {
		return false
	}
	file := filepath.Join(dir, "nginx.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte(load), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	return true
}

// serves starts nginx and asks it for pages, which the upstream's own origins answer; a wide site also through its other
// upstreams, one of them of stream.
func serves(t *testing.T, rig *harness.Rig, dir string, listen func(n int) string, wide bool) {
	t.Helper()
	p, err := rig.Start("nginx", nil, "nginx", "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"), "-g", "daemon off;")
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(listen(200), 20*time.Second); err != nil {
		t.Fatalf("%v\n%s", err, p.Log())
	}
	asks(t, "http://"+listen(200)+"/page", "1", "2")
	if wide {
		asks(t, "http://"+listen(200)+"/pool", "4", "5")
		asks(t, "http://"+listen(201)+"/", "7", "8")
	}
	if err := p.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
}

// asks wants one of two answers.
func asks(t *testing.T, url, one, two string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(body) != one && string(body) != two {
		t.Errorf("%s: %d %q %v", url, resp.StatusCode, body, err)
	}
}

// Debian's own configuration has no upstream; with a site in sites-enabled it has.
func TestDebiansOwnNginx(t *testing.T) {
	const etc = "/etc/nginx"
	if _, err := os.Stat(etc + "/sites-available/default"); err != nil {
		t.Skip("Debian's nginx is not installed")
	}
	harness.Need(t, "nginx")
	o := Options{Nginx: etc + "/nginx.conf", Out: filepath.Join(t.TempDir(), "out")}
	if _, err := Make(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no upstream block, so there is nothing to take over") {
		t.Skipf("this machine's %s is not as Debian installs it: %v", etc, err)
	}
	rig := harness.ForTest(t)
	dir := t.TempDir()
	copyDebian(t, etc, dir)
	listen, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	site := fmt.Sprintf("upstream shop {\n\tserver %s;\n\tserver %s;\n}\nserver {\n\tlisten %s;\n\tinclude %s/proxy_params;\n\tlocation / { proxy_pass http://shop; }\n}\n",
		originAt(t, "127.0.0.1", "1"), originAt(t, "127.0.0.2", "2"), listen, dir)
	if err := os.WriteFile(filepath.Join(dir, "sites-enabled", "shop"), []byte(site), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Nginx, o.AskNginx = filepath.Join(dir, "nginx.conf"), "nginx"
	p, err := Make(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(); err != nil {
		t.Fatal(err)
	}
	if got := verdicts(p.Report); got != "shop" || !strings.HasSuffix(p.Report, "No problems.\n") {
		t.Errorf("%s in\n%s", got, p.Report)
	}
	if n := byHand(t, p.Instructions); n != 1 {
		t.Errorf("%d changes in\n%s", n, p.Instructions)
	}
	if include := copyInclude(t, p); include != filepath.Join(dir, "conf.d", upstreamsName) {
		t.Errorf("the include goes to %s", include)
	}
	if said := nginxTest(t, dir); said != "" {
		t.Fatal(said)
	}
	serves(t, rig, dir, func(int) string { return listen }, false)
	c, err := conf.LoadController(filepath.Join(p.Out, configName))
	if err != nil || len(c.HAProxy) != 0 || c.SPOA != nil || c.Apps[0].Upstream.Name != "shop" || c.Apps[0].Policy.Strategy != "busy_ratio" || len(c.Nodes) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// copyDebian copies /etc/nginx with its own paths changed to those of dir; the default site would need port 80.
func copyDebian(t *testing.T, etc, dir string) {
	t.Helper()
	err := filepath.WalkDir(etc, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(etc, path)
		to := filepath.Join(dir, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		if filepath.Dir(rel) == "sites-enabled" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil // a dangling link
		}
		out := strings.NewReplacer(etc, dir, "/run/nginx.pid", dir+"/nginx.pid", "/var/log/nginx", dir).Replace(string(text))
		return os.WriteFile(to, []byte(out), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
