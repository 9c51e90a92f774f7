package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// maxAnswer bounds what the client reads of one answer, in bytes.
const maxAnswer = 1 << 20

// ClientOptions configure a Client.
type ClientOptions struct {
	// URL is "http://HOST:PORT" (or https) or "unix:/path".
	URL string
	// Token is the bearer token, empty for none.
	Token string
	// TLS is for https: who is trusted and what is shown; nil trusts the system's authorities and shows nothing.
	TLS *TLS
	// Timeout bounds one call from the dial to the last byte; 0 means 2 s.
	Timeout time.Duration
}

// Client talks to one agent. It is safe for concurrent use and holds no connection between calls.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// StatusError is an answer other than 200.
type StatusError struct {
	// Code is the HTTP status: 400 bad order, 401 token, 404 unknown application, 409 older epoch.
	Code int
	// Text is the agent's sentence.
	Text string
}

func (e *StatusError) Error() string { return fmt.Sprintf("the agent answers %d: %s", e.Code, e.Text) }

// NewClient checks the options; nothing is dialled.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Timeout < 0 {
		return nil, fmt.Errorf("the agent's time-out is %v, it must not be negative", o.Timeout)
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	dialer := &net.Dialer{Timeout: o.Timeout}
	// No proxy from the environment: an agent is reached directly. No connection is kept, so that none is found dead.
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: 16 << 10}
	secure, err := o.TLS.client()
	if err != nil {
		return nil, err
	}
	transport.TLSClientConfig = secure
	base := strings.TrimSuffix(o.URL, "/")
	if path, ok := strings.CutPrefix(o.URL, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("the agent's URL is %.120q, after unix: an absolute path is wanted", o.URL)
		}
		base = "http://unix"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	} else if u, err := url.Parse(base); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the agent's URL is %.120q, wanted is http://HOST:PORT or unix:/path", o.URL)
	}
	return &Client{base: base, token: o.Token, http: &http.Client{
		Transport: transport,
		Timeout:   o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("an agent does not redirect")
		},
	}}, nil
}

// Report asks for the node's report. A report with absurd numbers is an error.
func (c *Client) Report(ctx context.Context) (Report, error) {
	var r Report
	if err := c.do(ctx, http.MethodGet, "/v1/report", nil, &r); err != nil {
		return Report{}, fmt.Errorf("get the agent's report: %w", err)
	}
	if err := r.Validate(); err != nil {
		return Report{}, fmt.Errorf("check the agent's report: %w", err)
	}
	return r, nil
}

// SetTarget orders workers for app. It may be repeated with the same result; a *StatusError with code 409 says that someone
// with a newer epoch gives the orders now.
func (c *Client) SetTarget(ctx context.Context, app string, workers int, epoch uint64) (AppReport, error) {
	return c.put(ctx, app, "target", Order{Workers: &workers, Epoch: &epoch})
}

// SetDrain takes app out of service on the agent's node, or puts it back.
func (c *Client) SetDrain(ctx context.Context, app string, drain bool) (AppReport, error) {
	return c.put(ctx, app, "drain", DrainOrder{Drain: &drain})
}

// put sends an order for one application.
func (c *Client) put(ctx context.Context, app, what string, order any) (AppReport, error) {
	if !validName(app) {
		return AppReport{}, fmt.Errorf("set a %s: %.80q is not an application's name", what, app)
	}
	body, err := json.Marshal(order)
	if err != nil {
		return AppReport{}, fmt.Errorf("encode the %s of %s: %w", what, app, err)
	}
	var r AppReport
	if err := c.do(ctx, http.MethodPut, "/v1/apps/"+app+"/"+what, body, &r); err != nil {
		return AppReport{}, fmt.Errorf("set the %s of %s: %w", what, app, err)
	}
	if err := r.Validate(); err != nil {
		return AppReport{}, fmt.Errorf("check the answer about %s: %w", app, err)
	}
	return r, nil
}

// do makes one call and decodes a 200 into out.
func (c *Client) do(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(answer, &e) != nil || e.Error == "" {
			e.Error = fmt.Sprintf("%.100q", answer)
		}
		return &StatusError{Code: resp.StatusCode, Text: fmt.Sprintf("%.500s", e.Error)}
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}
