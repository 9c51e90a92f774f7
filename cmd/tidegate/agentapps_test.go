package main

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/tidegate/tidegate/agent/sockdiag"
	"github.com/tidegate/tidegate/conf"
)

// Each section of a server gets its adapters: the marks count where there are any, or else the server itself.
func TestEachServerGetsItsAdapters(t *testing.T) {
	c, err := conf.LoadAgent("../../conf/testdata/good/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newAgent(c, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, app := range c.Apps {
		a := agentApp(app, sockdiag.NewTable())
		got[app.Name] = fmt.Sprintf("%T %T, %d to %d, zero %v", a.Source, a.Actuator, a.Min, a.Max, a.Actuator.Limits().Zero)
	}
	for name, want := range map[string]string{
		"shop":  "*filemarks.Source *signals.Master, 1 to 8, zero false",
		"rails": "*filemarks.Source *signals.Master, 0 to 8, zero true",
		"api":   "*puma.Server *puma.Server, 1 to 64, zero false",
		"wiki":  "*uwsgi.Server *uwsgi.Server, 1 to 64, zero false",
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
}
