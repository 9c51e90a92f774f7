package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core"
)

// warmer sends warm-up requests beside the loop: a GET straight to the server, with its own User-Agent, on a connection of its
// own. Only a 2xx answer counts; redirects are not followed. An app that starts late answers 503 at first, or not at all: it is
// asked again until the server's time for its warm-up is over.
type warmer struct {
	client *http.Client
	done   func(app, server string, err error)
	wg     sync.WaitGroup

	mu     sync.Mutex
	states map[string]core.WarmState
}

// newWarmer makes a warmer. resolve puts the IP address in a name's place, as nginx and HAProxy are told it; "" leaves the name to
// the system.
func newWarmer(done func(app, server string, err error), resolve func(address string) string) *warmer {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if at := resolve(address); at != "" {
			address = at
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	return &warmer{
		client: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: dial},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		done:   done,
		states: map[string]core.WarmState{},
	}
}

func warmKey(app, server string) string { return app + "/" + server }

func (w *warmer) state(app, server string) core.WarmState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[warmKey(app, server)]
}

// start sends the request unless one is under way.
func (w *warmer) start(ctx context.Context, app string, s Server) {
	key := warmKey(app, s.Name)
	w.mu.Lock()
	running := w.states[key] == core.WarmRunning
	if !running {
		w.states[key] = core.WarmRunning
	}
	w.mu.Unlock()
	if running {
		return
	}
	w.wg.Go(func() {
		err := w.warm(ctx, s)
		w.mu.Lock()
		w.states[key] = core.WarmOK
		if err != nil {
			w.states[key] = core.WarmFailed
		}
		w.mu.Unlock()
		w.done(app, s.Name, err)
	})
}

// warmPause is the time between two requests to a server that is not ready yet.
const warmPause = 250 * time.Millisecond

// warm asks until a request is answered as it has to be; the error is that of the last one that had an end of its own.
func (w *warmer) warm(ctx context.Context, s Server) error {
	ctx, cancel := context.WithTimeout(ctx, s.WarmTimeout)
	defer cancel()
	var last error
	for {
		err := w.get(ctx, s)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(warmPause):
		}
	}
}

func (w *warmer) get(ctx context.Context, s Server) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.WarmURL, nil)
	if err != nil {
		return fmt.Errorf("warm up %s: %w", s.Name, err)
	}
	req.Header.Set("User-Agent", s.WarmUA)
	if s.WarmHost != "" {
		req.Host = s.WarmHost
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("warm up %s: %w", s.Name, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 10<<20))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("warm up %s: GET %s answered %s, only 2xx counts", s.Name, s.WarmURL, resp.Status)
	}
	if err != nil {
		return fmt.Errorf("warm up %s: read the answer: %w", s.Name, err)
	}
	return nil
}

// wait waits for requests under way; their context must have ended.
func (w *warmer) wait() { w.wg.Wait() }
