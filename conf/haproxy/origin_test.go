package haproxyconf_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is an HTTP server that does what the path's last part and the query ask (ms, us: delay before the answer; code), and
// says so in a header, by which a client tells a server's answer from one that HAProxy made.
type origin struct {
	addr  string
	mu    sync.Mutex
	gates map[string]chan struct{}
}

const originHeader = "X-Origin"

func newOrigin(t *testing.T) *origin {
	o := &origin{gates: map[string]chan struct{}{}}
	s := httptest.NewServer(http.HandlerFunc(o.serve))
	o.addr = s.Listener.Addr().String()
	t.Cleanup(func() {
		o.mu.Lock()
		for _, gate := range o.gates {
			open(gate)
		}
		o.mu.Unlock()
		s.Close()
	})
	return o
}

func (o *origin) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	us, _ := strconv.Atoi(r.URL.Query().Get("us"))
	delay := time.Duration(ms)*time.Millisecond + time.Duration(us)*time.Microsecond
	code, err := strconv.Atoi(r.URL.Query().Get("code"))
	if err != nil {
		code = 200
	}
	name, what, _ := strings.Cut(r.URL.Path[1:], "/")
	w.Header().Set(originHeader, "1")
	body := "ok\n"
	switch what {
	case "hang": // until the backend's gate opens or the client has gone
		o.pass(r, name)
	case "cut": // no answer at all
		panic(http.ErrAbortHandler)
	case "half": // the end of the answer never comes
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "begun")
		w.(http.Flusher).Flush()
		// Were it at once, HAProxy 3.0 and later would see the reset first and hand nothing on.
		time.Sleep(100 * time.Millisecond)
		panic(http.ErrAbortHandler)
	case "drip": // headers and a beginning, the rest when the gate opens
		fmt.Fprint(w, "begun")
		w.(http.Flusher).Flush()
		o.pass(r, name)
		body = strings.Repeat("more", 20000)
	case "stream":
		for range 4 {
			fmt.Fprint(w, "chunk")
			w.(http.Flusher).Flush()
			time.Sleep(delay)
		}
	}
	if what != "stream" && what != "drip" {
		time.Sleep(delay)
		w.WriteHeader(code)
	}
	if code != 204 {
		_, _ = io.WriteString(w, body)
	}
}

func (o *origin) pass(r *http.Request, name string) {
	select {
	case <-o.gate(name):
	case <-r.Context().Done():
	}
}

func (o *origin) gate(name string) chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gates[name] == nil {
		o.gates[name] = make(chan struct{})
	}
	return o.gates[name]
}

// release lets the backend's waiting requests go, and all that come later.
func (o *origin) release(name string) {
	gate := o.gate(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	open(gate)
}

func open(gate chan struct{}) {
	select {
	case <-gate:
	default:
		close(gate)
	}
}
