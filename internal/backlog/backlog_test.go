package backlog

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/core/sizing"
)

const answer = `{"items": 120, "oldest": 4.5, "in": 30, "out": 28, "service": 0.2}`

var want = sizing.Backlog{Items: 120, Oldest: 4.5, In: 30, Out: 28, Service: 0.2}

func TestReadsFromAnAddressAndFromACommand(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
	defer srv.Close()
	for name, o := range map[string]Options{"url": {URL: srv.URL}, "command": {Command: []string{"/bin/echo", answer}}} {
		o.Timeout = 10 * time.Second
		got, at, err := New(o).Read(t.Context())
		if err != nil || at.IsZero() || !cmp.Equal(want, got) {
			t.Errorf("%s: %+v at %v, %v", name, got, at, err)
		}
	}
}

func TestAsksOncePerEvery(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, answer)
	}))
	defer srv.Close()
	slow, quick := New(Options{URL: srv.URL, Every: time.Hour, Timeout: 10 * time.Second}), New(Options{URL: srv.URL, Timeout: 10 * time.Second})
	for range 3 {
		if got, _, err := slow.Read(t.Context()); err != nil || !cmp.Equal(want, got) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times within an hour", n)
	}
	for range 3 {
		if _, _, err := quick.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times, want 4", n)
	}
}

// What cannot be read is an error, never an empty queue.
func TestTroubleIsNeverAnEmptyQueue(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { <-hang })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer+strings.Repeat(" ", maxAnswer)) })
	mux.Handle("/moved", http.RedirectHandler("/empty", http.StatusFound))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer close(hang)
	for text, o := range map[string]Options{
		"404 Not Found":             {URL: srv.URL + "/nothing"},
		"302 Found":                 {URL: srv.URL + "/moved"},
		"unexpected end of JSON":    {URL: srv.URL + "/empty"},
		"more than 65536 bytes":     {URL: srv.URL + "/huge"},
		"context deadline exceeded": {URL: srv.URL + "/hang", Timeout: 50 * time.Millisecond},
		"connection refused":        {URL: "http://127.0.0.1:1/"},
		"/bin/sleep: context dead":  {Command: []string{"/bin/sleep", "60"}, Timeout: 50 * time.Millisecond},
		"exit status 3 broken":      {Command: []string{"/bin/sh", "-c", "echo broken >&2; exit 3"}},
		"no such file":              {Command: []string{"/nonexistent"}},
		"items, in and out":         {Command: []string{"/bin/echo", `{"items": 3}`}},
		"a number is negative":      {Command: []string{"/bin/echo", `{"items": -3, "in": 1, "out": 1}`}},
		"cannot unmarshal":          {Command: []string{"/bin/echo", `{"items": "3"}`}},
	} {
		if o.Timeout == 0 {
			o.Timeout = 10 * time.Second
		}
		got, _, err := New(o).Read(t.Context())
		if err == nil || !strings.Contains(err.Error(), text) || got != (sizing.Backlog{}) {
			t.Errorf("%+v: %v, want %q in it; backlog %+v", o, err, text, got)
		}
	}
}
