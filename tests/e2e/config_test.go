package e2e

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// replace swaps a file as editors and configuration management do: a new file renamed over the old one.
func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationIsReloadedAllOrNothing(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	good, err := os.ReadFile(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	was := f.status().Config

	bad := strings.Replace(string(good), "target: 0.6", "target: 1.6", 1)
	replace(t, f.Config, strings.Replace(bad, "tick: 1s", "tick: 500ms", 1))
	s := f.until("the refusal", 20*time.Second, func(s api.Status) bool { return s.Config.Problem != "" })
	if !regexp.MustCompile(`tidegate\.yaml:\d+:\d+: apps\[0\]\.busy_ratio\.target: "1\.6" is not allowed: a share above 0 to 1`).MatchString(s.Config.Problem) {
		t.Errorf("the problem is told as %q", s.Config.Problem)
	}
	f.turns(2)
	if s = f.status(); s.TickMS != 1000 || !s.Config.Loaded.Equal(was.Loaded) {
		t.Errorf("part of a bad configuration was taken: %+v, tick %v", s.Config, s.TickMS)
	}
	if err := f.API.Reload(t.Context()); err == nil {
		t.Error("a reload of a bad configuration was accepted")
	}

	replace(t, f.Config, strings.Replace(string(good), "tick: 1s", "tick: 500ms", 1))
	f.until("the new tick, by the file's change alone", 20*time.Second, func(s api.Status) bool { return s.TickMS == 500 && s.Config.Problem == "" })

	replace(t, f.Config, strings.Replace(string(good), "metrics: ", "metrics: 127.0.0.1:1 #", 1))
	f.until("the refusal of a moved address", 20*time.Second, func(s api.Status) bool { return strings.Contains(s.Config.Problem, "takes a restart") })

	replace(t, f.Config, string(good))
	if err := f.Controller.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s = f.until("the old tick, by SIGHUP", 20*time.Second, func(s api.Status) bool { return s.TickMS == 1000 && s.Config.Problem == "" })
	f.turns(3)
	if s = f.status(); serving(s) != 2 || !settled(s) {
		t.Errorf("reloading moved servers: %+v", s.Apps[0].Servers)
	}
}

func TestAgentReloadsItsConfiguration(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	file := f.Rig.Path("agent-n3.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	agent := f.Agents[2]
	replace(t, file, strings.Replace(string(good), "max: 3", "max: 0", 1))
	if err := agent.WaitLog("the one before stays in force", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	replace(t, file, strings.Replace(string(good), "max: 3", "max: 2", 1))
	if err := agent.WaitLog("the configuration was loaded", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	f.until("the agent heard again", 20*time.Second, func(s api.Status) bool {
		for _, src := range s.Sources {
			if src.Name == "agent n3" {
				return src.OK
			}
		}
		return false
	})
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	for name, url := range map[string]string{"controller": "http://" + f.MetricsAddr + "/metrics", "agent": f.AgentURL(0) + "/metrics"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		series := map[string]bool{}
		line := regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{[^}]*\})? [-+0-9.eEInfNa]+$`)
		for _, l := range strings.Split(strings.TrimSpace(string(body)), "\n") {
			if strings.HasPrefix(l, "#") {
				continue
			}
			m := line.FindStringSubmatch(l)
			if m == nil {
				t.Errorf("%s: not a metric line: %q", name, l)
				continue
			}
			if series[m[1]+m[2]] {
				t.Errorf("%s: %s stands there twice", name, m[1]+m[2])
			}
			series[m[1]+m[2]] = true
		}
		want := []string{
			`tidegate_app_workers{app="shop",kind="ready"}`, `tidegate_server_in_service{app="shop",server="n2"}`, "tidegate_spoa_frames_total",
			"tidegate_turns_total", `tidegate_nginx_reloads_total{reason="recover",result="ok"}`,
		}
		if name == "agent" {
			want = nil
			if len(series) < 5 {
				t.Errorf("the agent shows %d series", len(series))
			}
		}
		for _, w := range want {
			if !series[w] {
				t.Errorf("%s lacks %s", name, w)
			}
		}
	}
	if err := get("http://" + f.MetricsAddr + "/v1/status"); err == nil {
		t.Error("the metrics address serves the whole API")
	}
}

// What a person meets on the command line: one sentence and a telling exit status.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	rig := harness.ForTest(t)
	bad, err := rig.Write("bad.yaml", "tick: 5ms\n")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		args []string
		code int
		text string
	}{
		"no command":         {nil, 0, "Available Commands"},
		"version":            {[]string{"--version"}, 0, "tidegate "},
		"unknown command":    {[]string{"scale"}, 2, `unknown command "scale"`},
		"unknown flag":       {[]string{"run", "--fast"}, 2, "unknown flag: --fast"},
		"run without a file": {[]string{"run"}, 2, "needs -c FILE"},
		"missing file":       {[]string{"run", "-c", "/nonexistent.yaml"}, 2, "/nonexistent.yaml: no such file"},
		"check, bad":         {[]string{"check", bad}, 2, `bad.yaml:1:7: tick: "5ms" is not allowed: a duration from 100ms to 1m0s`},
		"run, bad":           {[]string{"run", "-c", bad}, 2, `tick: "5ms" is not allowed`},
		"agent, bad":         {[]string{"agent", "-c", bad}, 2, `unknown key "tick"`},
		"check, good":        {[]string{"check", "../../conf/testdata/good/controller.yaml"}, 0, "is good: controller, 2 app(s), 4 server(s), 2 node(s)"},
		"check, agent":       {[]string{"check", "../../conf/testdata/good/agent.yaml"}, 0, "is good: node agent n1"},
		"status, nobody":     {[]string{"status", "--api", "unix:/nonexistent.sock"}, 1, "is `tidegate run` running?"},
		"log level":          {[]string{"run", "-c", bad, "--log-level", "loud"}, 2, "debug, info, warn or error"},
		"decide, no file":    {[]string{"decide"}, 2, "needs -c FILE"},
		"decide, bad":        {[]string{"decide", "-c", bad}, 2, `tick: "5ms" is not allowed`},
		"decide, no lines":   {[]string{"decide", "-c", "../../conf/testdata/good/sizing.yaml"}, 0, ""},
		"decide, policy":     {[]string{"decide", "--policy", "-c", "../../conf/testdata/good/sizing.yaml"}, 0, `"slo_s":0.8`},
		"replay, no file":    {[]string{"replay"}, 2, "needs a JOURNAL"},
		"replay, missing":    {[]string{"replay", "/nonexistent.jsonl"}, 2, "/nonexistent.jsonl: no such file"},
		"replay, no journal": {[]string{"replay", bad}, 2, "bad.yaml: line 1: it is no line of a journal"},
		"demo, bad rate":     {[]string{"demo", "--rate", "5000"}, 2, "2 to 200"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, code := cli(t, c.args...)
			if code != c.code || !strings.Contains(out, c.text) {
				t.Errorf("exit status %d, want %d; output, want %q in it:\n%s", code, c.code, c.text, out)
			}
		})
	}
}

func TestStatusTable(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	out, code := cli(t, "status", "-c", f.Config)
	for _, want := range []string{"shop (busy_ratio)", "SERVER", "n1", "serving", "ready", "n3", "parked", "maint", "last decision"} {
		if !strings.Contains(out, want) {
			t.Errorf("exit status %d, %q is missing in\n%s", code, want, out)
		}
	}
	out, code = cli(t, "status", "-c", f.Config, "-o", "json")
	if code != 0 || !strings.Contains(out, `"in_flight"`) {
		t.Errorf("exit status %d:\n%s", code, out)
	}
}

// The live check finds nothing missing on a whole fleet, and names each thing that is taken away.
func TestCheckLiveNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	files := []string{"--haproxy", f.Rig.Path("haproxy.cfg"), "--haproxy", f.Rig.Path("tidegate.cfg")}
	live := func(config string) (string, int) {
		return cli(t, append([]string{"check", "--live", config}, files...)...)
	}
	out, code := live(f.Config)
	for _, want := range []string{"accepts the configuration", "has tidegate's lines", "answers at", "takes changes", "HAProxy runs tidegate-ctr", "messages about shop arrive", "node n3, app shop", "nginx accepts"} {
		if !strings.Contains(out, "ok       ") || !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != 0 || strings.Contains(out, "MISSING") {
		t.Errorf("exit status %d on a whole fleet:\n%s", code, out)
	}

	good, err := os.ReadFile(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	f.Agents[0].Kill()
	for what, wrong := range map[string]struct{ from, to, want string }{
		"backend": {"haproxy_backend: shop", "haproxy_backend: shoe", "MISSING  HAProxy has no backend shoe"},
		"server":  {"{name: n3, address", "{name: n33, address", "MISSING  backend shop has no server n33"},
	} {
		file := f.Rig.Path("wrong-" + what + ".yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(string(good), wrong.from, wrong.to, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, code = live(file)
		for _, want := range []string{wrong.want, "MISSING  node n1: ", "thing(s) missing"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", what, want, out)
			}
		}
		if code != 1 {
			t.Errorf("%s: exit status %d, want 1", what, code)
		}
	}
	f.HAProxy.Kill()
	if out, code = live(f.Config); code != 1 || !strings.Contains(out, "MISSING  ") || !strings.Contains(out, "haproxy.sock") {
		t.Errorf("exit status %d without HAProxy:\n%s", code, out)
	}
	if out, code = cli(t, "check", "--haproxy", "x", f.Config); code != 2 || !strings.Contains(out, "goes with --live") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
}
