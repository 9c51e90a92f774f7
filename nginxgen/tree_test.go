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

func TestIncludes(t *testing.T) {
	dir := write(t, map[string]string{
		"nginx.conf": "include mods/*;\nhttp {\n\tinclude loop.conf; include \"sites/*.conf\"; include missing.conf;\n\tserver { location ~ ^/a}b$ { include inner/*; } }\n}\nstream { include tcp.conf; }\n",
		"loop.conf":  "include loop.conf; include deep/up.conf;\n", "mods/x": "", "sites/bad.conf": "}",
	})
	for file, want := range map[string]bool{"sites/up.conf": true, "deep/up.conf": true, "tcp.conf": true, "mods/up.conf": false, "inner/up.conf": false, "sites/up": false} {
		if got, err := includes(filepath.Join(dir, "nginx.conf"), filepath.Join(dir, file)); got != want || err != nil {
			t.Errorf("%s: %v %v", file, got, err)
		}
	}
}

func TestReadingRefusesHarm(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"a deep nest":             {strings.Repeat("a{", 1_000_000), "nest deeper than 64"},
		"a nest behind a quote":   {`a "x\\" ` + strings.Repeat("a{", 90_000), "nest deeper than 64"},
		"a block that stays open": {"http { upstream a {", "unexpected end of file"},
		"a stray brace":           {"http { } }", `unexpected "}"`},
		"a bare include":          {"include;", ""},
	} {
		main := filepath.Join(write(t, map[string]string{"nginx.conf": c.text}), "nginx.conf")
		if _, err := includes(main, "/x"); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
	dir := write(t, map[string]string{"nginx.conf": "include pipe;\npid /p;\n"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid, _, err := mainSettings(filepath.Join(dir, "nginx.conf")); err != nil || pid != "/p" {
		t.Errorf("an included pipe: %q %v", pid, err)
	}
	if _, _, err := mainSettings(filepath.Join(dir, "pipe")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
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

func TestMainSettingsOfABrokenFile(t *testing.T) {
	for text, want := range map[string]string{"pid /a;\nhttp { server { }\n": "/a", "pid /a; http { } }\npid /b;": "/a", "http { } }\npid /b;": "", "pid /a": ""} {
		dir := write(t, map[string]string{"nginx.conf": text})
		if pid, _, err := mainSettings(filepath.Join(dir, "nginx.conf")); pid != want || (err == nil) != (want != "") {
			t.Errorf("%q: pid %q, %v", text, pid, err)
		}
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
