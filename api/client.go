package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Client asks a running `tidegate run`.
type Client struct {
	base string
	http *http.Client
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 16 << 20

// NewClient takes "unix:/path", "host:port" or an http URL.
func NewClient(addr string) *Client {
	c := &Client{base: addr, http: &http.Client{Timeout: 10 * time.Second}}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		c.base = "http://tidegate"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}}
	} else if !strings.Contains(addr, "://") {
		c.base = "http://" + addr
	}
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the state as of the last turn.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Reload makes the controller read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var text io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask tidegate: %w", err)
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, text)
	if err != nil {
		return fmt.Errorf("ask tidegate: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask tidegate (is `tidegate run` running?): %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read tidegate's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.Unmarshal(body, &e) == nil && e.Error != "" {
			return fmt.Errorf("tidegate refuses: %s", e.Error)
		}
		return fmt.Errorf("tidegate answers %s", resp.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("read tidegate's answer: %w", err)
	}
	return nil
}
