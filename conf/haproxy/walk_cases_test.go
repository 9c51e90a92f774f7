package haproxyconf_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/spoa"
	"github.com/tidegate/tidegate/tests/harness"
)

// walkCase is one thing that can become of requests: a backend named id, and what its clients do. ORIGIN stands for the
// server's address.
type walkCase struct {
	id, title, backend string
	run                func(c *client)
}

func walkCases() []walkCase {
	const (
		plain  = "    server s1 ORIGIN\n"
		narrow = "    timeout queue 10s\n    timeout server 10s\n    server s1 ORIGIN maxconn 1\n"
		eager  = "    option abortonclose\n"
	)
	statuses := func(code int) func(c *client) {
		return func(c *client) {
			for _, ms := range []int{0, 5, 40} {
				c.post(fmt.Sprintf("x?ms=%d&code=%d", ms, code), code)
			}
		}
	}
	return []walkCase{
		{"s200", "200 from two servers", plain + "    server s:2 ORIGIN\n", func(c *client) {
			for _, ms := range []int{0, 0, 5, 30, 120, 7} {
				c.post(fmt.Sprintf("x?ms=%d", ms), 200)
			}
		}},
		{"s204", "204", plain, statuses(204)},
		{"s404", "404", plain, statuses(404)},
		{"s500", "500", plain, statuses(500)},
		{"s504", "504, server time-out", "    timeout server 200ms\n" + plain, func(c *client) {
			c.post("x?ms=600", 504)
			c.post("x", 200)
		}},
		{"s502", "502, server closes", plain, func(c *client) {
			c.post("cut", 502)
			c.post("x", 200)
		}},
		{"maint", "503, maintenance", "    server s1 ORIGIN disabled\n", func(c *client) {
			c.post("x", 503)
			c.post("x", 503)
		}},
		{"queue-timeout", "503, queue time-out", "    timeout server 10s\n    server s1 ORIGIN maxconn 1\n", func(c *client) {
			served := c.background(func() { c.post("hang", 200) })
			c.peak(1, 0)
			c.post("x", 503)
			c.origin.release(c.id)
			served()
		}},
		{"refused", "503, refused, 2 retries", "    timeout connect 100ms\n    retries 2\n    server s1 127.0.0.1:1\n", func(c *client) {
			c.post("x", 503)
		}},
		// Nothing listens on port 1: the first choice is refused, the other server gets the request.
		{"redispatch", "redispatched", "    option redispatch 1\n    retries 2\n    balance first\n    server bad 127.0.0.1:1 id 1\n    server good ORIGIN id 2\n", func(c *client) {
			c.post("x?ms=10", 200)
			c.post("x?ms=20", 200)
		}},
		{"queued", "queued, then served", narrow, func(c *client) {
			first := c.background(func() { c.post("hang", 200) })
			c.peak(1, 0)
			second := c.background(func() { c.post("x?ms=30", 200) })
			c.peak(2, 1)
			c.origin.release(c.id)
			first()
			second()
		}},
		{"leave-queue", "client leaves in the queue", narrow, func(c *client) { c.leaveQueue(c.site.url, true) }},
		{"leave-queue-e", "leaves in the queue, abortonclose", eager + narrow, func(c *client) { c.leaveQueue(c.site.eager, false) }},
		{"leave-wait", "client leaves, server works", plain, func(c *client) { c.leaveWaiting(c.site.url, true) }},
		{"leave-wait-e", "leaves, server works, abortonclose", eager + plain, func(c *client) { c.leaveWaiting(c.site.eager, false) }},
		{"leave-body", "client leaves in the body", plain, func(c *client) { c.leaveBody(c.site.url) }},
		{"leave-body-e", "leaves in the body, abortonclose", eager + plain, func(c *client) { c.leaveBody(c.site.eager) }},
		{"keep-alive", "keep-alive, 4 requests", plain, func(c *client) {
			h := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
			defer h.CloseIdleConnections()
			for i := range 4 {
				if reused := c.postWith(h, "x?ms=5", 200); reused != (i > 0) {
					c.t.Errorf("%s: request %d on a used connection: %v", c.title, i+1, reused)
				}
			}
		}},
		{"http2", "HTTP/2, 7 requests", plain, (*client).http2},
		{"front-deny", "denied by the frontend", plain, func(c *client) {
			c.post("x", 403)
			// It never came to the backend.
			c.seen.sent--
			c.seen.refused--
			c.elsewhere++
		}},
		{"back-deny", "denied by the backend", "    http-request deny deny_status 429\n" + plain, func(c *client) {
			c.post("x", 429)
			c.post("x", 429)
		}},
		{"rule", "answered by a rule", "    http-request return status 200\n" + plain, func(c *client) { c.post("x", 200) }},
		{"stream", "streamed answer", plain, func(c *client) { c.post("stream?ms=60", 200) }},
		{"upload", "streamed request", plain, (*client).upload},
		{"half", "server cuts its answer", plain, func(c *client) { c.post("half", 200) }},
		{"hang", "all hang, nothing comes", "    timeout queue 60s\n    timeout server 60s\n    server s1 ORIGIN maxconn 3\n", func(c *client) {
			var clients sync.WaitGroup
			c.began = time.Now()
			for range 5 {
				clients.Go(func() { c.post("hang", 200) })
			}
			c.peak(5, 2)
			// Only heartbeats tell now, and they go on.
			r, beats := c.site.report(c.id), c.site.rec.heartbeats()
			if r.Started != 5 || r.Finished != 0 || r.Completions != 0 || r.Boot == "" || len(r.Servers) != 1 || r.Servers[0].InFlight != 3 {
				c.t.Errorf("%s: %+v", c.title, r)
			}
			if err := harness.WaitFor("further heartbeats", 10*time.Second, func() bool { return c.site.rec.heartbeats() > beats+2*len(walkCases()) }); err != nil {
				c.t.Error(err)
			}
			c.growing()
			c.origin.release(c.id)
			clients.Wait()
		}},
	}
}

// growing wants the age of the oldest open request to grow while nothing arrives and nothing is answered, and never to be more than it can
// be. Arrival messages tell it at once, the counters after a few seconds.
func (c *client) growing() {
	open, told, begin := spoa.Absent, uint64(0), c.began
	if c.site.arrivals {
		open, told = 5, 5
	}
	var first, last spoa.BackendReport
	err := harness.WaitFor("an age", 20*time.Second, func() bool { first = c.site.report(c.id); return first.OldestOpen > 0 })
	if err == nil {
		err = harness.WaitFor("a second more of age", 20*time.Second, func() bool {
			last = c.site.report(c.id)
			return last.OldestOpen >= first.OldestOpen+time.Second
		})
	}
	if took := time.Since(begin); err != nil || last.Open != open || last.Arrivals != told || last.OldestOpen > took {
		c.t.Errorf("%s: %v: %+v after %v, before %v", c.title, err, last, took, first.OldestOpen)
	}
}

// client makes a case's requests and counts what becomes of them.
type client struct {
	t      *testing.T
	site   *site
	origin *origin
	walkCase
	mu   sync.Mutex
	seen counts
	// elsewhere counts requests that did not reach the backend.
	elsewhere int
	// began is when the requests came whose age is asked for.
	began time.Time
	// peaks are the open and queued requests the client knew of at some moments, told what the heartbeats said then.
	peaks, told string
}

// post sends a request on a connection of its own and counts its answer.
func (c *client) post(what string, status int) {
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c.postWith(h, what, status)
}

// postWith tells whether the request went over a connection that was there.
func (c *client) postWith(h *http.Client, what string, status int) bool {
	var reused atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused.Store(i.Reused) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost, c.url(c.site.url, what), nil)
	if err != nil {
		c.t.Error(err)
		return false
	}
	c.do(h, req, status)
	return reused.Load()
}

func (c *client) url(base, what string) string { return base + "/" + c.id + "/" + what }

func (c *client) do(h *http.Client, req *http.Request, status int) {
	ctx, cancel := context.WithTimeout(req.Context(), 20*time.Second)
	defer cancel()
	resp, err := h.Do(req.WithContext(ctx))
	if err != nil {
		c.t.Errorf("%s: %v", c.title, err)
		return
	}
	defer resp.Body.Close()
	// An answer that is cut off has come from the server all the same.
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != status {
		c.t.Errorf("%s: status %d, want %d", c.title, resp.StatusCode, status)
	}
	c.answered(resp.Header.Get(originHeader) != "", resp.StatusCode)
}

func (c *client) answered(byServer bool, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.sent++
	switch {
	case !byServer:
		c.seen.refused++
	case status >= 500:
		c.seen.errors++
		fallthrough
	default:
		c.seen.served++
	}
}

// background runs f and returns what waits for its end.
func (c *client) background(f func()) (wait func()) {
	var g sync.WaitGroup
	g.Go(f)
	return g.Wait
}

// peak waits until the heartbeats tell of as many open and queued requests as the client knows to be there.
func (c *client) peak(open, queued int) {
	c.t.Helper()
	said := func() string {
		r := c.site.report(c.id)
		return fmt.Sprintf("%d/%d", r.InFlight, r.Queued)
	}
	want := fmt.Sprintf("%d/%d", open, queued)
	err := harness.WaitFor(c.title+": open/queued "+want, 10*time.Second, func() bool { return said() == want })
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peaks = strings.TrimSpace(c.peaks + " " + want)
	if err != nil {
		want = said()
	}
	c.told = strings.TrimSpace(c.told + " " + want)
}

// raw sends a request by hand, so that its client can leave when it likes.
func (c *client) raw(base, what string) net.Conn {
	nc, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err == nil {
		_, err = fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", c.url("", what))
	}
	if err != nil {
		c.t.Error(err)
	}
	return nc
}

// left counts a request whose client left before an answer. HAProxy may let it go on, and then a server answers it.
func (c *client) left(nc net.Conn, goesOn bool) {
	_ = nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.sent++
	if goesOn {
		c.seen.served++
	} else {
		c.seen.aborted++
	}
}

func (c *client) leaveQueue(base string, goesOn bool) {
	first := c.background(func() { c.post("hang", 200) })
	c.peak(1, 0)
	second := c.raw(base, "x")
	c.peak(2, 1)
	c.left(second, goesOn)
	if !goesOn {
		c.peak(1, 0)
	}
	c.origin.release(c.id)
	first()
}

func (c *client) leaveWaiting(base string, goesOn bool) {
	nc := c.raw(base, "hang")
	c.peak(1, 0)
	c.left(nc, goesOn)
	if !goesOn {
		c.peak(0, 0)
	}
	c.origin.release(c.id)
}

func (c *client) leaveBody(base string) {
	nc := c.raw(base, "drip")
	var text strings.Builder
	buf := make([]byte, 512)
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for !strings.Contains(text.String(), "begun") {
		n, err := nc.Read(buf)
		if err != nil {
			c.t.Errorf("%s: read the beginning: %v", c.title, err)
			break
		}
		text.Write(buf[:n])
	}
	c.left(nc, true)
	c.origin.release(c.id)
}

func (c *client) http2() {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	h := &http.Client{Transport: tr}
	c.postWith(h, "x", 200)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			if !c.postWith(h, fmt.Sprintf("x?ms=%d", 10*i), 200) {
				c.t.Error("a stream has a connection of its own")
			}
		})
	}
	all.Wait()
}

// upload sends a body bit by bit.
func (c *client) upload() {
	body, w := io.Pipe()
	go func() {
		for range 4 {
			_, _ = io.WriteString(w, "a bit")
			time.Sleep(40 * time.Millisecond)
		}
		_ = w.Close()
	}()
	req, err := http.NewRequest(http.MethodPost, c.url(c.site.url, "x?ms=20"), body)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.do(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, req, 200)
}
