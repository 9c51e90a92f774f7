package nginxgen

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes files below a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadUpstreams(t *testing.T) {
	dir := write(t, map[string]string{
		"nginx.conf": `user www-data;
events { }
http {
    # upstream commented { server 127.0.0.1:1; }
    include sites/*;
    upstream "quoted" {
        server 10.0.0.9:80;
    }
    include missing.conf;
}
stream { upstream tcp { server 10.0.0.1:5432; } }
`,
		"sites/a.conf": `

upstream app {
    zone app 64k;
    least_conn;
    server 10.0.0.1:8000 weight=3 max_fails=2 fail_timeout=5s;
    server unix:/run/app.sock backup;
    server web.example:80 down;
    keepalive 32;
    keepalive_timeout 60s;
}
map $uri $x { "~^/a{1}b;$" "}"; default 1; }
upstream App2 { server 10.0.0.1; hash $uri consistent; }
server {
    listen 80;
    location ~ ^/(.*)\;$ { return 404; }
    location / { proxy_pass http://app; if ($x) { proxy_pass http://app/x; } }
    location /u { uwsgi_pass app2; }
}
`,
		"sites/.hidden.conf": "upstream hidden { server 10.0.0.1:1; }",
		"sites/b.conf":       "include sites/b.conf;\nupstream app { server 10.0.0.2:1; }\n",
	})
	got, warnings, err := ReadUpstreams(filepath.Join(dir, "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "sites/a.conf"), filepath.Join(dir, "sites/b.conf")
	users := []string{a + ": proxy_pass http://app", a + ": proxy_pass http://app/x"}
	want := []Found{
		{Name: "app", File: a, Line: 3, Method: "least_conn", Zone: "app 64k", Keepalive: 32, Servers: []FoundServer{
			{Address: "10.0.0.1:8000", Weight: 3, Params: []string{"fail_timeout=5s", "max_fails=2"}},
			{Address: "unix:/run/app.sock", Weight: 1, Backup: true},
			{Address: "web.example:80", Weight: 1, Down: true},
		}, Other: []string{"keepalive_timeout 60s"}, Users: users},
		{Name: "App2", File: a, Line: 13, Method: "hash $uri consistent", Servers: []FoundServer{{Address: "10.0.0.1", Weight: 1}},
			Users: []string{a + ": uwsgi_pass app2"}},
		{Name: "app", File: b, Line: 2, Servers: []FoundServer{{Address: "10.0.0.2:1", Weight: 1}}, Users: users},
		{Name: "quoted", File: filepath.Join(dir, "nginx.conf"), Line: 6, Servers: []FoundServer{{Address: "10.0.0.9:80", Weight: 1}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all := strings.Join(warnings, "\n")
	for _, w := range []string{`server "web.example:80" is not an ip:port`, `"keepalive_timeout 60s" has no counterpart`, `server "10.0.0.1" is not`,
		"includes itself", "missing.conf: there is no such file", `upstream "app": the name is already in ` + a} {
		if !strings.Contains(all, w) {
			t.Errorf("no warning with %q in:\n%s", w, all)
		}
	}
}

func TestReadUpstreamsRefusesHarm(t *testing.T) {
	fifo := func(t *testing.T, dir string) {
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		text, says string
		more       func(*testing.T, string)
	}{
		"a deep nest":             {text: strings.Repeat("a{", 1_000_000), says: "opening braces"},
		"a nest too deep":         {text: strings.Repeat("a {\n", 100) + strings.Repeat("}", 100), says: "nest deeper than 64 on line 65"},
		"a nest behind a quote":   {text: `a "x\\" ` + strings.Repeat("a{", 90_000), says: "nest deeper than 64"},
		"a NUL":                   {text: "events { }\n# \x00\n", says: "NUL byte on line 2"},
		"a block that stays open": {text: "http { upstream a {", says: "unexpected eof"},
		"include a pipe":          {text: "http { include pipe; }", says: "not a regular file", more: fifo},
		"a stray brace":           {text: "http { } } http { upstream a { server 10.0.0.1:1; } }", says: "closing brace without a block on line 1"},
		"a bare include":          {text: "include;", says: "include directive"},
		"an upstream no name":     {text: "http { upstream { server 10.0.0.1:1; } }", says: "name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"nginx.conf": c.text})
			if c.more != nil {
				c.more(t, dir)
			}
			_, warnings, err := ReadUpstreams(filepath.Join(dir, "nginx.conf"))
			said := strings.Join(warnings, "\n")
			if err != nil {
				said += err.Error()
			}
			if !strings.Contains(said, c.says) {
				t.Fatalf("want %q, got: %s", c.says, said)
			}
		})
	}
}

func TestMainSettings(t *testing.T) {
	dir := write(t, map[string]string{
		// gonginx does not take this regular expression; a reload must not hang on that.
		"nginx.conf":  "include mods/*;\nerror_log \"logs/e rr\" warn; # error_log no;\nhttp { error_log /inner; server { location ~ ^/a}b$ { } location ~ ^/a\\{b$ { } } }\n",
		"mods/a.conf": "pid /run/x.pid;",
	})
	pid, log, err := mainSettings(filepath.Join(dir, "nginx.conf"))
	if err != nil || pid != "/run/x.pid" || log != "logs/e rr" {
		t.Fatalf("pid %q, error_log %q, %v", pid, log, err)
	}
}

func TestParseBuilt(t *testing.T) {
	got := parseBuilt("nginx version: nginx/1.22.1\nconfigure arguments: --with-cc-opt='-g --pid-path=/wrong' --prefix=/usr/share/nginx " +
		"--pid-path=/run/nginx.pid --error-log-path=stderr --without-http_uwsgi_module\n")
	want := built{prefix: "/usr/share/nginx", pidPath: "/run/nginx.pid", errorLog: "stderr", without: map[string]bool{"http_uwsgi_module": true}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(built{})); diff != "" {
		t.Fatal(diff)
	}
}

func TestJudge(t *testing.T) {
	const ours = "/etc/nginx/up.conf"
	for name, c := range map[string]struct {
		out  string
		fail bool
		ok   bool
		text string
	}{
		"silence":              {"", false, true, ""},
		"a warning elsewhere":  {"nginx: [warn] conflicting server name in /etc/nginx/site.conf:3\n", false, true, ""},
		"a warning on ours":    {"nginx: [warn] load balancing method redefined in " + ours + ":5\n", false, false, "load balancing method redefined in " + ours + ":5"},
		"stderr as error log":  {"2026/01/02 03:04:05 [warn] 7#7: load balancing method redefined in " + ours + ":5\n", false, false, "load balancing method redefined in " + ours + ":5"},
		"an error":             {"nginx: [warn] x\nnginx: [emerg] duplicate upstream \"a\" in /x:1\nnginx: configuration file /x test failed\n", true, false, `duplicate upstream "a" in /x:1`},
		"failed without words": {"Segmentation fault\n", true, false, "Segmentation fault; exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if c.fail {
				err = errExit{}
			}
			v := judge(c.out, err, ours)
			if v.ok != c.ok || v.text != c.text {
				t.Fatalf("%+v", v)
			}
		})
	}
}

type errExit struct{}

func (errExit) Error() string { return "exit status 1" }

func TestEmergencies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("2026/01/02 03:04:05 [emerg] 7#7: long ago\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tail := openTail(path)
	defer tail.close()
	for _, step := range []struct {
		add, msg string
		final    bool
	}{
		{"2026/01/02 03:04:06 [emerg] 8#8: another master's or a test's\n", "", false},
		{"2026/01/02 03:04:06 [emerg] 7#7: bind() to 1.1.1.1:80 failed (98: Address already in use)\n", "bind() to 1.1.1.1:80 failed (98: Address already in use)", false},
		{"2026/01/02 03:04:08 [emerg] 7#7: still could", "bind() to 1.1.1.1:80 failed (98: Address already in use)", false},
		{" not bind()\n", "bind() to 1.1.1.1:80 failed (98: Address already in use)", true},
	} {
		if _, err := f.WriteString(step.add); err != nil {
			t.Fatal(err)
		}
		if msg, final := tail.emerg(7); msg != step.msg || final != step.final {
			t.Fatalf("after %q: %q %v", step.add, msg, final)
		}
	}
	// Cut short in place, as logrotate's copytruncate does.
	if err := os.WriteFile(path, []byte("x [emerg] 7#7: new\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if msg, final := tail.emerg(7); msg != "new" || !final {
		t.Fatalf("after the log was cut: %q %v", msg, final)
	}
}

func TestChildrenWithoutTheKernelsList(t *testing.T) {
	cmd, err := os.StartProcess("/bin/sleep", []string{"sleep", "30"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Kill()
		_, _ = cmd.Wait()
	}()
	pids, err := childrenByParent(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pids {
		if p == cmd.Pid {
			return
		}
	}
	t.Fatalf("child %d is not among %v", cmd.Pid, pids)
}

// FuzzUserConfig: whatever a user's file holds, reading it ends, with a tree or an error.
func FuzzUserConfig(f *testing.F) {
	f.Add("http { upstream a { server 127.0.0.1:80 weight=2; } }")
	f.Add("a \"\\")
	f.Add("upstream ${x} { '")
	f.Add("content_by_lua_block { x = '}' -- don't\n }")
	f.Add("http { } } ;; {")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := parseText(text, parseOptions{maxDepth: maxNesting})
		if err == nil && c == nil {
			t.Fatal("neither a tree nor an error")
		}
	})
}
