package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// command runs a command line without leaving the process.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

const configured = `
state_dir: STATE
haproxy: {socket: "unix:STATE/haproxy.sock"}
nodes:
  - {name: n1, url: "http://127.0.0.1:1"}
  - {name: n2, url: "http://127.0.0.1:2"}
apps:
  - name: shop
    haproxy_backend: shop
    strategy: busy_ratio
    servers:
      - {name: a, address: "127.0.0.1:8001", node: n1, workers: {min: 2, max: 30}}
      - {name: b, address: "127.0.0.1:8002", node: n2, workers: {min: 2, max: 50}}
  - name: bare
    haproxy_backend: bare
    strategy: noop
    servers:
      - {name: a, address: "127.0.0.1:8003"}
`

// writeIn puts a file into a folder.
func writeIn(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "STATE", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSimulateOnOnesOwnTrafficAndPolicy(t *testing.T) {
	dir := t.TempDir()
	config := writeIn(t, dir, "tidegate.yaml", configured)
	csv := writeIn(t, dir, "mine.csv", "time,rate\n0,100\n700,100\n900,300\n1200,100\n")
	page := filepath.Join(dir, "report.html")
	args := []string{"simulate", "-c", config, "--app", "shop", "--trace", csv, "--policy", "tidegate", "-o", "json", "--report", page}
	first, err := command(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Params struct {
			Nodes      int
			PerNode    []int `json:"per_node"`
			MaxWorkers int   `json:"max_workers"`
		}
		Policies []string
		Runs     []struct {
			Trace, Policy string
			Requests      int
			Changes       []struct{ Why string }
		}
	}
	if err := json.Unmarshal([]byte(first), &got); err != nil {
		t.Fatal(err)
	}
	if p := got.Params; p.Nodes != 2 || p.MaxWorkers != 80 || len(p.PerNode) != 2 || p.PerNode[1] != 50 {
		t.Errorf("the fleet is %+v", p)
	}
	if len(got.Runs) != 2 || got.Runs[0].Trace != "mine" || got.Runs[0].Requests < 50000 || got.Runs[1].Policy != "oracle" || len(got.Runs[0].Changes) == 0 {
		t.Errorf("the runs are %+v", got.Runs)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "from mine.csv") {
		t.Errorf("the page: %v", err)
	}
	if again, err := command(t, args...); err != nil || again != first {
		t.Errorf("the same command line says something else (%v)", err)
	}
	args[len(args)-3] = "csv"
	if text, err := command(t, append(args, "--set", "busy_ratio.target=0.3")...); err != nil || !strings.HasPrefix(text, "trace,policy,seed,") {
		t.Errorf("with --set: %v\n%s", err, text)
	}
}

func TestSimulateRefusesInOneSentence(t *testing.T) {
	dir := t.TempDir()
	config := writeIn(t, dir, "tidegate.yaml", configured)
	bad := writeIn(t, dir, "bad.csv", "time,rate\n0,100\n10,many\n")
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--trace", "spikes"}, `there is no trace "spikes"; built in are slow, quick`},
		{[]string{"--trace", bad}, `bad.csv:3: the rate is "many"; allowed are numbers from 0 to 1e+06`},
		{[]string{"--trace", dir + "/none.csv"}, "read a trace: "},
		{[]string{"--policy", "kpb"}, `there is no policy "kpb": tidegate, always-on`},
		{[]string{"--workers", "4-160"}, `--workers "4-160" is not allowed: MIN..MAX`},
		{[]string{"--workers", "9..4"}, "the largest number of workers is 4; allowed is 9 to 100000"},
		{[]string{"--service", "0s"}, "the service time in seconds is 0; allowed is 0.0001 to 3600"},
		{[]string{"--oracle", "delphi"}, `--oracle "delphi" is not allowed: fine, coarse or none`},
		{[]string{"--seeds", "0"}, "--seeds 0 is not allowed: 1 to 1000"},
		{[]string{"--random", "-1"}, "--random -1 is not allowed: 0 to 1000"},
		{[]string{"--tick", "1500ms"}, "--tick 1.5s is not allowed: whole seconds"},
		{[]string{"-o", "yaml"}, `-o "yaml" is not allowed: table, json or csv`},
		{[]string{"--app", "shop"}, "--app goes with --config"},
		{[]string{"-c", config}, `--app "" is not in ` + config + ": shop, bare"},
		{[]string{"-c", config, "--app", "bare"}, "bare has servers without a node (a); only workers on nodes can be simulated"},
		{[]string{"-c", config, "--app", "shop", "--nodes", "3"}, "--nodes does not go with --config"},
		{[]string{"--set", "down"}, `--set "down" is not allowed: KEY=VALUE`},
		{[]string{"--set", "down.windows=1m"}, `--set down.windows: there is no "windows" there`},
		{[]string{"--set", "up.x.y=1"}, `--set up.x.y: there is no "x" in the sizing policy`},
		{[]string{"--set", "erlang.max_late=7"}, "--set erlang.max_late=7: erlang.max_late is 7; allowed is 0.0001 to 0.5"},
		{[]string{"--set", "collapse_guard.hold=1s"}, "--set collapse_guard.hold=1s: collapse_guard.hold is 1s; allowed is 1m0s to 24h0m0s"},
		{[]string{"--set", "down.share=many"}, "--set down.share=many: "},
		{[]string{"--report", dir + "/none/report.html"}, "its folder must exist"},
	} {
		begun := time.Now()
		_, err := command(t, append([]string{"simulate"}, row.args...)...)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want %q", row.args, err, row.want)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%v took %v: it ran before it refused", row.args, took)
		}
	}
}
