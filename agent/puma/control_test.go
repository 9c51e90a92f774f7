package puma

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
)

// What Puma 5.6.5 says of a cluster with a worker that has booted, one that has said its figures, and one that is booting.
const cluster56 = `{"started_at":"2026-01-02T03:04:00Z","workers":3,"phase":0,"booted_workers":2,"old_workers":0,"worker_status":[
{"started_at":"2026-01-02T03:04:00Z","pid":11,"index":0,"phase":0,"booted":true,"last_checkin":"2026-01-02T03:04:06Z",
 "last_status":{"backlog":0,"running":5,"pool_capacity":2,"max_threads":5,"requests_count":9}},
{"started_at":"2026-01-02T03:04:00Z","pid":12,"index":1,"phase":0,"booted":true,"last_checkin":"2026-01-02T03:04:04Z","last_status":{}},
{"started_at":"2026-01-02T03:04:00Z","pid":13,"index":2,"phase":0,"booted":false,"last_checkin":"2026-01-02T03:04:00Z","last_status":{}}]}`

func TestStats(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 8, 0, time.UTC)
	for _, c := range []struct {
		name, text string
		busy       int
		age        time.Duration
		threads    int
		cluster    bool
		problem    string
	}{
		{"5.6 cluster", cluster56, 3, 4 * time.Second, 5, true, ""},
		{"6 and later say it themselves", `{"workers":1,"worker_status":[{"pid":1,"booted":true,"last_checkin":"2026-01-02T03:04:07Z",
			"last_status":{"backlog":1,"running":5,"pool_capacity":3,"busy_threads":4,"max_threads":5}}]}`, 4, time.Second, 5, true, ""},
		{"more waiting than threads", `{"workers":1,"worker_status":[{"pid":1,"booted":true,"last_checkin":"2026-01-02T03:04:08Z",
			"last_status":{"pool_capacity":-2,"busy_threads":9,"max_threads":5}}]}`, 5, 0, 5, true, ""},
		{"no worker", `{"workers":0,"worker_status":[]}`, 0, 0, 0, true, ""},
		{"single mode", `{"started_at":"2026-01-02T03:04:00Z","backlog":0,"running":3,"pool_capacity":2,"max_threads":3,"requests_count":1}`, 1, 0, 0, false, ""},
		{"another server", `{"status":"ok"}`, 0, 0, 0, false, "neither workers nor max_threads"},
		{"no JSON", `<html>`, 0, 0, 0, false, "not what Puma says"},
		{"absurd", `{"workers":1,"worker_status":[{"last_status":{"max_threads":-1}}]}`, 0, 0, 0, false, "-1 threads"},
		{"a wrong time", `{"workers":1,"worker_status":[{"last_checkin":"yesterday"}]}`, 0, 0, 0, false, "not what Puma says"},
	} {
		s, err := parse([]byte(c.text))
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: %v, want %q", c.name, err, c.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		busy, age := s.busy(now)
		if busy != c.busy || age != c.age || s.threads() != c.threads || s.cluster() != c.cluster {
			t.Errorf("%s: %d busy, %v old, %d threads, cluster %v; want %d, %v, %d, %v", c.name, busy, age, s.threads(), s.cluster(),
				c.busy, c.age, c.threads, c.cluster)
		}
	}
	s, err := parse([]byte(cluster56))
	if b := s.booted(); err != nil || !b[11] || !b[12] || b[13] {
		t.Errorf("booted: %v, %v; want 11 and 12", b, err)
	}
}

// Whatever answers, there is one sentence in time, without the token.
func TestControlAppsThatMisbehave(t *testing.T) {
	const secret = "a-very-secret+%41token"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"refuses":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "refuses the token"},
		"fails":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "302"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
					return
				}
			}
		}, "its answer"},
		"silent": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "imeout"},
		"drops":  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.handler)
			defer srv.Close()
			s := New(Options{PIDFile: "/nonexistent.pid", Control: srv.URL, Token: secret, Min: 1, Max: 2})
			_, err := s.Count(nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "very-secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one sentence with %q and without the token", err, c.want)
			}
		})
	}
	s := New(Options{PIDFile: "/nonexistent.pid", Control: "unix:" + t.TempDir() + "/none.sock", Token: secret, Min: 1, Max: 2})
	if _, err := s.Count(nil); err == nil || strings.Contains(err.Error(), "very-secret") || !strings.Contains(err.Error(), "none.sock") {
		t.Errorf("without a socket: %v", err)
	}
}

func TestTheTokenGoesToTheControlAppAndTheQuestionsAreFew(t *testing.T) {
	const odd = "0123456789+abcdef/%41=="
	asked := 0
	ln, err := net.Listen("unix", t.TempDir()+"/c.sock")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/stats" || r.URL.RawQuery != "token="+odd {
			w.WriteHeader(403)
			return
		}
		fmt.Fprint(w, cluster56)
	})}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	c := newControl("unix:"+ln.Addr().String(), odd)
	now := time.Now()
	for i := range 10 {
		if s, err := c.stats(now.Add(time.Duration(i) * 100 * time.Millisecond)); err != nil || *s.Workers != 3 {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if asked != 4 {
		t.Errorf("asked %d times within 0.9 s, want 4", asked)
	}
}

// Words that are too old are no count.
func TestOldWordsAreNoCount(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, cluster56) }))
	defer srv.Close()
	s := New(Options{PIDFile: "/nonexistent.pid", Control: srv.URL, Min: 1, Max: 2})
	if c, err := s.Count(nil); err == nil || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := New(Options{PIDFile: "/x.pid", Min: 1, Max: 2}).Count(nil); err == nil {
		t.Error("a count without a control app")
	}
	var _ adapter.Owner = s
	if got := s.Owns(); len(got) != 2 || got[1] != srv.URL {
		t.Errorf("owns %v", got)
	}
}
