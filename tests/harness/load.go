package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Load is an open-loop load on one URL: requests leave at their time whatever became of those before. Each is a POST, by default on
// a connection of its own: Go repeats GETs on reused connections by itself, which would hide failures.
type Load struct {
	URL string
	// Rate is requests per second at a time since the start, below 0 to end the load; For is how long requests are sent.
	Rate func(since time.Duration) float64
	For  time.Duration
	// Timeout bounds one request, 30 s when 0. MaxInFlight bounds those under way, 2000 when 0; one more counts as failed.
	Timeout     time.Duration
	MaxInFlight int
	// Host is the Host header, the URL's when empty.
	Host string
	// KeepAlive sends requests over connections that were used before. A request that fails on one is not repeated.
	KeepAlive bool
	// Users is how many users the requests come from, in turn: each keeps its cookies and names itself in the header X-User.
	// 0 is one that does neither.
	Users int
	// OnDone is told of every request when it has ended; it may be called by many goroutines.
	OnDone func(Result)
}

// Result is what became of one request.
type Result struct {
	// Sent is when it left, since the start; Took how long until the whole answer was there.
	Sent, Took time.Duration
	Status     int
	Err        error
}

// Failed tells that the request had no answer or not a 2xx one.
func (r Result) Failed() bool { return r.Err != nil || r.Status/100 != 2 }

// Tally adds up results.
type Tally struct {
	mu      sync.Mutex
	results []Result
	errs    map[string]int
}

// Add counts a result.
func (t *Tally) Add(r Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results = append(t.results, r)
	if !r.Failed() {
		return
	}
	if t.errs == nil {
		t.errs = map[string]int{}
	}
	why := fmt.Sprintf("status %d", r.Status)
	if r.Err != nil {
		why = r.Err.Error()
	}
	t.errs[why]++
}

// Counts returns how many requests have ended and how many of them failed.
func (t *Tally) Counts() (sent, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.errs {
		failed += n
	}
	return len(t.results), failed
}

// Errors describes the failures, "" when there were none.
func (t *Tally) Errors() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]string, 0, len(t.errs))
	for why, n := range t.errs {
		lines = append(lines, fmt.Sprintf("%d x %s", n, why))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Quantile is the q-quantile (0..1) of the times of requests sent from one time to another, and how many there were.
func (t *Tally) Quantile(q float64, from, to time.Duration) (time.Duration, int) {
	t.mu.Lock()
	var took []time.Duration
	for _, r := range t.results {
		if r.Sent >= from && r.Sent < to {
			took = append(took, r.Took)
		}
	}
	t.mu.Unlock()
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(q*float64(len(took))))], len(took)
}

// Run sends the load and returns when every request has ended, or soon after ctx has.
func (l Load) Run(ctx context.Context) {
	timeout, most := l.Timeout, l.MaxInFlight
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if most == 0 {
		most = 2000
	}
	clients := l.clients(timeout)
	defer clients[0].CloseIdleConnections()
	var wg sync.WaitGroup
	slots := make(chan struct{}, most)
	start := time.Now()
	due, last, sent := 0.0, time.Duration(0), 0
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		since := time.Since(start)
		if since >= l.For {
			break
		}
		rate := l.Rate(since)
		if rate < 0 {
			break
		}
		due += rate * (since - last).Seconds()
		last = since
		for ; due >= 1; due-- {
			select {
			case slots <- struct{}{}:
			default:
				l.OnDone(Result{Sent: since, Err: errors.New("not sent: too many requests under way")})
				continue
			}
			user := sent % len(clients)
			sent++
			wg.Go(func() {
				defer func() { <-slots }()
				l.OnDone(l.one(ctx, clients[user], user, start))
			})
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	wg.Wait()
}

// clients is one for each user; all share their connections.
func (l Load) clients(timeout time.Duration) []*http.Client {
	transport := &http.Transport{DisableKeepAlives: !l.KeepAlive, MaxIdleConnsPerHost: 100, Proxy: nil}
	out := make([]*http.Client, max(1, l.Users))
	for i := range out {
		out[i] = &http.Client{Timeout: timeout, Transport: transport}
		if l.Users > 0 {
			// Without options it cannot fail.
			out[i].Jar, _ = cookiejar.New(nil)
		}
	}
	return out
}

func (l Load) one(ctx context.Context, client *http.Client, user int, start time.Time) Result {
	began := time.Now()
	r := Result{Sent: began.Sub(start)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL, strings.NewReader("x"))
	if err != nil {
		r.Err = err
		return r
	}
	// Without it a body cannot be sent twice.
	req.GetBody = nil
	if l.Host != "" {
		req.Host = l.Host
	}
	if l.Users > 0 {
		req.Header.Set("X-User", "user-"+strconv.Itoa(user))
	}
	resp, err := client.Do(req)
	if err == nil {
		r.Status = resp.StatusCode
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
	}
	r.Err, r.Took = err, time.Since(began)
	return r
}

// Steady is a constant rate.
func Steady(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}
