package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/nginxgen/srv"
	"github.com/tidegate/tidegate/tests/harness"
)

// dnsRig is a real nginx that asks our answerer for the servers of its upstream, in front of servers that count.
type dnsRig struct {
	t     *testing.T
	rig   *harness.Rig
	nginx *harness.Nginx
	main  string
	url   string
	addrs []string
	hits  []*atomic.Int64
	web   *webDNS
	opts  nginxgen.Options
	dns   string
	set   *metrics.Set
	http  http.Client
}

// needsResolve skips the test where nginx cannot take servers from DNS.
func needsResolve(t *testing.T) {
	t.Helper()
	harness.Need(t, "nginx")
	err := nginxgen.CheckResolve(t.Context(), nginxgen.Options{File: "/none/a", Main: "/none/b"})
	var old nginxgen.TooOldError
	if errors.As(err, &old) {
		t.Skipf("nginx %s is installed, and 1.27.3 is needed (make test-nginx gets a newer one)", old.Version)
	}
	noError(t, err)
}

// newDNSRig starts nginx with a file of before: all of its servers in the file.
func newDNSRig(t *testing.T, servers int, fallback bool) *dnsRig {
	t.Helper()
	needsResolve(t)
	d := &dnsRig{t: t, rig: harness.ForTest(t)}
	for range servers {
		d.listen("127.0.0.1:0")
	}
	port, err := d.rig.Port()
	noError(t, err)
	dnsPort, err := d.rig.Port()
	noError(t, err)
	d.dns = fmt.Sprintf("127.0.0.1:%d", dnsPort)
	d.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	file := d.rig.Path("conf", "upstreams.conf")
	text, err := nginxgen.Render(webModel(d.wish(slices.Repeat([]int{1}, servers)...), nginxgen.Model{}))
	noError(t, err)
	noError(t, os.Mkdir(d.rig.Path("conf"), 0o755))
	noError(t, os.WriteFile(file, text, 0o644))
	d.main = d.rig.NginxMain("nginx", fmt.Sprintf("include %s;\nserver { listen 127.0.0.1:%d; location / { proxy_pass http://app; } }\n", file, port))
	d.opts = nginxgen.Options{File: file, Main: d.rig.Path("nginx.conf"), Prefix: d.rig.Dir, MinMembership: -1, MinWeights: -1, Quiet: -1}
	d.http = http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	d.startNginx()
	manager, err := nginxgen.New(d.opts)
	noError(t, err)
	d.web = &webDNS{webAdapter: webAdapter{manager: manager}, fallback: fallback}
	d.startAnswerer()
	t.Cleanup(func() { noError(t, d.web.answerer.Close()) })
	return d
}

func (d *dnsRig) startNginx() {
	d.t.Helper()
	var err error
	d.nginx, err = d.rig.StartNginx("nginx", d.main)
	noError(d.t, err)
	noError(d.t, harness.WaitListening(strings.Trim(d.url, "htp:/"), 20*time.Second))
}

// startAnswerer begins with nothing known, as a tidegate that has just been started.
func (d *dnsRig) startAnswerer() {
	d.t.Helper()
	noError(d.t, harness.WaitFor("the answerer's port", 20*time.Second, func() bool {
		d.set = metrics.NewSet()
		a, err := srv.Start(srv.Options{Listen: d.dns, Metrics: d.set})
		d.web.answerer = a
		return err == nil
	}))
}

// listen starts one more server.
func (d *dnsRig) listen(at string) {
	d.t.Helper()
	ln, err := net.Listen("tcp", at)
	noError(d.t, err)
	hits := new(atomic.Int64)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		fmt.Fprintln(w, ln.Addr())
	})}
	go func() { _ = s.Serve(ln) }()
	d.t.Cleanup(func() { s.Close() })
	d.addrs, d.hits = append(d.addrs, ln.Addr().String()), append(d.hits, hits)
}

// wish is the upstream with these weights for the first servers.
func (d *dnsRig) wish(weights ...int) []control.WebUpstream {
	u := control.WebUpstream{Name: "app", Zone: "256k"}
	for i, w := range weights {
		u.Servers = append(u.Servers, control.WebServer{Name: fmt.Sprint("node-", i), Address: d.addrs[i], Weight: w})
	}
	return []control.WebUpstream{u}
}

func (d *dnsRig) apply(wish []control.WebUpstream) control.WebOutcome {
	d.t.Helper()
	out, err := d.web.Apply(context.Background(), time.Now(), wish)
	noError(d.t, err)
	return out
}

func (d *dnsRig) get() (int, error) {
	resp, err := d.http.Get(d.url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// shares sends n requests, none of which may fail, and returns how many each server got.
func (d *dnsRig) shares(n int) []int64 {
	d.t.Helper()
	before := make([]int64, len(d.hits))
	for i, h := range d.hits {
		before[i] = h.Load()
	}
	for range n {
		if code, err := d.get(); err != nil || code != http.StatusOK {
			d.t.Fatalf("a request failed: %d %v", code, err)
		}
	}
	for i, h := range d.hits {
		before[i] = h.Load() - before[i]
	}
	return before
}

// become waits until the shares of a hundred requests are these, one more or less, and returns how long that took.
func (d *dnsRig) become(want ...int64) time.Duration {
	d.t.Helper()
	began := time.Now()
	var got []int64
	for time.Since(began) < 60*time.Second {
		got = d.shares(100)
		if slices.EqualFunc(got, want, func(a, b int64) bool { return a >= b-1 && a <= b+1 }) {
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.t.Fatalf("the shares are %v after a minute, want %v", got, want)
	return 0
}

// children are the processes of the nginx master.
func (d *dnsRig) children() string {
	d.t.Helper()
	pid := d.nginx.PID()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	noError(d.t, err)
	return string(text)
}

// waitTaken waits until nginx has proven to have these weights.
func (d *dnsRig) waitTaken(weights ...int) {
	d.t.Helper()
	var got map[string]map[string]int
	var known bool
	err := harness.WaitFor("nginx's second question", 60*time.Second, func() bool {
		got, known = d.web.Live()
		same := known
		for i, w := range weights {
			same = same && got["app"][fmt.Sprint("node-", i)] == w
		}
		return same
	})
	if err != nil {
		d.t.Fatalf("%v: known %t %v, want %v", err, known, got, weights)
	}
}

// refused is how many questions for servers had no answer.
func (d *dnsRig) refused() float64 {
	d.t.Helper()
	var b bytes.Buffer
	d.set.WritePrometheus(&b)
	var n float64
	for line := range strings.Lines(b.String()) {
		if text, ok := strings.CutPrefix(line, `tidegate_nginx_dns_queries_total{type="srv",answer="servfail"} `); ok {
			_, err := fmt.Sscan(text, &n)
			noError(d.t, err)
		}
	}
	return n
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
