package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// The real `tidegate agent` with gunicorns of one worker each: its configuration is loaded again, it is killed and started
// again, and no request notices.
func TestSupervisedWorkersOutliveTheAgent(t *testing.T) {
	t.Parallel()
	harness.Need(t, "gunicorn")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s := &agentrig.Site{T: t, Rig: rig, URL: "http://" + addr, App: agent.App{Name: "shop"}}
	if s.Client, err = agent.NewClient(agent.ClientOptions{URL: "unix:" + rig.Path("agent.sock"), Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(rig.Path("marks"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`node: n1
listen: unix:%[1]s/agent.sock
apps:
- name: shop
  marks: %[1]s/marks
  workers: {min: 0, max: 4}
  processes:
    listen: %[2]s
    command: [gunicorn, --workers, "1", "app:app"]
    directory: %[1]s/wsgi
    log: %[1]s/worker-%%d.log
    ready: 1s
    state_dir: %[1]s/state
`, rig.Dir, addr)
	for name, text := range map[string]string{"wsgi/app.py": harness.AppPy, "agent.yaml": text} {
		if _, err := rig.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { endWorkers(t, rig.Path("state", "shop.json")) })
	settled := func(n int) {
		t.Helper()
		s.Wait(fmt.Sprintf("%d ready workers", n), func(r agent.AppReport) bool { return r.WorkersKnown && r.Total == n && r.Ready == n })
	}
	start := func(name string) *harness.Proc {
		t.Helper()
		p, err := rig.Start(name, nil, binaryPath, "agent", "-c", rig.Path("agent.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill) // before endWorkers, or it would replace what that ends
		if err := harness.WaitFor("the agent", 30*time.Second, func() bool { _, err := s.Client.Report(context.Background()); return err == nil }); err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := start("agent1")
	s.Target(2)
	settled(2)
	end := s.Load(50, "/?ms=5")
	if _, err := rig.Write("agent.yaml", strings.Replace(text, "max: 4", "max: 3", 1)); err != nil {
		t.Fatal(err)
	}
	s.Wait("the new configuration", func(r agent.AppReport) bool { return r.Max == 3 && r.WorkersKnown && r.Ready == 2 })
	first.Kill()
	time.Sleep(500 * time.Millisecond)
	start("agent2")
	settled(2)
	s.Target(3)
	settled(3)
	s.Target(1)
	settled(1)
	sent, failed := end()
	if len(failed) != 0 {
		t.Errorf("of %d requests these failed: %v", sent, failed)
	}
	holder := holderOf(t, rig.Path("state", "shop.json"))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", holder))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Rss") || strings.HasPrefix(line, "VmRSS") {
			t.Logf("%d requests, %d failed; the holder: %s", sent, len(failed), strings.TrimSpace(line))
		}
	}
}

type leftBehind struct {
	Holder  struct{ PID int }
	Workers []struct{ PID int }
}

func holderOf(t *testing.T, file string) int {
	t.Helper()
	var st leftBehind
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil || st.Holder.PID < 2 {
		t.Fatalf("no holder in %s (%v): %s", file, err, text)
	}
	return st.Holder.PID
}

// endWorkers ends what an agent leaves behind on purpose.
func endWorkers(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	var st leftBehind
	if err := json.Unmarshal(text, &st); err != nil {
		t.Error(err)
		return
	}
	pids := []int{st.Holder.PID}
	for _, w := range st.Workers {
		pids = append(pids, w.PID)
	}
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if pid > 1 && err == nil && (strings.Contains(string(line), "gunicorn") || strings.Contains(string(line), "hold-listener")) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}
