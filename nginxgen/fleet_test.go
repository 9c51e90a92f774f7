package nginxgen_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// fleet is a site with several upstreams, each behind a port of its own: http ones with a file each, and perhaps one for
// nginx's stream block.
type fleet struct {
	*site
	urls map[string]string
}

// newFleet starts with all servers at weight 1. Names that end in * are stream upstreams.
func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	f := &fleet{urls: map[string]string{}}
	newSite(t, siteOptions{servers: 2, noFile: true, include: "include {{DIR}}/conf/*.conf;", prepare: func(s *site, main string) string {
		f.site = s
		return f.prepare(main, names)
	}})
	f.opts.File, f.opts.Folder = "", f.rig.Path("conf")
	f.opts.StreamFile = f.streamFile(names)
	return f
}

// prepare writes the first files and gives each upstream a port.
func (f *fleet) prepare(main string, names []string) string {
	f.t.Helper()
	for path, text := range nginxgen.Files(nginxgen.Options{Folder: f.rig.Path("conf"), StreamFile: f.streamFile(names)}, f.want(equalShares(names)...)) {
		f.must(os.WriteFile(path, text, 0o644))
	}
	var http, stream strings.Builder
	for _, name := range names {
		port, err := f.rig.Port()
		f.must(err)
		f.urls[name] = fmt.Sprintf("http://127.0.0.1:%d/", port)
		if plain, ok := strings.CutSuffix(name, "*"); ok {
			fmt.Fprintf(&stream, "server { listen 127.0.0.1:%d; proxy_pass %s; }\n", port, plain)
		} else {
			fmt.Fprintf(&http, "server { listen 127.0.0.1:%d; location / { proxy_pass http://%s; } }\n", port, name)
		}
	}
	main = strings.Replace(main, "http {", "http {\n"+http.String(), 1)
	if stream.Len() == 0 {
		return main
	}
	return fmt.Sprintf("%s%s\nstream {\ninclude %s;\n%s}\n", harness.NeedStream(f.t), main, f.streamFile(names), stream.String())
}

// streamFile is "" without stream upstreams.
func (f *fleet) streamFile(names []string) string {
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "*") }) {
		return ""
	}
	return f.rig.Path("streams.conf")
}

func equalShares(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, n+" 1 1")
	}
	return out
}

// want reads "NAME WEIGHT WEIGHT" for each upstream; 0 is down.
func (f *fleet) want(lines ...string) nginxgen.Model {
	f.t.Helper()
	m := nginxgen.Model{Why: "the test wants it"}
	for _, line := range lines {
		words := strings.Fields(line)
		name, stream := strings.CutSuffix(words[0], "*")
		u := nginxgen.Upstream{Name: name, Stream: stream, Zone: "64k"}
		for i, word := range words[1:] {
			w, err := strconv.Atoi(word)
			f.must(err)
			u.Servers = append(u.Servers, nginxgen.Server{Address: f.addrs[i], Weight: max(w, 1), Down: w == 0, Name: fmt.Sprint("node-", i)})
		}
		m.Upstreams = append(m.Upstreams, u)
	}
	return m
}

// parts asks an upstream n times and returns how often each server answered.
func (f *fleet) parts(name string, n int) []int {
	f.t.Helper()
	out := make([]int, len(f.addrs))
	for range n {
		addr, err := getURL(f.clients, f.urls[name])
		f.must(err)
		for i, a := range f.addrs {
			if a == addr {
				out[i]++
			}
		}
	}
	return out
}

// serves wants nginx to answer by these weights.
func (f *fleet) serves(lines ...string) {
	f.t.Helper()
	if wrong := f.wrong(lines); wrong != "" {
		f.t.Fatal(wrong)
	}
}

// waitServes gives a reload that a killed process left behind the time to happen.
func (f *fleet) waitServes(lines ...string) {
	f.t.Helper()
	wrong := ""
	if err := harness.WaitFor("the weights", time.Minute, func() bool { wrong = f.wrong(lines); return wrong == "" }); err != nil {
		f.t.Fatalf("%v: %s", err, wrong)
	}
}

func (f *fleet) wrong(lines []string) string {
	f.t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		a, err := strconv.Atoi(words[1])
		f.must(err)
		b, err := strconv.Atoi(words[2])
		f.must(err)
		if got := f.parts(words[0], a+b); got[0] != a || got[1] != b {
			return fmt.Sprintf("%s: %v of %d requests, want %d and %d", words[0], got, a+b, a, b)
		}
	}
	return ""
}

func getURL(c http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return strings.TrimSpace(string(body)), err
}

// files returns the bytes of the visible files, by path.
func (f *fleet) files() map[string]string {
	f.t.Helper()
	out := map[string]string{}
	paths, err := filepath.Glob(f.rig.Path("conf", "[^.]*"))
	f.must(err)
	if f.opts.StreamFile != "" {
		paths = append(paths, f.opts.StreamFile)
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		f.must(err)
		out[p] = string(text)
	}
	return out
}

// tests runs nginx's own test of what lies there.
func (f *fleet) tests() error {
	f.t.Helper()
	nginx, err := harness.Find("nginx")
	f.must(err)
	out, err := exec.Command(nginx, "-t", "-q", "-p", f.rig.Dir, "-c", f.nginx.Conf).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func TestSeveralFilesAreOneChange(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		f := newFleet(t, "app", "api", "tcp*")
		m := with(f.manager())
		f.must(nginxgen.Check(t.Context(), f.opts))
		f.must(m.Recover(t.Context()))
		f.apply(m, f.want("app 1 2", "api 2 1", "tcp* 3 1"), nginxgen.Applied)
		f.serves("app 1 2", "api 2 1", "tcp* 3 1")
		if n := f.metric(`tidegate_nginx_generation`); n != 1 {
			t.Fatalf("three files took %v reloads", n)
		}
		good := f.files()
		if len(good) != 3 {
			t.Fatalf("want one file for each upstream: %v", good)
		}

		// What is bad in one file keeps all of them back.
		f.rewriteMain("http {", "http {\nupstream other { server 127.0.0.1:9; }\n")
		f.says(f.apply(m, f.want("app 2 2", "api 2 2", "tcp* 2 2", "other 1 1"), nginxgen.Refused), `duplicate upstream "other"`)
		f.keeps(good)
		// A reload that fails takes all back.
		f.opts.ReloadCommand = []string{"/bin/false"}
		f.says(f.apply(with(f.manager()), f.want("app 2 2", "api 2 2", "tcp* 2 2"), nginxgen.RolledBack), "/bin/false")
		f.opts.ReloadCommand = nil
		f.keeps(good)
		f.serves("app 1 2", "api 2 1", "tcp* 3 1")

		// A restarted process knows all of it.
		again := with(f.manager())
		f.must(again.Recover(t.Context()))
		f.apply(again, f.want("api 2 1", "app 1 2", "tcp* 3 1"), nginxgen.Unchanged)
		if live, known := again.Live(); !known || len(live.Upstreams) != 3 {
			t.Fatalf("%+v %v", live, known)
		}
	})
}

// keeps wants these very files.
func (f *fleet) keeps(want map[string]string) {
	f.t.Helper()
	now := f.files()
	for path, text := range want {
		if now[path] != text {
			f.t.Fatalf("%s changed:\n%s", path, now[path])
		}
	}
	if len(now) != len(want) {
		f.t.Fatalf("there are %d files, want %d", len(now), len(want))
	}
}

func TestAnUpstreamThatIsNotWantedAnyMore(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		f := newFleet(t, "app", "old")
		m := with(f.manager())
		now := time.Now()
		apply := func(after time.Duration, result nginxgen.Result, lines ...string) {
			t.Helper()
			now = now.Add(after)
			if out, err := m.Apply(t.Context(), now, f.want(lines...)); err != nil || out.Result != result {
				t.Fatalf("%+v %v, want %v", out, err, result)
			}
		}
		apply(0, nginxgen.Applied, "app 1 2", "old 1 1")
		before := f.files()[f.oldFile()]
		// The user's server still passes to it: it stays, and that keeps nothing else back.
		apply(time.Second, nginxgen.Unchanged, "app 1 2")
		apply(time.Second, nginxgen.Applied, "app 2 1")
		f.serves("app 2 1", "old 1 1")
		if got := f.files()[f.oldFile()]; got != before {
			t.Fatalf("the upstream in use changed:\n%s", got)
		}
		// Now nobody does. It is tried again after a while.
		f.rewriteMain("proxy_pass http://old;", "return 204;")
		apply(time.Second, nginxgen.Unchanged, "app 2 1")
		apply(20*time.Minute, nginxgen.Applied, "app 2 1")
		if got := f.files()[f.oldFile()]; strings.Contains(got, "upstream") && strings.Contains(got, "server ") {
			t.Fatalf("the upstream has not gone:\n%s", got)
		}
		f.must(f.tests())
		// The empty file may be removed by hand.
		f.must(os.Remove(f.oldFile()))
		apply(time.Second, nginxgen.Unchanged, "app 2 1")
		apply(time.Second, nginxgen.Applied, "app 1 1", "new 1 1")
		f.serves("app 1 1")
		if _, err := os.Lstat(f.oldFile()); err == nil {
			t.Fatal("the file is back")
		}
		// It comes back when it is wanted again.
		apply(time.Second, nginxgen.Applied, "app 1 1", "old 1 3")
		if !strings.Contains(f.files()[f.oldFile()], "upstream old") {
			t.Fatal("no upstream old")
		}
	})
}

func (f *fleet) oldFile() string { return f.rig.Path("conf", "tidegate-old.conf") }
