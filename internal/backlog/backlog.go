package backlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/internal/sched"
)

// Options of a Reader: one of URL and Command, and how often and how long at most it is asked.
type Options struct {
	URL            string
	Command        []string
	Every, Timeout time.Duration
}

// Reader asks one queue. It may be used by several goroutines.
type Reader struct {
	o      Options
	client *http.Client

	mu   sync.Mutex
	last sizing.Backlog
	at   time.Time
	err  error
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 10

// New makes a reader. It contacts nobody.
func New(o Options) *Reader {
	return &Reader{o: o, client: &http.Client{
		// A queue's address is reached directly, and an answer from elsewhere is none.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Read returns the backlog and when it was read. Within Every of the last reading it returns that one, or its error, again.
func (r *Reader) Read(ctx context.Context) (sizing.Backlog, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.at.IsZero() || now.Sub(r.at) >= r.o.Every {
		r.at = now
		r.last, r.err = r.ask(ctx)
	}
	return r.last, r.at, r.err
}

func (r *Reader) ask(ctx context.Context) (sizing.Backlog, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	var text []byte
	var err error
	if r.o.URL != "" {
		text, err = r.get(ctx)
	} else {
		text, err = r.run(ctx)
	}
	if err != nil {
		return sizing.Backlog{}, fmt.Errorf("ask for the message queue's length: %w", err)
	}
	b, err := parse(text)
	if err != nil {
		return b, fmt.Errorf("understand the message queue's length (%.100q): %w", text, err)
	}
	return b, nil
}

func (r *Reader) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.o.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", r.o.URL, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("%s answers with more than %d bytes", r.o.URL, maxAnswer)
	}
	return text, err
}

func (r *Reader) run(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.o.Command[0], r.o.Command[1:]...)
	// A child that keeps the output open must not keep us waiting.
	cmd.WaitDelay = 100 * time.Millisecond
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out}, &limited{&errs}
	err := sched.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", r.o.Command[0], ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("%s: %w %s", r.o.Command[0], err, strings.TrimSpace(fmt.Sprintf("%.200s", errs.String())))
	}
	return out.Bytes(), nil
}

// limited refuses to grow beyond an answer's size.
type limited struct{ b *bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > maxAnswer {
		return 0, fmt.Errorf("more than %d bytes of output", maxAnswer)
	}
	return l.b.Write(p)
}

func parse(text []byte) (sizing.Backlog, error) {
	var in struct {
		Items   *float64 `json:"items"`
		Oldest  float64  `json:"oldest"`
		In      *float64 `json:"in"`
		Out     *float64 `json:"out"`
		Service float64  `json:"service"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return sizing.Backlog{}, err
	}
	if in.Items == nil || in.In == nil || in.Out == nil {
		return sizing.Backlog{}, errors.New("items, in and out must be there")
	}
	b := sizing.Backlog{Items: *in.Items, In: *in.In, Out: *in.Out, Oldest: in.Oldest, Service: in.Service}
	for _, x := range [...]float64{b.Items, b.In, b.Out, b.Oldest, b.Service} {
		if x < 0 || math.IsInf(x, 0) {
			return sizing.Backlog{}, errors.New("a number is negative")
		}
	}
	return b, nil
}
