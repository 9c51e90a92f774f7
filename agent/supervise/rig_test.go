package supervise_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/agent"
	"github.com/tidegate/tidegate/agent/filemarks"
	"github.com/tidegate/tidegate/agent/supervise"
	"github.com/tidegate/tidegate/tests/agentrig"
	"github.com/tidegate/tidegate/tests/harness"
)

// The test binary is also the holder, and an agent that can be killed. The tests mostly wait.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "hold-listener":
			fmt.Fprintln(os.Stderr, supervise.Hold())
			os.Exit(1)
		case "agent":
			if err := agentProcess(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// spec is what an agent in a process of its own is told.
type spec struct {
	Options       supervise.Options
	Marks, Listen string
}

func (s spec) app() agent.App {
	act := supervise.New(s.Options)
	app := agent.App{Name: s.Options.Name, Actuator: act, Queue: act.Queue(), Min: s.Options.Min, Max: s.Options.Max}
	if s.Marks != "" {
		app.Source = filemarks.New(s.Marks)
	}
	return app
}

func agentProcess(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	a, err := agent.New(agent.Options{Node: "n1", Listen: s.Listen, Apps: []agent.App{s.app()},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return a.Run(ctx)
}

// site is an application of supervised workers.
type site struct {
	agentrig.Site
	spec spec
}

// newSite makes everything but starts no agent. env are further variables of the workers.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	t.Parallel()
	harness.Need(t, "python3")
	rig := harness.ForTest(t)
	addr, err := rig.Addr()
	if err != nil {
		t.Fatal(err)
	}
	// A copy, for workers of other users may not see the checkout.
	middleware, err := os.ReadFile("../../conf/marks/wsgi/tidegate_marks.py")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Site: agentrig.Site{T: t, Rig: rig, URL: "http://" + addr}}
	env = append(env, "PYTHONPATH="+rig.Path("wsgi"), "MARKS="+rig.Path("marks", "shop"), "PYTHONDONTWRITEBYTECODE=1")
	for name, text := range map[string]string{"wsgi/app.py": harness.AppPy, "wsgi/tidegate_marks.py": string(middleware), "worker.py": harness.WorkerPy, "env": strings.Join(env, "\n")} {
		if _, err := rig.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(rig.Path("marks", "shop"), 0o777); err != nil {
		t.Fatal(err)
	}
	s.spec = spec{Marks: rig.Path("marks", "shop"), Listen: "unix:" + rig.Path("agent.sock"), Options: supervise.Options{
		Name: "shop", StateDir: rig.Path("state"), Listen: addr, Command: []string{"python3", rig.Path("worker.py")},
		EnvFile: rig.Path("env"), Umask: 0o27, StopDeadline: 10 * time.Second, Log: rig.Path("worker-%d.log"), Min: 0, Max: 8,
		Holder: []string{"/proc/self/exe", "hold-listener", "shop"}}}
	t.Cleanup(func() { s.endAll() })
	return s
}

// start runs an agent inside the test.
func (s *site) start() {
	s.T.Helper()
	s.App = s.spec.app()
	s.StartAgent()
}

// startProcess runs an agent in a process of its own.
func (s *site) startProcess(name string) *harness.Proc {
	s.T.Helper()
	text, err := json.Marshal(s.spec)
	if err != nil {
		s.T.Fatal(err)
	}
	file, err := s.Rig.Write("agent.json", string(text))
	if err != nil {
		s.T.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		s.T.Fatal(err)
	}
	p, err := s.Rig.Start(name, nil, exe, "agent", file)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(p.Kill) // before endAll, or it would replace what that ends
	s.App.Name = "shop"
	if s.Client == nil {
		if s.Client, err = agent.NewClient(agent.ClientOptions{URL: s.spec.Listen, Timeout: 5 * time.Second}); err != nil {
			s.T.Fatal(err)
		}
	}
	if err := harness.WaitFor("the agent", 30*time.Second, func() bool { _, err := s.Client.Report(context.Background()); return err == nil }); err != nil {
		s.T.Fatalf("%v\n%s", err, p.Log())
	}
	return p
}

// saved is what the state file says.
type saved struct {
	Wanted  int
	Holder  struct{ PID int }
	Workers []struct {
		Number, PID int
		Told        int64
	}
}

func (s *site) saved() (st saved) {
	text, err := os.ReadFile(s.Rig.Path("state", "shop.json"))
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil && !os.IsNotExist(err) {
		s.T.Errorf("the state file: %v", err)
	}
	return st
}

// pids are the workers' by number.
func (s *site) pids() map[int]int {
	out := map[int]int{}
	for _, w := range s.saved().Workers {
		out[w.Number] = w.PID
	}
	return out
}

// endAll ends what an agent leaves behind on purpose: workers and holder.
func (s *site) endAll() {
	st := s.saved()
	pids := []int{st.Holder.PID}
	for _, w := range st.Workers {
		pids = append(pids, w.PID)
	}
	for _, pid := range pids {
		// Only what carries the rig's folder or is the holder in it: a number may have been given to another process.
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if pid > 1 && err == nil && (strings.Contains(string(line), s.Rig.Dir) || strings.Contains(string(line), "hold-listener")) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil) // ECHILD when it is not ours
		}
	}
}

func (s *site) log(n int) string {
	text, err := os.ReadFile(s.Rig.Path(fmt.Sprintf("worker-%d.log", n)))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// metrics is the agent's answer to GET /metrics.
func (s *site) metrics() string {
	s.T.Helper()
	c := clientTo("unix", s.Rig.Path("agent.sock"))
	resp, err := c.Get("http://agent/metrics")
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return string(text)
}

// clientTo asks one address, whatever the URL says.
func clientTo(network, addr string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		}}}
}

// kill signals one process, and never a group: 0 is what a missing pid reads as.
func (s *site) kill(pid int, sig syscall.Signal) {
	s.T.Helper()
	if pid < 2 {
		s.T.Fatalf("there is no process %d to signal", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		s.T.Fatal(err)
	}
}
