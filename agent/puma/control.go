package puma

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// askEvery is the time between two questions: the answers change once a second at most.
	askEvery = 250 * time.Millisecond
	// patience bounds one question.
	patience = time.Second
	// maxAnswer bounds an answer, in bytes: some 300 for each worker.
	maxAnswer = 4 << 20
)

// control asks Puma's control app.
type control struct {
	// where is the address for people.
	where string
	url   string
	http  *http.Client

	asked time.Time
	last  *stats
	err   error
}

// newControl returns a client for the control app at address, "unix:/path" or "http://HOST:PORT", with its token, which may
// be empty. Nothing is opened.
func newControl(address, token string) *control {
	dialer := &net.Dialer{Timeout: patience}
	transport := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: patience, DialContext: dialer.DialContext}
	base := strings.TrimSuffix(address, "/")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	}
	u := base + "/stats"
	if token != "" {
		u += "?token=" + token // Puma compares what it gets as it is, without unescaping
	}
	// A redirection would carry the token elsewhere.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &control{where: address, url: u, http: &http.Client{Transport: transport, Timeout: patience, CheckRedirect: refuse}}
}

// stats is the answer of not long ago, or a new one.
func (c *control) stats(now time.Time) (*stats, error) {
	if since := now.Sub(c.asked); c.asked.IsZero() || since >= askEvery || since < 0 {
		c.asked = now
		c.last, c.err = c.ask()
		if c.err != nil {
			c.err = fmt.Errorf("ask Puma's control app at %s: %w", c.where, c.err)
		}
	}
	return c.last, c.err
}

func (c *control) ask() (*stats, error) {
	resp, err := c.http.Get(c.url)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // its text has the URL, and so the token
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusForbidden {
		return nil, errors.New("it refuses the token (403): is token_file the one of Puma's auth_token?")
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read its answer: %w", err)
	}
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	return parse(b)
}
