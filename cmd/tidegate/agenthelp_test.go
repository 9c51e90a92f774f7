package main

import (
	"bytes"
	"strings"
	"testing"
)

// What a person at the node gets who asks for help, or leaves something out.
func TestTheAgentsCommandsSayWhatTheyNeed(t *testing.T) {
	file := write(t, "agent.yaml", "node: n1\napps:\n  - name: shop\n    uwsgi: {stats: \"127.0.0.1:9191\", fifo: /run/shop.fifo}\n")
	for line, want := range map[string]string{
		"check " + file:                      "agent.yaml is good: node agent n1, 1 app(s)",
		"check -c " + file:                   "agent.yaml is good: node agent n1, 1 app(s)",
		"check":                              "tidegate check needs one FILE",
		"check -c " + file + " " + file:      "tidegate check needs one FILE",
		"agent":                              "tidegate agent needs -c FILE",
		"agent -h":                           "When it ends, workers stay as they are.",
		"agent drain -h":                     "tidegate agent drain -c FILE APP",
		"agent drain -c " + file:             "tidegate agent drain needs the name of one APP, as the agent's configuration has it; 0 are given",
		"agent drain -c " + file + " shop x": "2 are given",
		"agent drain shop":                   "tidegate agent drain needs -c FILE",
		"agent undrain -h":                   "tidegate may use the server again",
	} {
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("tidegate %s: %q, want %q in it", line, out.String(), want)
		}
	}
	if strings.Contains(help(t, "agent", "undrain"), "takes the server") {
		t.Error("undrain's help speaks of draining")
	}
}

func help(t *testing.T, args ...string) string {
	t.Helper()
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append(args, "-h"))
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
