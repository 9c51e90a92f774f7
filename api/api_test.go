package api

import (
	"context"
	"errors"
	"fmt"
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

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fake struct {
	status      *Status
	alive       error
	ready       error
	reload      error
	reloadCount int
	orders      []Order
	orderErr    error
}

func (f *fake) Status() (Status, bool) {
	if f.status == nil {
		return Status{}, false
	}
	return *f.status, true
}
func (f *fake) Alive() error    { return f.alive }
func (f *fake) Ready() error    { return f.ready }
func (f *fake) Reload() error   { f.reloadCount++; return f.reload }
func (f *fake) Orders() []Order { return f.orders }
func (f *fake) Order(r OrderRequest) (Order, error) {
	if f.orderErr != nil {
		return Order{}, f.orderErr
	}
	o := Order{ID: fmt.Sprintf("%s-%d", r.Kind, len(f.orders)+1), App: r.App, Kind: r.Kind, Owner: r.Owner, Workers: r.Workers, Rate: r.Rate, State: "waiting"}
	f.orders = append(f.orders, o)
	return o, nil
}
func (f *fake) Release(what string) ([]Order, error) {
	for i, o := range f.orders {
		if o.ID == what {
			f.orders = append(f.orders[:i:i], f.orders[i+1:]...)
			return []Order{o}, nil
		}
	}
	return nil, Refused{ErrNotFound, "there is no " + what}
}
func (f *fake) WriteMetrics(w io.Writer) { fmt.Fprintln(w, "x 1") }

func TestHandler(t *testing.T) {
	b := &fake{ready: errors.New("haproxy: no socket"), reload: errors.New("tick: bad")}
	cases := map[string]struct {
		method, path string
		public       bool
		code         int
		text         string
	}{
		"status before the first turn": {"GET", "/v1/status", false, 503, "first turn"},
		"reload refused":               {"POST", "/v1/reload", false, 409, "tick: bad"},
		"reload by GET":                {"GET", "/v1/reload", false, 405, ""},
		"metrics":                      {"GET", "/metrics", true, 200, "x 1"},
		"health":                       {"GET", "/healthz", true, 200, "ok"},
		"not ready":                    {"GET", "/readyz", true, 503, "haproxy: no socket"},
		"public has no status":         {"GET", "/v1/status", true, 404, ""},
		"public has no reload":         {"POST", "/v1/reload", true, 404, ""},
		"public shows no orders":       {"GET", "/v1/orders", true, 404, ""},
		"public takes no orders":       {"POST", "/v1/orders", true, 404, ""},
		"public releases nothing":      {"DELETE", "/v1/orders/hold-1", true, 404, ""},
		"no orders":                    {"GET", "/v1/orders", false, 200, `{"orders":null}`},
		"an order without a body":      {"POST", "/v1/orders", false, 400, "not understood"},
		"nothing to release":           {"DELETE", "/v1/orders/hold-1", false, 404, "there is no hold-1"},
		"a release of everything":      {"DELETE", "/v1/orders/", false, 404, ""},
		"unknown":                      {"GET", "/v2", false, 404, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Handler(b, c.public).ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.text) {
				t.Errorf("%d %s, want %d with %q", w.Code, w.Body, c.code, c.text)
			}
		})
	}
	if b.reloadCount != 1 {
		t.Errorf("%d reloads, want only that by POST on the full interface", b.reloadCount)
	}
}

func TestClientAndServerOnAUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "tg-api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr := "unix:" + filepath.Join(dir, "api.sock")
	ln, err := Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(addr); err == nil {
		t.Error("a second process took the socket of a living one")
	}
	b := &fake{status: &Status{Version: "v1", Turn: 7}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, Handler(b, false), slog.New(slog.DiscardHandler)) }()
	c := NewClient(addr)
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil || s.Turn != 7 {
		t.Errorf("%+v %v", s, err)
	}
	b.reload = errors.New("tick: bad")
	if err := c.Reload(ctx); err == nil || err.Error() != "tidegate refuses: tick: bad" {
		t.Errorf("reload: %v", err)
	}
	c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := NewClient(addr).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is `tidegate run` running?") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAStaleSocketFileIsReplaced(t *testing.T) {
	dir, err := os.MkdirTemp("", "tg-api")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "api.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestClientBoundsAndNamesBadAnswers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"502":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			c := NewClient(srv.URL)
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := c.Status(ctx); err == nil {
				t.Error("accepted")
			}
		})
	}
}
