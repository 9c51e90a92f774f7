package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// The demo, shortened: it ends by itself, loses nothing, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	harness.Need(t, "haproxy", "nginx", "gunicorn")
	out, code := cli(t, "demo", "--plain", "--quiet", "4s", "--busy", "10s", "--cool", "4s")
	if code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	for _, want := range []string{"RISING", "BUSY", "n4", "last decision: ", "what was decided, and by what", " workers: ", "nginx reloads", "SPOE ACK", "saved (", " sent, 0 failed"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	dir := regexp.MustCompile(`in (\S*tg-\d+)`).FindStringSubmatch(out)
	if dir == nil {
		t.Fatalf("the output does not name its folder:\n%s", out)
	}
	if _, err := os.Stat(dir[1]); !os.IsNotExist(err) {
		t.Errorf("the demo left %s behind (%v)", dir[1], err)
	}
	if left := processesOf(t, dir[1]); len(left) > 0 {
		t.Errorf("the demo left processes behind: %q", left)
	}
}

// processesOf lists the command lines that name a folder.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		// A process may end while we look.
		text, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.Contains(string(text), dir) {
			out = append(out, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return out
}

// A node dies with its workers and its agent: another one takes its place, though its data are missing.
func TestADeadNodeIsReplaced(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	tally, stop := f.load(f.HAProxyAddr, "/", 20)
	f.turns(2)
	f.Agents[1].Kill()
	f.Gunicorns[1].Kill()
	f.until("n3 in n2's place", 40*time.Second, func(s api.Status) bool {
		v := s.Apps[0].Servers
		return !v[1].Up && v[2].Phase == "serving" && v[2].Up
	})
	sent, lost := tally.Counts()
	f.turns(5)
	stop()
	// What was running on the dead node is lost, and what came until HAProxy had noticed; nothing after that.
	if now, failed := tally.Counts(); failed > lost || now <= sent {
		t.Errorf("%d of %d requests failed, %d of %d when n3 had taken over:\n%s", failed, now, lost, sent, tally.Errors())
	}
}
