package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/internal/quiet"
)

var errStub = errors.New("the stub is broken")

func quietLog() *quiet.Log { return quiet.New(slog.New(slog.DiscardHandler), 0) }

// options are good ones.
func options(t *testing.T) Options {
	dir := t.TempDir()
	return Options{Node: "n1", Listen: "127.0.0.1:9101", Log: slog.New(slog.DiscardHandler),
		Apps: []App{{Name: "shop", Source: filemarks.New(dir), Actuator: signals.NewGunicorn(dir+"/shop.pid", 2, 6), Min: 2, Max: 6}}}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(options(t)); err != nil {
		t.Fatal(err)
	}
	second := func(change func(*App)) func(*Options) {
		return func(o *Options) {
			b := App{Name: "b", Source: filemarks.New("/b"), Actuator: signals.NewGunicorn("/b.pid", 1, 2), Min: 1, Max: 2}
			change(&b)
			o.Apps = append(o.Apps, b)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no node", func(o *Options) { o.Node = "" }, "node's name"},
		{"odd node", func(o *Options) { o.Node = "a b" }, "node's name"},
		{"all addresses", func(o *Options) { o.Listen = "0.0.0.0:9101" }, "no token"},
		{"all addresses, IPv6", func(o *Options) { o.Listen = "[::]:9101" }, "no token"},
		{"a real address", func(o *Options) { o.Listen = "192.0.2.1:9101" }, "no token"},
		{"mapped address", func(o *Options) { o.Listen = "[::ffff:192.0.2.1]:9101" }, "no token"},
		{"no host", func(o *Options) { o.Listen = ":9101" }, "IP address"},
		{"a name", func(o *Options) { o.Listen = "example.org:9101" }, "IP address"},
		{"no port", func(o *Options) { o.Listen = "127.0.0.1" }, "ADDRESS:PORT"},
		{"port 0", func(o *Options) { o.Listen = "127.0.0.1:0" }, "port"},
		{"port beyond", func(o *Options) { o.Listen = "127.0.0.1:65536" }, "port"},
		{"relative socket", func(o *Options) { o.Listen = "unix:agent.sock" }, "absolute"},
		{"long socket", func(o *Options) { o.Listen = "unix:/" + strings.Repeat("x", 107) }, "107"},
		{"odd token", func(o *Options) { o.Token = "a b" }, "token"},
		{"fast scans", func(o *Options) { o.ScanEvery = time.Millisecond }, "20ms"},
		{"no applications", func(o *Options) { o.Apps = nil }, "applications"},
		{"odd application", second(func(a *App) { a.Name = "../x" }), "application's name"},
		{"same name", second(func(a *App) { a.Name = "shop" }), "two applications"},
		{"same pid file", func(o *Options) { b := o.Apps[0]; b.Name, b.Source = "b", nil; o.Apps = append(o.Apps, b) }, "share"},
		{"same marks", func(o *Options) { b := o.Apps[0]; b.Name, b.Actuator = "b", nil; o.Apps = append(o.Apps, b) }, "share"},
		{"nothing to look at", second(func(a *App) { a.Source, a.Actuator = nil, nil }), "neither"},
		{"min 0", second(func(a *App) { a.Min = 0 }), "1 to 1024"},
		{"max 1025", second(func(a *App) { a.Max = 1025 }), "1 to 1024"},
		{"min above max", second(func(a *App) { a.Min = 3 }), "1 to 1024"},
	} {
		o := options(t)
		c.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one sentence with %q", c.name, err, c.want)
		}
	}
	for _, listen := range []string{"127.0.0.1:1", "127.8.8.8:9101", "[::1]:9101", "localhost:9101", "unix:/run/x.sock"} {
		o := options(t)
		o.Listen = listen
		if _, err := New(o); err != nil {
			t.Errorf("%s without a token: %v", listen, err)
		}
	}
	o := options(t)
	o.Listen, o.Token = "0.0.0.0:9101", "secret"
	if _, err := New(o); err != nil {
		t.Errorf("all addresses with a token: %v", err)
	}
}

func TestAPI(t *testing.T) {
	a, err := New(options(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	target := "/v1/apps/shop/target"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"report", "GET", "/v1/report", "", 200, `"apps":{"shop":{"known":false`},
		{"report, wrong method", "POST", "/v1/report", "", 405, "GET only"},
		{"health", "GET", "/healthz", "", 200, "ok"},
		{"not ready yet", "GET", "/readyz", "", 503, "has not been looked at"},
		{"metrics", "GET", "/metrics", "", 200, ""},
		{"nothing there", "GET", "/v2/report", "", 404, "nothing at"},
		{"below min", "PUT", target, `{"workers":1,"epoch":5}`, 400, "2 to 6"},
		{"above max", "PUT", target, `{"workers":7,"epoch":5}`, 400, "2 to 6"},
		{"negative", "PUT", target, `{"workers":-3,"epoch":5}`, 400, "2 to 6"},
		{"not whole", "PUT", target, `{"workers":2.5,"epoch":5}`, 400, "workers has to be a whole number, not number 2.5"},
		{"a text", "PUT", target, `{"workers":"3","epoch":5}`, 400, "workers has to be a whole number, not string"},
		{"too large for a number", "PUT", target, `{"workers":99999999999999999999,"epoch":5}`, 400, "JSON object"},
		{"negative epoch", "PUT", target, `{"workers":3,"epoch":-5}`, 400, "JSON object"},
		{"no epoch", "PUT", target, `{"workers":3}`, 400, "both"},
		{"no workers", "PUT", target, `{"epoch":3}`, 400, "both"},
		{"null", "PUT", target, `null`, 400, "both"},
		{"unknown field", "PUT", target, `{"workers":3,"epoch":5,"force":true}`, 400, "force"},
		{"no JSON", "PUT", target, `workers=3`, 400, "JSON object"},
		{"empty", "PUT", target, ``, 400, "JSON object"},
		{"a list", "PUT", target, `[3,5]`, 400, "JSON object"},
		{"two objects", "PUT", target, `{"workers":3,"epoch":5}{"workers":4,"epoch":5}`, 400, "after"},
		{"too long", "PUT", target, `{"workers":3,"epoch":5` + strings.Repeat(" ", 5000) + `}`, 413, "4096"},
		{"unknown application", "PUT", "/v1/apps/other/target", `{"workers":3,"epoch":5}`, 404, "no application"},
		{"wrong method", "POST", target, `{"workers":3,"epoch":5}`, 405, "PUT only"},
		{"nothing has changed so far", "GET", "/v1/report", "", 200, `"target":0,"ordered":false,"epoch":0`},
		{"good", "PUT", target, `{"workers":3,"epoch":5}`, 200, `"target":3,"ordered":true,"epoch":5`},
		{"again", "PUT", target, `{"workers":3,"epoch":5}`, 200, `"target":3,"ordered":true,"epoch":5`},
		{"same epoch, other count", "PUT", target, `{"workers":4,"epoch":5}`, 200, `"target":4,"ordered":true,"epoch":5`},
		{"older epoch", "PUT", target, `{"workers":2,"epoch":4}`, 409, "older than 5"},
		{"refused changes nothing", "GET", "/v1/report", "", 200, `"target":4,"ordered":true,"epoch":5`},
		{"newer epoch", "PUT", target, `{"workers":2,"epoch":18446744073709551615}`, 200, `"target":2,"ordered":true,"epoch":18446744073709551615`},
	} {
		req, err := http.NewRequest(c.method, srv.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d %s, want %d with %q", c.name, resp.StatusCode, body, c.status, c.want)
		}
		var e struct{ Error string }
		if c.status >= 400 && (json.Unmarshal(body, &e) != nil || e.Error == "") {
			t.Errorf("%s: the error %s is not {\"error\":...}", c.name, body)
		}
	}
}

func TestToken(t *testing.T) {
	o := options(t)
	o.Token = "right"
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a.Handler())
	defer srv.Close()
	get := func(path, auth string) int {
		req, err := http.NewRequest("GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, path := range []string{"/v1/report", "/metrics"} {
		for _, auth := range []string{"", "right", "Bearer", "Bearer ", "Bearer wrong", "Bearer right ", "Bearer rightx", "Basic right"} {
			want := 401
			if auth == "Bearer right " { // net/http trims header values
				want = 200
			}
			if got := get(path, auth); got != want {
				t.Errorf("%s with %q: %d, want %d", path, auth, got, want)
			}
		}
		if got := get(path, "Bearer right"); got != 200 {
			t.Errorf("%s with the token: %d", path, got)
		}
	}
	if get("/healthz", "") != 200 || get("/readyz", "") != 503 {
		t.Error("health wants a token")
	}
	good, err := NewClient(ClientOptions{URL: srv.URL, Token: "right"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := good.Report(context.Background()); err != nil {
		t.Error(err)
	}
	bad, err := NewClient(ClientOptions{URL: srv.URL, Token: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	var status *StatusError
	if _, err := bad.SetTarget(context.Background(), "shop", 3, 1); !errors.As(err, &status) || status.Code != 401 {
		t.Errorf("a wrong token: %v", err)
	}
	if strings.Contains(status.Error(), "wrong token") || strings.Contains(status.Error(), "right") {
		t.Errorf("the token shows in %q", status.Error())
	}
}

// The faults here come from a fake agent, because the real one does not show them.
func TestClientRefusesAbsurdAnswers(t *testing.T) {
	answer, status := "", 200
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer srv.Close()
	c, err := NewClient(ClientOptions{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	app := func(fields string) string { return `{"node":"n","apps":{"a":{` + fields + `}}}` }
	for _, x := range []struct {
		name, answer, want string
	}{
		{"no JSON", "<html>", "decode"},
		{"empty", "", "decode"},
		{"cut off", `{"node":"n","apps":{`, "decode"},
		{"endless", strings.Repeat(" ", maxAnswer+1), "longer"},
		{"no node", `{}`, "node name"},
		{"odd application", `{"node":"n","apps":{"a/b":{}}}`, "application name"},
		{"negative", app(`"busy":-1`), "busy is -1"},
		{"too many", app(`"total":100001,"ready":100001`), "100001"},
		{"fractions", app(`"total":1.5`), "decode"},
		{"huge mean", app(`"busy_mean":1e300`), "busy_mean"},
		{"does not add up", app(`"total":5,"ready":3`), "total 5"},
		{"known but not sampled", app(`"known":true,"workers_known":true,"busy_known":true,"sample_age_ms":-1`), "known"},
		{"age", app(`"sample_age_ms":-2`), "sample_age_ms"},
		{"CPU over 100 %", `{"node":"n","host":{"cpu_busy":1.5}}`, "absurd"},
		{"memory", `{"node":"n","host":{"mem_total_bytes":1,"mem_available_bytes":2}}`, "available"},
	} {
		answer = x.answer
		if _, err := c.Report(context.Background()); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %.200v, want an error with %q", x.name, err, x.want)
		}
	}
	answer, status = `no JSON at all`, 502
	var se *StatusError
	if _, err := c.Report(context.Background()); !errors.As(err, &se) || se.Code != 502 {
		t.Errorf("502: %v", err)
	}
	if _, err := c.SetTarget(context.Background(), "a/../b", 1, 1); err == nil || errors.As(err, &se) && se.Code != 502 {
		t.Errorf("an odd name went out: %v", err)
	}
	for _, url := range []string{"", "127.0.0.1:1", "ftp://x", "unix:x", "http://x/y", "http://u:p@x", "http://x?y"} {
		if _, err := NewClient(ClientOptions{URL: url}); err == nil {
			t.Errorf("the URL %q was accepted", url)
		}
	}
}

func TestClientTimesOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := NewClient(ClientOptions{URL: "http://" + ln.Addr().String(), Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := c.Report(context.Background()); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestRunListensReportsAndLeavesNothing(t *testing.T) {
	o := options(t)
	sock := filepath.Join(t.TempDir(), "a.sock")
	o.Listen, o.Metrics = "unix:"+sock, metrics.NewSet()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	// A dead agent's socket is in the way.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: sock})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	c, err := NewClient(ClientOptions{URL: "unix:" + sock})
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if r, err = c.Report(ctx); err == nil && r.Host.Known {
			break
		}
	}
	if h := r.Host; err != nil || !h.Known || h.CPUs < 1 || h.MemTotal == 0 || h.MemAvailable == 0 || h.Problem != "" {
		t.Fatalf("host: %+v, %v", h, err)
	}
	if p := r.Apps["shop"].Problem; !strings.Contains(p, "pid file") || !strings.Contains(p, "no mark") {
		t.Errorf("both problems should be told: %q", p)
	}
	info, err := os.Stat(sock)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v; want mode 0660", info, err)
	}
	if err := a.Run(ctx); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second agent on the same socket: %v", err)
	}
	var text strings.Builder
	o.Metrics.WritePrometheus(&text)
	for _, want := range []string{`tidegate_agent_known{app="shop"} 0`, `tidegate_agent_workers{app="shop",state="ready"} 0`,
		"tidegate_agent_host_load1 ", `tidegate_agent_scan_duration_seconds_bucket{app="shop",le="0.001"}`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in the metrics:\n%s", want, text.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run ends with %v", err)
	}
	if names := o.Metrics.ListMetricNames(); len(names) != 0 {
		t.Errorf("series are left: %v", names)
	}
	if _, err := os.Stat(sock); err == nil {
		t.Error("the socket is left")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Listen = "unix:" + file
	if a, err = New(o); err != nil {
		t.Fatal(err)
	}
	if err := a.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in the socket's place: %v", err)
	}
}
