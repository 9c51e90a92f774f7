package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
)

// writeJournal is a journal of the turns of a scenario of decide.
func writeJournal(t *testing.T, scenario string) string {
	t.Helper()
	d, err := newDecider(decideFlags{config: scenario + ".yaml", format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j := control.NewJournal(dir, 1<<30)
	add := func(e control.Entry) {
		t.Helper()
		if err := j.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	var memory core.Memory
	for i, line := range strings.Split(strings.TrimSpace(read(t, scenario+".in.jsonl")), "\n") {
		l, err := d.decoder.Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		p := l.Policy(d.policy(l.Now))
		if i == 0 {
			add(control.Entry{Time: l.Now, Kind: "start", Start: &control.Start{Version: "v1", Policy: p}})
		}
		seen := control.Seen{Nodes: l.Nodes}
		for k := range l.Apps {
			seen.Apps = append(seen.Apps, control.AppSeen{App: l.Apps[k].Name, Whole: &l.Apps[k]})
		}
		add(control.Entry{Time: l.Now, Kind: "turn", Seen: &seen})
		plan, next := core.Decide(p, memory, l.Observation)
		memory = next
		for k := range plan.Apps {
			if a := &plan.Apps[k]; len(a.Reasons)+len(a.Actions) > 0 {
				add(control.Entry{Time: l.Now, Kind: "decision", App: a.Name, Plan: a})
			}
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "journal.jsonl")
}

func TestReplay(t *testing.T) {
	scenario := scenarioDir + "/two-apps"
	journal := writeJournal(t, scenario)
	run := func(f replayFlags, name, in string) (string, error) {
		var out bytes.Buffer
		err := replay(t.Context(), f, []string{name}, strings.NewReader(in), &out)
		return out.String(), err
	}
	if out, err := run(replayFlags{}, journal, ""); err != nil || !strings.Contains(out, "by version v1: all ") || !strings.HasSuffix(out, "decisions are as they were\n") {
		t.Errorf("%q %v", out, err)
	}
	text := read(t, journal)
	if out, err := run(replayFlags{config: scenario + ".yaml"}, "-", text); err != nil || !strings.Contains(out, "as they were") {
		t.Errorf("by the configuration: %q %v", out, err)
	}
	tampered := strings.Replace(text, `"sentence":"`, `"sentence":"not `, 1)
	out, err := run(replayFlags{}, "-", tampered)
	if !errors.Is(err, errSilent) || !strings.Contains(out, "-: line ") || !strings.Contains(out, `.sentence: the journal has "not `) || strings.Count(out, "\n") != 1 {
		t.Errorf("tampered: %q %v", out, err)
	}
	// Another configuration decides otherwise.
	other := filepath.Join(t.TempDir(), "other.yaml")
	config := strings.ReplaceAll(read(t, scenario+".yaml"), "{max: 12}", "{max: 5}")
	if err := os.WriteFile(other, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(replayFlags{config: other}, journal, ""); !errors.Is(err, errSilent) || !strings.Contains(out, "the journal has") {
		t.Errorf("another configuration: %q %v", out, err)
	}
	// A journal of decisions alone is refused.
	if _, err := run(replayFlags{}, "-", `{"time":"2026-01-01T00:00:00Z","kind":"order"}`+"\n"); err == nil || !strings.Contains(err.Error(), "no turn to replay") {
		t.Errorf("no turns: %v", err)
	}
	// What it prints as lines is input of decide.
	lines, err := run(replayFlags{lines: true}, journal, "")
	if err != nil || strings.Count(lines, "\n") != strings.Count(text, `"kind":"turn"`) {
		t.Fatalf("%d lines, %v", strings.Count(lines, "\n"), err)
	}
	if answers := must(t, decideFlags{config: scenario + ".yaml", trace: true}, lines); strings.Count(answers, "\n") != strings.Count(lines, "\n") {
		t.Errorf("decide answered otherwise: %s", answers)
	}
}
