package agent_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/signals"
	"github.com/tidegate/tidegate/agent/sockdiag"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// nobody is the user of the tests' agent.
const nobody = 65534

// soleAgent runs an agent in this process, when it is told to: TIDEGATE_TEST_NODE is "LISTEN PIDFILE ADDRESS".
func soleAgent() (ran bool, err error) {
	f := strings.Fields(os.Getenv("TIDEGATE_TEST_NODE"))
	if len(f) != 3 {
		return false, nil
	}
	a, err := agent.New(agent.Options{Node: "n1", Listen: f[0], Apps: []agent.App{{Name: "shop", Min: 1, Max: 8,
		Source: sockdiag.New(sockdiag.NewTable(), f[2]), Actuator: signals.NewGunicorn(f[1], 1, 8)}}})
	if err != nil {
		return true, err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	return true, a.Run(ctx)
}

// An agent without privileges: counting by sockets, reading processor time and memory (of a kind) need none; workers of
// another user cannot be steered, and it says so.
func TestAgentOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start processes of other users")
	}
	for _, owner := range []string{"nobody", "root"} {
		t.Run("servers of "+owner, func(t *testing.T) {
			t.Parallel()
			harness.Need(t, "gunicorn", "setpriv")
			s := strangers(t, owner)
			s.Settled(2)
			end := s.Begin(1, "/?ms=2500")
			r := s.Wait("1 busy", func(r agent.AppReport) bool { return r.BusyKnown && r.Busy == 1 })
			if r.BusyTrust != "connections" || !r.QueueKnown || r.QueueLimit < 1 {
				t.Errorf("%+v", r)
			}
			end()
			r = s.Wait("processor time and memory", func(r agent.AppReport) bool { return r.CPU != nil && r.Memory != nil })
			want := map[string]string{"nobody": agent.MemPSS, "root": agent.MemRSS}[owner]
			if r.MemoryKind != want || *r.Memory < 1<<20 {
				t.Errorf("%d bytes of kind %q, want %s", *r.Memory, r.MemoryKind, want)
			}
			s.Target(3)
			if owner == "nobody" {
				s.Settled(3)
				return
			}
			r = s.Wait("a refusal", func(r agent.AppReport) bool { return r.Problem != "" })
			if !strings.Contains(r.Problem, "SIGTTIN") || !strings.Contains(r.Problem, "operation not permitted") || strings.Contains(r.Problem, "\n") ||
				!r.Known || r.Total != 2 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// strangers starts a gunicorn with two workers as owner, and an agent as nobody.
func strangers(t *testing.T, owner string) *agentrig.Site {
	t.Helper()
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(rig.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	app, err := rig.Write("wsgi/app.py", harness.AppPy)
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"gunicorn", "--bind", addr, "--workers", "2", "--pid", rig.Path("shop.pid"), "--worker-tmp-dir", "/dev/shm", "app:app"}
	if owner == "nobody" {
		argv = append([]string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}, argv...)
	}
	env := []string{"PYTHONPATH=" + filepath.Dir(app), "PYTHONDONTWRITEBYTECODE=1"}
	if _, err := rig.Start("gunicorn", env, argv...); err != nil {
		t.Fatal(err)
	}
	if err := harness.WaitListening(addr, 1e10); err != nil {
		t.Fatalf("%v\n%s", err, rig.Dump())
	}
	s := &agentrig.Site{T: t, Rig: rig, URL: "http://" + addr, App: agent.App{Name: "shop"}}
	listen := "unix:" + rig.Path("agent.sock")
	if s.Client, err = agent.NewClient(agent.ClientOptions{URL: listen, Timeout: 5e9}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(ownCopy(t, rig))
	cmd.Env = append(os.Environ(), "TIDEGATE_TEST_NODE="+strings.Join([]string{listen, rig.Path("shop.pid"), addr}, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	s.WaitFor("the agent's socket", func() bool { _, err := s.Client.Report(context.Background()); return err == nil })
	return s
}

// ownCopy is this program where others may run it. Another process writes it: a file that a fork of this one holds open for
// writing cannot be run.
func ownCopy(t *testing.T, rig *harness.Rig) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := rig.Path("agent.test")
	if out, err := exec.Command("install", "-m", "755", self, path).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", self, err, out)
	}
	return path
}
