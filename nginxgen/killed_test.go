package nginxgen_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
)

const (
	killedEnv = "TIDEGATE_TEST_KILLED_CHILD"
	// fullEnv makes the tests of nginx's traps complete; `make test-nginx` sets it.
	fullEnv = "TIDEGATE_NGINX_FULL"
)

// victim is a process that applies one change and is killed at the step KillAt.
type victim struct {
	Folder, StreamFile, Main, Prefix string
	Addrs, Want                      []string
	TestCommand, ReloadCommand       []string
	NoNamespace                      bool
	KillAt                           int
	// With Exe, a copy of the test's binary, the process runs as nobody, with Home as its folder.
	Exe, Home string
}

// run applies the change and never returns when it gets as far as KillAt. Exit status 3: nginx refused or rolled back.
func (v victim) run(t *testing.T) int {
	o := nginxgen.Options{Folder: v.Folder, StreamFile: v.StreamFile, Main: v.Main, Prefix: v.Prefix, TestCommand: v.TestCommand, ReloadCommand: v.ReloadCommand,
		MinMembership: -1, MinWeights: -1, Quiet: -1, PerMinute: -1, OldGenerations: -1}
	m, err := nginxgen.New(o)
	if err != nil {
		fmt.Println(err)
		return 4
	}
	if v.NoNamespace {
		m = m.WithoutNamespace()
	}
	step := 0
	m.At(func(name string) {
		if step++; step == v.KillAt {
			fmt.Println(name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Minute)
		}
	})
	f := &fleet{site: &site{t: t, addrs: v.Addrs}}
	out, err := m.Apply(context.Background(), time.Now(), f.want(v.Want...))
	if out.Result == nginxgen.Applied {
		return 0
	}
	fmt.Println(out, err)
	return 3
}

// start runs v in a process of its own and returns its exit status, -1 for killed, and what it printed.
func (v victim) start(t *testing.T) (int, string) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestKilledAnywhere$")
	cmd.Env = append(os.Environ(), killedEnv+"="+string(text))
	if v.Exe != "" {
		cmd.Path, cmd.Dir = v.Exe, v.Home
		cmd.Env = append(cmd.Env, "TMPDIR="+v.Home, "HOME="+v.Home)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(out))
}

// A process is killed at each step of a change of three files. Whatever is left is accepted by nginx, and the next process
// knows what nginx runs with, or that it does not know, and brings the wanted state about.
func TestKilledAnywhere(t *testing.T) {
	if text := os.Getenv(killedEnv); text != "" {
		var v victim
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		os.Exit(v.run(t))
	}
	t.Parallel()
	full := os.Getenv(fullEnv) != ""
	for _, c := range []struct {
		name        string
		noNamespace bool
		long        bool
		change      func(f *fleet, v *victim) (final int)
	}{
		{"a good change, with a namespace", false, false, func(*fleet, *victim) int { return 0 }},
		{"a good change, by swapping", true, true, func(*fleet, *victim) int { return 0 }},
		{"a reload that fails, with a namespace", false, true, failingReload},
		{"a reload that fails, by swapping", true, true, failingReload},
		{"a refused change, with a namespace", false, true, refusedChange},
		{"a refused change, by swapping", true, false, refusedChange},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && !full {
				t.Skip("set " + fullEnv + "=1, or `make test-nginx`")
			}
			if os.Geteuid() != 0 && !c.noNamespace {
				t.Skip("needs root")
			}
			t.Parallel()
			names := []string{"app", "tcp*"}
			if full {
				names = []string{"app", "api", "tcp*"}
			}
			killedEverywhere(t, newFleet(t, names...), names, c.noNamespace, c.change)
		})
	}
}

func failingReload(_ *fleet, v *victim) int {
	v.ReloadCommand = []string{"/bin/false"}
	return 3
}

// refusedChange wants an upstream that the user's own file has.
func refusedChange(f *fleet, v *victim) int {
	v.Want = append(v.Want, "mine 1 1")
	return 3
}

func killedEverywhere(t *testing.T, f *fleet, names []string, noNamespace bool, change func(*fleet, *victim) int) {
	f.rewriteMain("http {", "http {\nupstream mine { server 127.0.0.1:9; }\n")
	manager := func() *nginxgen.Manager {
		if m := f.manager(); !noNamespace {
			return m
		}
		return f.manager().WithoutNamespace()
	}
	both := [2][]string{weighted(names, "1 3"), weighted(names, "3 1")}
	f.apply(manager(), f.want(both[0]...), nginxgen.Applied)
	steps := []string{}
	for at := 1; ; at++ {
		before, want := both[(at+1)%2], both[at%2]
		v := victim{Folder: f.opts.Folder, StreamFile: f.opts.StreamFile, Main: f.opts.Main, Prefix: f.opts.Prefix, Addrs: f.addrs,
			Want: append([]string(nil), want...), NoNamespace: noNamespace, KillAt: at}
		final := change(f, &v)
		status, out := v.start(t)
		if status == final && len(steps) > 0 {
			break
		}
		if status != -1 {
			t.Fatalf("step %d: exit status %d: %s", at, status, out)
		}
		steps = append(steps, out)
		f.afterKill(manager(), noNamespace, out, before, want)
	}
	t.Logf("killed at %d steps: %s", len(steps), strings.Join(steps, ", "))
	f.must(f.tests())
}

func weighted(names []string, weights string) []string {
	var out []string
	for _, n := range names {
		out = append(out, n+" "+weights)
	}
	return out
}

// afterKill looks at what a killed process left, and has another one bring about what was wanted.
func (f *fleet) afterKill(m *nginxgen.Manager, noNamespace bool, step string, before, want []string) {
	f.t.Helper()
	if err := f.tests(); err != nil && !noNamespace {
		f.t.Fatalf("killed at %s: what is left is not accepted: %v", step, err)
	}
	f.must(m.Recover(f.t.Context()))
	if err := f.tests(); err != nil {
		f.t.Fatalf("killed at %s: after Recover: %v", step, err)
	}
	if live, known := m.Live(); known {
		f.waitServes(linesOf(live)...)
	}
	if out, err := m.Apply(f.t.Context(), time.Now(), f.want(before...)); err != nil || out.Result != nginxgen.Applied && out.Result != nginxgen.Unchanged {
		f.t.Fatalf("killed at %s: back to before: %+v %v", step, out, err)
	}
	f.waitServes(before...)
	f.apply(m, f.want(want...), nginxgen.Applied)
	f.waitServes(want...)
	left, err := os.ReadDir(f.opts.Folder)
	f.must(err)
	for _, e := range left {
		if strings.HasSuffix(e.Name(), ".stage") || strings.HasSuffix(e.Name(), ".loading") || strings.HasSuffix(e.Name(), ".next") {
			f.t.Fatalf("killed at %s: %s is still there", step, e.Name())
		}
	}
}

// linesOf is a model as fleet.want reads it.
func linesOf(m nginxgen.Model) []string {
	var out []string
	for _, u := range m.Upstreams {
		line := u.Name
		if u.Stream {
			line += "*"
		}
		for _, s := range u.Servers {
			line += fmt.Sprint(" ", s.Weight)
		}
		out = append(out, line)
	}
	return out
}
