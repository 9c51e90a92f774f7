package signals

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestObserveRefusesWhatIsNoMaster(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "app.pid")
	sleeper := sleeping(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	write := func(text string) func() {
		return func() {
			if err := os.WriteFile(pidFile, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"missing", func() {}, "does not exist"},
		{"empty", write(""), "not a pid"},
		{"garbage", write("gunicorn\n"), "not a pid"},
		{"negative: a process group", write("-1"), "not a pid"},
		{"init", write("1"), "not a pid"},
		{"zero: our own group", write("0"), "not a pid"},
		{"too large", write("99999999999"), "not a pid"},
		{"two numbers", write("12 13"), "not a pid"},
		{"long", write(strings.Repeat("1", 1<<20)), "not a pid"},
		{"dead process", write(fmt.Sprint(gone.Process.Pid)), "does not run"},
		{"a process that TTIN would stop", write(fmt.Sprint(sleeper.Process.Pid)), "does not catch"},
		{"this process", write(fmt.Sprint(os.Getpid())), "does not catch"},
		{"a directory", func() {
			_ = os.Remove(pidFile)
			if err := os.Mkdir(pidFile, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	} {
		c.do()
		g := NewGunicorn(pidFile, 1, 4)
		_, err := g.Observe(time.Now())
		if c.name == "this process" && err != nil && strings.Contains(err.Error(), "no worker process") {
			continue // the runtime catches signals that something asked for
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one sentence with %q", c.name, err, c.want)
		}
	}
}

// sleeping is a process that lives until the test ends it.
func sleeping(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}
