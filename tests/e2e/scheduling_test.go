package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// queues is the number of apps whose queue is asked at once, each by a process that a thread of tidegate waits for.
const queues = 16

// scheduled is a controller whose commands note the scheduling policy they run under. Those that ask for a queue's length
// wait until the file `go` is there.
type scheduled struct {
	*harness.Rig
	*harness.Proc
	t *testing.T
}

// startScheduled runs a controller with a line more in the section spoa, started by argv.
func startScheduled(t *testing.T, line string, env []string, argv ...string) scheduled {
	t.Helper()
	rig := harness.ForTest(t)
	must := func(v string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	queue := must(rig.Write("queue.sh", notePolicy(rig, "queue")+"until [ -e "+rig.Path("go")+" ]; do sleep 0.1; done\n"+`echo '{"items":0,"in":0,"out":0}'`+"\n"))
	var apps strings.Builder
	for i := range queues {
		fmt.Fprintf(&apps, `  - name: q%d
    strategy: queue
    backlog: {command: [/bin/sh, %s], every: 1s, timeout: 30s}
    servers: [{name: q%d, node: n1, workers: {max: 2}}]
`, i, queue, i)
	}
	conf := must(rig.Write("tidegate.yaml", fmt.Sprintf(`api: unix:%[1]s/api.sock
state_dir: %[1]s/state
tick: 1s
spoa: {listen: "unix:%[1]s/spoa.sock"%[2]s}
nodes: [{name: n1, url: "http://127.0.0.1:1"}]
apps:
%[3]s`, rig.Dir, line, apps.String())))
	p, err := rig.Start("tidegate", env, append(argv, binaryPath, "run", "-c", conf)...)
	if err != nil {
		t.Fatal(err)
	}
	return scheduled{rig, p, t}
}

// policies are the scheduling policies of the process's threads, by thread.
func (s scheduled) policies() map[int]uintptr {
	of := map[int]uintptr{}
	dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.PID()))
	if err != nil {
		return of
	}
	for _, e := range dir {
		tid, _ := strconv.Atoi(e.Name())
		if policy, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0); errno == 0 {
			of[tid] = policy
		}
	}
	return of
}

// notePolicy is a line for a shell that notes its scheduling policy: the 41st word of stat (proc(5)) of a process that the
// shell starts, and that inherits from it.
func notePolicy(rig *harness.Rig, kind string) string {
	return fmt.Sprintf("cut -d ' ' -f 41 /proc/self/stat >> %s\n", rig.Path(kind+".policies"))
}

// noted are the policies that commands of a kind have noted.
func noted(rig *harness.Rig, kind string) []string {
	text, err := os.ReadFile(rig.Path(kind + ".policies"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// allUnder waits until every queue's command runs, which takes a thread each, and all threads are under a policy; a thread
// that is just starting a command may not be.
func (s scheduled) allUnder(policy uintptr) {
	s.t.Helper()
	var last map[int]uintptr
	err := harness.WaitFor("all threads under one policy", time.Minute, func() bool {
		last = s.policies()
		for _, p := range last {
			if p != policy {
				return false
			}
		}
		return len(noted(s.Rig, "queue")) >= queues && len(last) > queues
	})
	if err != nil {
		s.t.Fatalf("%v: want %d; by thread %v; %d queues asked", err, policy, last, len(noted(s.Rig, "queue")))
	}
}

// commandsAreNormal waits until the commands have run to their end, all but the first ones, and wants SCHED_OTHER of each.
func (s scheduled) commandsAreNormal() {
	s.t.Helper()
	if err := os.WriteFile(s.Path("go"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := harness.WaitFor("more commands", time.Minute, func() bool { return len(noted(s.Rig, "queue")) >= 2*queues }); err != nil {
		s.t.Fatal(err)
	}
	wantNormal(s.t, s.Rig, "queue")
}

func wantNormal(t *testing.T, rig *harness.Rig, kind string) {
	t.Helper()
	for _, policy := range noted(rig, kind) {
		if policy != "0" {
			t.Errorf("a command (%s) runs under the policy %s, want 0, SCHED_OTHER", kind, policy)
		}
	}
}

const refusal = "stay under the normal scheduling policy"

// Every thread of the controller is under SCHED_BATCH, those that came later too; what it starts is not.
func TestTheControllerRunsUnderBatch(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, "", nil)
	s.allUnder(unix.SCHED_BATCH)
	s.commandsAreNormal()
	if strings.Contains(s.Log(), refusal) {
		t.Error("a refusal is logged")
	}
}

func TestTheControllerRunsUnderTheNormalPolicyWhenToldSo(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, ", scheduling: normal", nil)
	s.allUnder(unix.SCHED_NORMAL)
	s.commandsAreNormal()
}

// Where a seccomp filter refuses the change, the controller says so once and runs on.
func TestTheControllerRunsWithoutBatchWhenItIsRefused(t *testing.T) {
	t.Parallel()
	s := startScheduled(t, "", []string{refuseEnv + "=1"}, os.Args[0])
	s.allUnder(unix.SCHED_NORMAL)
	s.commandsAreNormal()
	if n := strings.Count(s.Log(), refusal); n != 1 {
		t.Errorf("the refusal is logged %d times", n)
	}
}

// What nginx is run with is a command as well, so that an nginx that a reload command starts anew is one like any other.
func TestNginxIsRunUnderTheNormalPolicy(t *testing.T) {
	t.Parallel()
	f := startSteady(t, demo.Options{})
	nginx, err := harness.Find("nginx")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := f.Rig.Write("nginx.sh", "#!/bin/sh\n"+notePolicy(f.Rig, "nginx")+"exec "+nginx+` "$@"`+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	was := f.status().Config
	replace(t, f.Config, strings.Replace(string(text), "nginx: {", "nginx: {binary: "+binary+", ", 1))
	f.until("the configuration", time.Minute, func(s api.Status) bool { return s.Config.Problem == "" && !s.Config.Loaded.Equal(was.Loaded) })
	// An edit is repaired, and what is written is proven first.
	include := f.Rig.Path("conf.d", "tidegate.conf")
	if text, err = os.ReadFile(include); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(include, append(text, "# edited\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	f.until("nginx to be run", time.Minute, func(api.Status) bool { return len(noted(f.Rig, "nginx")) > 0 })
	wantNormal(t, f.Rig, "nginx")
	if policy, _, _ := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(f.Controller.PID()), 0, 0); policy != unix.SCHED_BATCH {
		t.Errorf("the controller's first thread runs under the policy %d", policy)
	}
}

// refuseEnv makes the test binary refuse itself and its descendants changes of the scheduling policy, and become the program
// that its arguments name.
const refuseEnv = "TIDEGATE_TEST_REFUSE_POLICY"

func refuseAndRun(argv []string) error {
	// A filter is the thread's, and what is executed inherits it from the thread that executes.
	runtime.LockOSThread()
	code := func(op int, k uint32, yes uint8) unix.SockFilter {
		return unix.SockFilter{Code: uint16(op), K: k, Jt: yes}
	}
	filter := []unix.SockFilter{
		code(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0), // the system call's number
		code(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, unix.SYS_SCHED_SETSCHEDULER, 2),
		code(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, unix.SYS_SCHED_SETATTR, 1),
		code(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW, 0),
		code(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), 0),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("set the filter: %w", err)
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}
