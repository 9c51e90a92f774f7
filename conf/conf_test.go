package conf

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/core"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each mistake is a file named after it, with the text a person gets beside it.
func TestMistakesAreNamedWithTheirPlaceAndWhatIsAllowed(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d bad files (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			_, _, err := Load(file)
			if err == nil {
				t.Fatal("a configuration with a mistake was accepted")
			}
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("the error is %T, want Problems: %v", err, err)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Fatalf("(-want +got)\n%s", diff)
			}
			for _, p := range ps {
				if p.Line < 1 || p.Column < 1 || p.File != file {
					t.Errorf("no place in %+v", p)
				}
			}
		})
	}
}

func TestControllerDefaults(t *testing.T) {
	c, a, err := Load("testdata/good/controller.yaml")
	if err != nil || a != nil {
		t.Fatalf("agent %v, error %v", a, err)
	}
	if !c.SPOA.Batch {
		t.Error("spoa.scheduling is not batch by default")
	}
	shop, old := c.Apps[0], c.Apps[1]
	if got, want := shop.Policy.Latency, (core.LatencyPolicy{Requests: 15, Threshold: 500 * time.Millisecond, Breaches: 3, Quiet: 300 * time.Second}); got != want {
		t.Errorf("latency defaults %+v, want those of the 2011 script %+v", got, want)
	}
	if shop.Policy.Sizing.Down.Window != 10*time.Minute || shop.Policy.Sizing.Busy.Target != 0.6 || shop.Policy.Sizing.Busy.Window != 5*time.Second {
		t.Errorf("busy_ratio %+v", shop.Policy.Sizing.Busy)
	}
	if shop.Servers[1].WarmURL != "http://10.0.0.2:8001/warm" || old.Servers[1].WarmURL != "http://10.0.0.2:8101/up" || old.Servers[0].WarmURL != "" {
		t.Errorf("warm-up URLs %q %q %q", shop.Servers[1].WarmURL, old.Servers[1].WarmURL, old.Servers[0].WarmURL)
	}
	if shop.Policy.MaxWorkers != 16 || shop.Policy.MinWorkers != 1 || shop.Policy.Servers[1].MaxWorkers != 8 {
		t.Errorf("sizes %+v", shop.Policy)
	}
}

func TestNginxDefaultsAndSettings(t *testing.T) {
	load := func(nginx string) Nginx {
		t.Helper()
		file := filepath.Join(t.TempDir(), "tidegate.yaml")
		upstream := "{name: shop}"
		if strings.HasPrefix(nginx, "stream_include") {
			upstream = "{name: shop, stream: true}"
		}
		text := "nginx: {" + nginx + "}\napps:\n- name: shop\n  strategy: noop\n  nginx_upstream: " + upstream + "\n  servers: [{name: s1, address: \"127.0.0.1:1\"}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadController(file)
		if err != nil {
			t.Fatal(err)
		}
		return *c.Nginx
	}
	got := load("include: /etc/nginx/conf.d/tidegate.conf")
	want := Nginx{Include: "/etc/nginx/conf.d/tidegate.conf", Config: "/etc/nginx/nginx.conf", MinMembership: 2 * time.Second, MinWeights: 10 * time.Second,
		Quiet: time.Second, MaxWait: 10 * time.Second, MaxPerMinute: 6, OldGenerations: 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	got = load("include: /etc/nginx/t.d, layout: per_app, stream_include: /etc/nginx/s.conf, test_command: [/usr/bin/sudo, nginx, -t], reload_command: [/bin/r], quiet: 0s, max_per_minute: 0, on_drift: report")
	if !got.PerApp || got.StreamInclude != "/etc/nginx/s.conf" || len(got.TestCommand) != 3 || got.ReloadCommand[0] != "/bin/r" || got.Quiet != 0 || got.MaxPerMinute != 0 || !got.ReportOnly {
		t.Errorf("%+v", got)
	}
	if got = load("stream_include: /etc/nginx/s.conf"); got.Include != "" {
		t.Errorf("%+v", got)
	}
}

func TestAgentFileIsToldApart(t *testing.T) {
	c, a, err := Load("testdata/good/agent.yaml")
	if err != nil || c != nil || a.Node != "n1" || a.Apps[0].Max != 8 {
		t.Fatalf("controller %v, agent %+v, error %v", c, a, err)
	}
}

func TestSecretsPrintAsSecret(t *testing.T) {
	s := Secret("hunter2hunter2hunter2")
	text := fmt.Sprintf("%s %v %+v %#v %q", s, s, struct{ S Secret }{s}, s, s)
	if strings.Contains(text, "hunter2") {
		t.Fatalf("a secret was printed: %s", text)
	}
}

func TestTokenFileIsRead(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	file := filepath.Join(dir, "agent.yaml")
	text := "node: n1\nlisten: 0.0.0.0:9101\ntoken_file: " + token + "\napps:\n  - {name: a, marks: /m, gunicorn: {pid_file: /p}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for content, ok := range map[string]bool{"0123456789abcdef\n": true, "short\n": false, "two words 0123456789\n": false} {
		if err := os.WriteFile(token, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := LoadAgent(file)
		if (err == nil) != ok {
			t.Errorf("token %q: error %v", content, err)
		}
		if ok && a.Token.Reveal() != strings.TrimSpace(content) {
			t.Errorf("token %q read as %q", content, a.Token.Reveal())
		}
		if err != nil && strings.Contains(err.Error(), strings.TrimSpace(content)) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

// FuzzLoad: no text makes reading panic, and every accepted configuration is complete.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/good", "testdata/bad"} {
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, a, err := Load(file)
		if err == nil && (c == nil) == (a == nil) {
			t.Fatalf("no error, controller %v, agent %v", c, a)
		}
		if c != nil && (c.Tick <= 0 || len(c.Apps) == 0 || c.Apps[0].Policy.Weight < 1) {
			t.Fatalf("an incomplete configuration was accepted: %+v", c)
		}
	})
}

func TestServersOfAnAgent(t *testing.T) {
	_, a, err := Load("testdata/good/agent-servers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shop, news, mail := a.Apps[0], a.Apps[1], a.Apps[2]
	want := &AgentProcesses{Listen: "127.0.0.1:8000", Directory: "/", StateDir: "/run/tidegate/agent", SocketMode: 0o660, Umask: 0o022,
		Command: []string{"gunicorn", "--workers", "1", "shop:app"}, StopSignal: "TERM", StopDeadline: 30 * time.Second,
		IdleZero: time.Minute, StartDeadline: time.Minute}
	if diff := cmp.Diff(want, shop.Processes); diff != "" || shop.Min != 0 || shop.Max != 12 {
		t.Errorf("defaults (-want +got)\n%s%+v", diff, shop)
	}
	want = &AgentProcesses{Listen: "unix:/run/news.sock", Directory: "/srv/news", StateDir: "/run/news", SocketMode: 0o666, Umask: 0o027,
		Command: []string{"/srv/news/server"}, StopSignal: "QUIT", StopDeadline: 10 * time.Second, IdleZero: 5 * time.Minute,
		StartDeadline: 90 * time.Second, User: "news", Group: "www-data", EnvFile: "/etc/news.env", Log: "/var/log/news/worker-%d.log", Notify: true}
	if diff := cmp.Diff(want, news.Processes); diff != "" || news.Min != 1 || news.Max != 64 {
		t.Errorf("(-want +got)\n%s%+v", diff, news)
	}
	if mail.Systemd == nil || mail.Systemd.Unit != "mail@%d.service" || mail.Min != 0 || mail.Max != 64 {
		t.Errorf("%+v", mail)
	}
}

func TestWhatCountsBusyWorkers(t *testing.T) {
	a, err := LoadAgent("testdata/good/agent-sockets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{BusySockets, BusyMarks, BusySockets} {
		if got := a.Apps[i]; got.Busy != want || len(got.Sockets) == 0 {
			t.Errorf("%s: busy workers are counted by %q (sockets %v), want %q", got.Name, got.Busy, got.Sockets, want)
		}
	}
	if a, err = LoadAgent("testdata/good/agent.yaml"); err != nil || a.Apps[0].Busy != BusyMarks {
		t.Errorf("marks alone: %+v, %v", a, err)
	}
}
