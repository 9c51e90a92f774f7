package main

import (
	"log/slog"
	"testing"

	"github.com/tidegate/tidegate/conf"
)

func TestEveryServerSectionHasItsAdapters(t *testing.T) {
	c, err := conf.LoadAgent("../../conf/testdata/good/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range c.Apps {
		if a := agentApp(app); a.Actuator == nil || a.Source == nil {
			t.Errorf("%s: source %T, actuator %T", app.Name, a.Source, a.Actuator)
		}
	}
	if _, err := newAgent(c, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
