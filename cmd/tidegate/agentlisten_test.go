package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
)

// The folder of the agent's socket, such as /run/tidegate after a boot, is made when it is missing.
func TestTheAgentMakesItsSocketsFolder(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "agent.sock")
	file := write(t, "agent.yaml", fmt.Sprintf("node: n1\nlisten: \"unix:%s\"\napps:\n  - name: shop\n    uwsgi: {stats: \"127.0.0.1:9\", fifo: /run/shop.fifo}\n", socket))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runAgent(ctx, file, slog.New(slog.DiscardHandler)) }()
	client, err := agent.NewClient(agent.ClientOptions{URL: "unix:" + socket, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err = client.Report(ctx); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the agent has ended: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
