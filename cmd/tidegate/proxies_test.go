package main

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/tidegate/tidegate/conf"
	"github.com/tidegate/tidegate/control"
)

// Only a refusal proves that no process is there, and not at a loopback address, where a tunnel may have ended.
func TestWhenAHAProxyIsTakenForGone(t *testing.T) {
	unix := func(listen bool) string {
		path := filepath.Join(t.TempDir(), "s.sock")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		// As after kill -9, the file stays.
		ln.SetUnlinkOnClose(false)
		if listen {
			t.Cleanup(func() { _ = ln.Close() })
		} else if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		return "unix:" + path
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loopback := tcp.Addr().String()
	if err := tcp.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		socket string
		remote bool
		gone   bool
	}{
		"refused":                {unix(false), false, true},
		"silent":                 {unix(true), false, false},
		"no such socket":         {"unix:/nonexistent/s.sock", false, false},
		"refused at loopback":    {loopback, false, false},
		"refused by a neighbour": {loopback, true, true},
	} {
		r := &rooms{log: slog.New(slog.DiscardHandler), set: metrics.NewSet()}
		room, err := r.proxyRoom(conf.HAProxy{Name: "lb2", Socket: c.socket, Remote: c.remote, Timeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, err = room.adapter().Observe(t.Context(), []string{"shop"})
		if err == nil || errors.Is(err, control.ErrGone) != c.gone {
			t.Errorf("%s: gone is %v, want %v (%v)", name, !c.gone, c.gone, err)
		}
	}
}

func TestAReloadKeepsTheClientsOfInstancesThatStay(t *testing.T) {
	set := metrics.NewSet()
	r := &rooms{log: slog.New(slog.DiscardHandler), set: set, offline: true}
	one := conf.HAProxy{Name: "lb1", Socket: "unix:/run/a.sock", Timeout: time.Second}
	two := conf.HAProxy{Name: "lb2", Socket: "unix:/run/b.sock", Timeout: time.Second}
	build := func(list ...conf.HAProxy) control.Setup {
		t.Helper()
		s, err := r.build(t.Context(), &conf.Controller{HAProxy: list})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := build(one, two)
	second := build(one)
	if len(second.Proxies) != 1 || second.Proxies[0] != first.Proxies[0] {
		t.Errorf("lb1 is another client: %+v %+v", first.Proxies, second.Proxies)
	}
	var text strings.Builder
	set.WritePrometheus(&text)
	if strings.Contains(text.String(), `"lb2"`) || !strings.Contains(text.String(), `"lb1"`) {
		t.Errorf("the series are those of\n%s", text.String())
	}
}
