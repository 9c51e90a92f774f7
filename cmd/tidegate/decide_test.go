package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api/decision"
	"github.com/tidegate/tidegate/control"
	"github.com/tidegate/tidegate/core"
)

var update = flag.Bool("update", false, "write the golden files anew")

const scenarioDir = "testdata/decide"

// small is a configuration as short as one may be.
const small = "apps:\n  - name: shop\n    servers: [{name: n1, node: n1, workers: {max: 24}}]\n"

func scenarios(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(scenarioDir + "/*.in.jsonl")
	if err != nil || len(files) < 9 {
		t.Fatalf("found %d scenarios (%v)", len(files), err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".in.jsonl")
	}
	return files
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// answers runs the command on the lines.
func answers(t *testing.T, f decideFlags, in string) (string, error) {
	t.Helper()
	if f.format == "" {
		f.format = "json"
	}
	var out bytes.Buffer
	err := decide(t.Context(), f, strings.NewReader(in), &out)
	return out.String(), err
}

func must(t *testing.T, f decideFlags, in string) string {
	t.Helper()
	out, err := answers(t, f, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The same lines give the same answers, byte for byte, as they are written down.
func TestDecideGolden(t *testing.T) {
	for _, s := range scenarios(t) {
		t.Run(filepath.Base(s), func(t *testing.T) {
			f := decideFlags{config: s + ".yaml", trace: true}
			got := must(t, f, read(t, s+".in.jsonl"))
			if *update {
				if err := os.WriteFile(s+".out.jsonl", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(strings.Split(read(t, s+".out.jsonl"), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if again := must(t, f, read(t, s+".in.jsonl")); again != got {
				t.Error("a second run answered differently")
			}
		})
	}
}

// A memory that was written and read again is the memory: wherever the input is cut, the answers are the same.
func TestDecideGoesOnFromItsMemory(t *testing.T) {
	for _, s := range scenarios(t) {
		lines := strings.SplitAfter(strings.TrimSpace(read(t, s+".in.jsonl")), "\n")
		want := must(t, decideFlags{config: s + ".yaml", trace: true}, strings.Join(lines, ""))
		for _, cut := range []int{1, len(lines) / 3, len(lines) - 1} {
			memory := filepath.Join(t.TempDir(), "memory.json")
			got := must(t, decideFlags{config: s + ".yaml", trace: true, memoryOut: memory}, strings.Join(lines[:cut], ""))
			got += must(t, decideFlags{config: s + ".yaml", trace: true, memory: memory}, strings.Join(lines[cut:], ""))
			if got != want {
				t.Errorf("%s cut after line %d: %s", s, cut, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
			}
		}
	}
}

// The memory file is the one that `tidegate run` keeps.
func TestDecideReadsTheControllersMemory(t *testing.T) {
	dir := t.TempDir()
	ours := filepath.Join(dir, "memory.json")
	s := scenarioDir + "/step"
	must(t, decideFlags{config: s + ".yaml", memoryOut: ours}, read(t, s+".in.jsonl"))
	store, err := control.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := store.Load()
	if err != nil || m.Apps["shop"].Sizing.Workers == 0 {
		t.Fatalf("the controller reads %+v, %v", m, err)
	}
	if err := store.Save(m, false); err != nil {
		t.Fatal(err)
	}
	again, err := decision.ReadMemory([]byte(read(t, ours)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("(-controller +decide)\n%s", diff)
	}
}

// An observation of the controller, as its journal has it, is a line of input, and is decided on alike.
func TestDecideReadsTheControllersObservations(t *testing.T) {
	s := scenarioDir + "/two-apps"
	d, err := newDecider(decideFlags{config: s + ".yaml", format: "json", trace: true})
	if err != nil {
		t.Fatal(err)
	}
	var memory core.Memory
	for i, line := range strings.Split(strings.TrimSpace(read(t, s+".in.jsonl")), "\n") {
		l, err := d.decoder.Decode([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(l.Observation)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.line(text)
		if err != nil {
			t.Fatalf("line %d, written by the core: %v\n%s", i+1, err, text)
		}
		plan, next := core.Decide(d.policy(l.Now), memory, l.Observation)
		memory = next
		want, err := decision.Encode(l.Observation, plan, decision.Options{Trace: true})
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("line %d: %s", i+1, cmp.Diff(string(want), string(got)))
		}
	}
}

// The order of apps, in a line or in the configuration, changes no app's plan.
func TestOrderOfAppsIsIrrelevant(t *testing.T) {
	s := scenarioDir + "/two-apps"
	plans := func(config string, turn func([]any)) map[string][]string {
		var in bytes.Buffer
		for _, line := range strings.Split(strings.TrimSpace(read(t, s+".in.jsonl")), "\n") {
			var o map[string]any
			dec := json.NewDecoder(strings.NewReader(line))
			dec.UseNumber()
			if err := dec.Decode(&o); err != nil {
				t.Fatal(err)
			}
			turn(o["apps"].([]any))
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			in.Write(append(text, '\n'))
		}
		out := map[string][]string{}
		for _, line := range strings.Split(strings.TrimSpace(must(t, decideFlags{config: config, trace: true}, in.String())), "\n") {
			var a struct{ Apps []json.RawMessage }
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			for _, raw := range a.Apps {
				var app struct{ Name string }
				if err := json.Unmarshal(raw, &app); err != nil {
					t.Fatal(err)
				}
				out[app.Name] = append(out[app.Name], string(raw))
			}
		}
		return out
	}
	text := read(t, s+".yaml")
	i, j := strings.Index(text, "  - name: shop"), strings.Index(text, "  - name: mail")
	turned := write(t, "turned.yaml", text[:i]+text[j:]+text[i:j])
	want := plans(s+".yaml", func([]any) {})
	if len(want["shop"]) < 10 || len(want["mail"]) < 10 {
		t.Fatalf("plans of %d and %d turns", len(want["shop"]), len(want["mail"]))
	}
	if diff := cmp.Diff(want, plans(s+".yaml", slices.Reverse[[]any])); diff != "" {
		t.Errorf("turned round in the lines: %s", diff)
	}
	if diff := cmp.Diff(want, plans(turned, func([]any) {})); diff != "" {
		t.Errorf("turned round in the configuration: %s", diff)
	}
}

// A driver writes one line and waits for one line.
func TestDecideAnswersEachLineAtOnce(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- decide(context.Background(), decideFlags{config: write(t, "small.yaml", small), format: "json"}, inR, outW)
		_ = outW.Close()
	}()
	out := bufio.NewReader(outR)
	for i, now := range []string{"1700000000", "1700000000.5", `"2023-11-14T22:13:25Z"`} {
		if _, err := io.WriteString(inW, `{"now":`+now+`,"apps":[{"name":"shop","servers":[{"name":"n1","pool":{"ready":4}}]}]}`+"\n"); err != nil {
			t.Fatal(err)
		}
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		want := []string{`"now":"2023-11-14T22:13:20Z"`, `"now":"2023-11-14T22:13:20.5Z"`, `"now":"2023-11-14T22:13:25Z"`}[i]
		if !strings.Contains(line, want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
	_ = inW.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A signal ends a conversation in which nobody says anything.
func TestDecideCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, w := io.Pipe()
	defer w.Close()
	done := make(chan error, 1)
	go func() {
		done <- decide(ctx, decideFlags{config: write(t, "small.yaml", small), format: "json"}, in, io.Discard)
	}()
	cancel()
	if err := <-done; err == nil || err.Error() != "interrupted" {
		t.Fatalf("%v", err)
	}
}

func TestDecideFlags(t *testing.T) {
	s := scenarioDir + "/two-apps"
	in := read(t, s+".in.jsonl")
	out := must(t, decideFlags{config: s + ".yaml", trace: true, apps: []string{"mail"}}, in)
	if strings.Contains(out, `"shop"`) || strings.Count(out, `"name":"mail"`) != strings.Count(in, "\n") || !strings.Contains(out, `"trace"`) {
		t.Errorf("--app mail answered\n%.600s", out)
	}
	if out = must(t, decideFlags{config: s + ".yaml"}, in); strings.Contains(out, `"trace"`) || !strings.Contains(out, `"workers":14`) {
		t.Errorf("--trace=false answered\n%.600s", out)
	}
	if out = must(t, decideFlags{config: s + ".yaml", format: "text"}, in); strings.Count(out, "\n") != 2*strings.Count(in, "\n") || !strings.Contains(out, "mail  3 workers: n1 serving 2, n3 serving 1") {
		t.Errorf("-o text answered\n%.600s", out)
	}
	out = must(t, decideFlags{config: s + ".yaml", policy: true}, "not read")
	var p struct {
		Apps []struct {
			Sizing struct {
				SLO float64 `json:"slo_s"`
			} `json:"sizing"`
		} `json:"apps"`
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || len(p.Apps) != 2 || p.Apps[0].Sizing.SLO != 0.5 {
		t.Errorf("--policy printed %v\n%s", err, out)
	}
}

// Whatever is wrong is one sentence with its line; the lines before it are answered, the memory is not written.
func TestDecideRefusesWithOneSentence(t *testing.T) {
	good := `{"now":100,"apps":[{"name":"shop","servers":[{"name":"n1","pool":{"ready":4}}]}]}`
	cases := map[string]struct{ line, want string }{
		"no JSON":            {`hello`, `"hello" is not allowed: an object`},
		"a list":             {`[]`, "a list is not allowed: an object"},
		"cut off":            {good[:len(good)-2], "the line ends in the middle of the object"},
		"more behind":        {good + "{}", "more stands after the end"},
		"no time":            {`{"apps":[]}`, "now is missing"},
		"bad time":           {`{"now":"yesterday","apps":[]}`, `now: "yesterday" is not allowed: a time such as`},
		"negative time":      {`{"now":-1}`, "now: -1 is not allowed: seconds since 1970"},
		"back in time":       {`{"now":99,"apps":[]}`, "now: 1970-01-01T00:01:39Z is before the line before it (1970-01-01T00:01:40Z)"},
		"unknown name":       {`{"now":100,"apps":[{"name":"shop","traffic":{"secs":[]}}]}`, `apps[0].traffic: unknown name "secs": known, rate`},
		"wrong case":         {`{"Now":100}`, `unknown name "Now"`},
		"twice":              {`{"now":100,"now":101}`, `the name "now" stands here a second time`},
		"text for a number":  {`{"now":100,"apps":[{"name":"shop","servers":[{"name":"n1","pool":{"busy":"4"}}]}]}`, `apps[0].servers[0].pool.busy: the text "4" is not allowed: a number`},
		"number for a flag":  {`{"now":100,"apps":[{"name":"shop","traffic":{"known":1}}]}`, `apps[0].traffic.known: "1" is not allowed: true or false`},
		"part of a worker":   {`{"now":100,"apps":[{"name":"shop","servers":[{"name":"n1","pool":{"ready":4.5}}]}]}`, "apps[0].servers[0].pool.ready: 4.5 is not allowed: a whole number"},
		"NaN":                {`{"now":100,"apps":[{"name":"shop","traffic":{"rate":NaN}}]}`, `apps[0].traffic.rate: "NaN" is not allowed: a number`},
		"too large":          {`{"now":100,"apps":[{"name":"shop","traffic":{"rate":1e999}}]}`, "apps[0].traffic.rate: 1e999 is not allowed"},
		"not a JSON number":  {`{"now":100,"apps":[{"name":"shop","traffic":{"rate":01}}]}`, "this is not JSON"},
		"comma":              {`{"now":100,"apps":[],}`, "a comma with nothing after it"},
		"unknown app":        {`{"now":100,"apps":[{"name":"blog"}]}`, `apps[0].name: "blog" is no app of the configuration: shop`},
		"app twice":          {`{"now":100,"apps":[{"name":"shop"},{"name":"shop"}]}`, `apps[1].name: "shop" stands in this line a second time`},
		"unknown server":     {`{"now":100,"apps":[{"name":"shop","servers":[{"name":"n2"}]}]}`, `apps[0].servers[0].name: "n2" is no server of app shop: n1`},
		"unknown node":       {`{"now":100,"nodes":[{"name":"n9"}]}`, `nodes[0].name: "n9" is no node of the configuration: n1`},
		"no second":          {`{"now":100,"apps":[{"name":"shop","traffic":{"seconds":[{"arrivals":1}]}}]}`, "apps[0].traffic.seconds[0].at is missing"},
		"unknown state":      {`{"now":100,"apps":[{"name":"shop","servers":[{"name":"n1","proxy":{"admin":"up"}}]}]}`, `apps[0].servers[0].proxy.admin: "up" is not allowed: ready, drain or maint`},
		"unknown warm state": {`{"now":100,"apps":[{"name":"shop","servers":[{"name":"n1","warm":"hot"}]}]}`, `apps[0].servers[0].warm: "hot" is not allowed`},
		"unknown order":      {`{"now":100,"apps":[{"name":"shop","orders":[{"id":"a","kind":"stop"}]}]}`, `apps[0].orders[0].kind: "stop" is not allowed: hold, pin or reserve`},
		"nameless order":     {`{"now":100,"apps":[{"name":"shop","orders":[{"kind":"hold"}]}]}`, "apps[0].orders[0].id is missing"},
		"endless order":      {`{"now":100,"apps":[{"name":"shop","orders":[{"id":"a","kind":"reserve","workers":3}]}]}`, "apps[0].orders[0].from is missing"},
	}
	config := write(t, "small.yaml", small)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			memory := filepath.Join(t.TempDir(), "memory.json")
			out, err := answers(t, decideFlags{config: config, memoryOut: memory}, good+"\n\n"+c.line+"\n"+good+"\n")
			var usage usageError
			if !errors.As(err, &usage) {
				t.Fatalf("error %v", err)
			}
			if !strings.HasPrefix(err.Error(), "line 3: ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q, want %q in it", err, c.want)
			}
			if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "}\n") {
				t.Errorf("answered before it:\n%s", out)
			}
			if _, err := os.Stat(memory); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the memory was written (%v)", err)
			}
		})
	}
}

func TestDecideRefusesBadFlags(t *testing.T) {
	config := write(t, "small.yaml", small)
	for want, f := range map[string]decideFlags{
		"needs -c FILE":                          {},
		"no such file":                           {config: "/nonexistent.yaml"},
		"--output \"yaml\" is not allowed":       {config: config, format: "yaml"},
		"--app \"blog\": " + config + " has no":  {config: config, apps: []string{"blog"}},
		"--memory: open /nonexistent":            {config: config, memory: "/nonexistent"},
		"understand the memory":                  {config: config, memory: config},
		"it is of version 9, and this is 1":      {config: config, memory: write(t, "m.json", `{"version":9}`)},
		"bad.yaml:1:1: unknown: unknown key":     {config: write(t, "bad.yaml", "unknown: 1\n")},
		"every server must have a `node`, whose": {config: write(t, "bad.yaml", "apps: [{name: a, servers: [{name: b}]}]\n")},
	} {
		if out, err := answers(t, f, ""); err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%+v: error %v, want %q in it; output %q", f, err, want, out)
		}
	}
	if _, err := answers(t, decideFlags{config: config, memoryOut: "/nonexistent/m.json"}, ""); err == nil || !strings.Contains(err.Error(), "--memory-out") {
		t.Errorf("error %v", err)
	}
}
