package nginxgen_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// site is a real nginx that includes our file, in front of small servers that count.
type site struct {
	t       *testing.T
	rig     *harness.Rig
	nginx   *harness.Nginx
	url     string
	file    string
	addrs   []string
	hits    []*atomic.Int64
	set     *metrics.Set
	opts    nginxgen.Options
	clients http.Client
}

// siteOptions are what differs between the tests. In HTTP, {{DIR}} is the rig's folder.
type siteOptions struct {
	servers int
	http    string // more lines of the http block
	include string // the include line; "" names the file
	noFile  bool   // do not write the file first
	// prepare, when set, sees the site before nginx starts and returns the main configuration as it is to be.
	prepare func(s *site, main string) string
}

func newSite(t *testing.T, so siteOptions) *site {
	t.Helper()
	harness.Need(t, "nginx")
	s := &site{t: t, rig: harness.ForTest(t), set: metrics.NewSet()}
	for range max(so.servers, 1) {
		s.addServer()
	}
	port, err := s.rig.Port()
	s.must(err)
	s.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	s.must(os.Mkdir(s.rig.Path("conf"), 0o755))
	s.file = s.rig.Path("conf", "upstreams.conf")
	if !so.noFile {
		text, err := nginxgen.Render(s.model(slices.Repeat([]int{1}, len(s.addrs))...))
		s.must(err)
		s.must(os.WriteFile(s.file, text, 0o644))
	}
	if so.include == "" {
		so.include = "include " + s.file + ";"
	}
	pass := "proxy_pass http://app;"
	if so.noFile {
		pass = "return 204;"
	}
	body := fmt.Sprintf("%s\n%s\nserver { listen 127.0.0.1:%d; location / { %s } }\n", so.include, so.http, port, pass)
	main := s.rig.NginxMain("nginx", strings.ReplaceAll(body, "{{DIR}}", s.rig.Dir))
	if so.prepare != nil {
		main = so.prepare(s, main)
	}
	s.nginx, err = s.rig.StartNginx("nginx", main)
	s.must(err)
	s.must(harness.WaitListening(fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second))
	s.opts = nginxgen.Options{File: s.file, Main: s.nginx.Conf, Prefix: s.rig.Dir, Metrics: s.set,
		MinMembership: -1, MinWeights: -1, Quiet: -1, MaxWait: -1, PerMinute: -1, OldGenerations: -1}
	s.clients = http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	s.waitWorkers()
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) addServer() {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	hits := new(atomic.Int64)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hits.Add(1)
		fmt.Fprintln(w, ln.Addr())
	})}
	go func() { _ = srv.Serve(ln) }()
	s.t.Cleanup(func() { srv.Close() })
	s.addrs = append(s.addrs, ln.Addr().String())
	s.hits = append(s.hits, hits)
}

// model is the upstream app with these weights; 0 is down.
func (s *site) model(weights ...int) nginxgen.Model {
	u := nginxgen.Upstream{Name: "app", Zone: "64k"}
	for i, w := range weights {
		u.Servers = append(u.Servers, nginxgen.Server{Address: s.addrs[i], Weight: w, Down: w == 0, Name: fmt.Sprint("node-", i)})
	}
	return nginxgen.Model{Upstreams: []nginxgen.Upstream{u}, Why: "the test wants it"}
}

func (s *site) manager() *nginxgen.Manager {
	s.t.Helper()
	m, err := nginxgen.New(s.opts)
	s.must(err)
	return m
}

// apply runs one Apply and wants this result.
func (s *site) apply(m *nginxgen.Manager, want nginxgen.Model, result nginxgen.Result) error {
	s.t.Helper()
	out, err := m.Apply(context.Background(), time.Now(), want)
	if out.Result != result {
		s.t.Fatalf("got %v (%s, error %v), want %v", out.Result, out.Why, err, result)
	}
	if bad := out.Result != nginxgen.Applied && out.Result != nginxgen.Unchanged && out.Result != nginxgen.Deferred; bad != (err != nil) {
		s.t.Fatalf("%v came with the error %v", out.Result, err)
	}
	return err
}

// says wants one sentence with these words.
func (s *site) says(err error, words ...string) {
	s.t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			s.t.Fatalf("want an error with %q, got: %v", w, err)
		}
	}
}

func (s *site) liveBytes() []byte {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	s.must(err)
	return text
}

func (s *site) isLive(text []byte) bool {
	live, err := os.ReadFile(s.file)
	return err == nil && bytes.Equal(live, text)
}

// unchanged runs f and wants the same live bytes and the same worker processes after it, and nothing staged left.
func (s *site) unchanged(f func()) {
	s.t.Helper()
	before, workers := s.liveBytes(), s.workers()
	f()
	if after := s.liveBytes(); !bytes.Equal(before, after) {
		s.t.Fatalf("the live file changed:\n%s", after)
	}
	if now := s.workers(); !slices.Equal(workers, now) {
		s.t.Fatalf("workers were %v and are %v", workers, now)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(s.file), ".upstreams.conf.stage")); err == nil {
		s.t.Fatal("the staged file is still there")
	}
}

// workers are the pids of the worker processes that are not leaving, sorted.
func (s *site) workers() []string {
	s.t.Helper()
	pid := s.nginx.PID()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	s.must(err)
	var out []string
	for _, child := range strings.Fields(string(text)) {
		title, _ := os.ReadFile("/proc/" + child + "/cmdline")
		// A child that has just been forked still bears the master's title.
		worker := bytes.HasPrefix(title, []byte("nginx: worker process")) || bytes.HasPrefix(title, []byte("nginx: master process"))
		if worker && !bytes.Contains(title, []byte("shutting down")) {
			out = append(out, child)
		}
	}
	slices.Sort(out)
	return out
}

func (s *site) waitWorkers() {
	s.t.Helper()
	s.must(harness.WaitFor("two nginx workers", 10*time.Second, func() bool { return len(s.workers()) == 2 }))
}

// get sends one request and returns the address of the server that answered.
func (s *site) get() (string, error) {
	resp, err := s.clients.Get(s.url)
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

// shares sends n requests and returns how many each server got.
func (s *site) shares(n int) []int64 {
	s.t.Helper()
	before := make([]int64, len(s.hits))
	for i, h := range s.hits {
		before[i] = h.Load()
	}
	for range n {
		if _, err := s.get(); err != nil {
			s.t.Fatalf("a request failed: %v", err)
		}
	}
	for i, h := range s.hits {
		before[i] = h.Load() - before[i]
	}
	return before
}

// metric returns the value of one series.
func (s *site) metric(name string) float64 {
	s.t.Helper()
	var b bytes.Buffer
	s.set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if val, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(val), 64)
			s.must(err)
			return f
		}
	}
	s.t.Fatalf("there is no metric %s in:\n%s", name, b.String())
	return 0
}

// rewriteMain changes the user's main configuration on disk.
func (s *site) rewriteMain(old, new string) {
	s.t.Helper()
	text, err := os.ReadFile(s.nginx.Conf)
	s.must(err)
	if !bytes.Contains(text, []byte(old)) {
		s.t.Fatalf("%q is not in the main configuration", old)
	}
	s.must(os.WriteFile(s.nginx.Conf, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644))
}
