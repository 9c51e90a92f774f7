package haproxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestAReloadIsSeen(t *testing.T) {
	harness.Need(t, "haproxy")
	rig := harness.ForTest(t)
	h := start(t, rig, "", "backend web\n    server s1 127.0.0.1:9 weight 100 disabled\n")
	c := client(t, haproxy.Options{Addr: "unix:" + h.Socket})
	before := apply(t, c, haproxy.SetState("web", "s1", haproxy.Ready), haproxy.SetWeight("web", "s1", 10))

	// Connections of before the reload stay with the old worker: a relay hands them out, so that the client meets the
	// real answers of a process that is stopping.
	old := relay(t, rig, h.Socket, 2)
	reload(t, h)
	after := observe(t, c, "web")
	if after.Process.ID == before.Process.ID || after.Process.Stopping {
		t.Errorf("process %+v, before it %+v", after.Process, before.Process)
	}
	if s := server(t, after, "web", "s1"); s.Weight != 100 || !s.Admin.Maint() {
		t.Errorf("the new process begins with the configuration, read %+v", s)
	}

	oldClient := client(t, haproxy.Options{Addr: "unix:" + old})
	state := observe(t, oldClient, "web")
	if state.Process.ID != before.Process.ID || !state.Process.Stopping {
		t.Errorf("the old process reads as %+v", state.Process)
	}
	_, results, err := oldClient.Apply(context.Background(), []haproxy.Command{haproxy.SetWeight("web", "s1", 20)}, nil)
	if !errors.Is(err, haproxy.ErrStopping) || errors.Is(err, haproxy.ErrUnknown) || !errors.Is(results[0].Err, haproxy.ErrStopping) {
		t.Errorf("a change through an old process: %v, %v", results, err)
	}
}

// reload is patient: the worker answers before the master of 2.6 sits in its loop, and a signal that comes in between is
// only noticed with the next one.
func reload(t testing.TB, h *harness.HAProxy) {
	t.Helper()
	before, err := h.WorkerPID()
	if err != nil {
		t.Fatal(err)
	}
	for range 15 {
		if err := h.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		err = harness.WaitFor("a new worker", time.Second, func() bool {
			now, err := h.WorkerPID()
			return err == nil && now != before
		})
		if err == nil {
			return
		}
		t.Logf("the reload signal went unnoticed, sent again")
	}
	t.Fatal(err)
}

// relay opens n connections to the socket now and, later, joins each new connection to one of them.
func relay(t testing.TB, rig *harness.Rig, socket string, n int) string {
	t.Helper()
	path := rig.Path("relay.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var held []net.Conn
	for range n {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		held = append(held, conn)
	}
	go func() {
		for _, far := range held {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(far, near) }()
			_, _ = io.Copy(near, far)
			near.Close()
			far.Close()
		}
	}()
	return path
}
