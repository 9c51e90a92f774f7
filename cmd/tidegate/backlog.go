package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"time"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/core/sizing"
)

// maxBacklog bounds an answer about a message queue, in bytes.
const maxBacklog = 64 << 10

// backlogSource asks a URL or a command for the length of a message queue, beside the loop.
type backlogSource struct {
	conf  conf.Backlog
	stale time.Duration

	mu    sync.Mutex
	busy  bool
	asked time.Time
	at    time.Time
	last  sizing.Backlog
	err   error
}

func newBacklog(c *conf.Backlog, stale time.Duration) *backlogSource {
	return &backlogSource{conf: *c, stale: stale, err: errors.New("the queue's length has not been asked for yet")}
}

// Look implements control.Backlog.
func (b *backlogSource) Look(now time.Time) (*sizing.Backlog, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.busy && now.Sub(b.asked) >= b.conf.Every {
		b.busy, b.asked = true, now
		go b.ask()
	}
	if b.at.IsZero() || now.Sub(b.at) > b.stale {
		return nil, b.err
	}
	last := b.last
	return &last, b.err
}

func (b *backlogSource) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), b.conf.Timeout)
	defer cancel()
	text, err := b.read(ctx)
	var v sizing.Backlog
	if err == nil {
		if err = json.Unmarshal(text, &v); err != nil {
			err = fmt.Errorf("understand the queue's length: %w", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy, b.err = false, err
	if err == nil {
		b.last, b.at = v, time.Now()
	}
}

func (b *backlogSource) read(ctx context.Context) ([]byte, error) {
	if b.conf.URL == "" {
		cmd := exec.CommandContext(ctx, b.conf.Command[0], b.conf.Command[1:]...)
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		switch {
		case err != nil:
			return nil, fmt.Errorf("run %s: %w", b.conf.Command[0], err)
		case len(out) > maxBacklog:
			return nil, fmt.Errorf("run %s: it printed %d bytes, and at most %d are taken", b.conf.Command[0], len(out), maxBacklog)
		}
		return bytes.TrimSpace(out), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.conf.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the queue's length: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the queue's length: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for the queue's length: %s answers %s", b.conf.URL, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxBacklog))
}
