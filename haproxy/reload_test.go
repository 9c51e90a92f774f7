package haproxy_test

import (
	"context"
	"errors"
	"testing"

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
	old := h.Held(t, 2)
	if err := h.Reload(); err != nil {
		t.Fatal(err)
	}
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
