package sched

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// roleEnv makes the test binary a process of its own: what is changed here cannot be undone for other tests.
const roleEnv = "TIDEGATE_TEST_SCHED"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// run plays a role in a process of its own and returns what it printed.
func run(t *testing.T, role string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
	return string(out)
}

func play(role string) error {
	switch role {
	case "threads":
		return playThreads()
	case "commands":
		return playCommands()
	case "nice":
		return playNice()
	case "chosen":
		return playChosen()
	}
	return fmt.Errorf("no role %s", role)
}

// policies counts this process's threads by policy.
func policies() (map[uint32]int, error) {
	dir, err := os.ReadDir(tasks)
	if err != nil {
		return nil, err
	}
	of := map[uint32]int{}
	for _, e := range dir {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err == unix.ESRCH {
			continue
		}
		if err != nil {
			return nil, err
		}
		of[attr.Policy]++
	}
	return of, nil
}

// hold keeps n goroutines on threads of their own until the function that it returns is called.
func hold(n int) (end func()) {
	var begun, over sync.WaitGroup
	stop := make(chan struct{})
	begun.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			<-stop
		})
	}
	begun.Wait()
	return func() { close(stop); over.Wait() }
}

// Threads of before, and those that come while others are being changed and after.
func TestEveryThreadIsPutUnderBatch(t *testing.T) {
	t.Parallel()
	if out := run(t, "threads"); out != "" {
		t.Error(out)
	}
}

func playThreads() error {
	end := hold(10)
	defer end()
	// Others start threads meanwhile.
	var more sync.WaitGroup
	for range 4 {
		more.Go(func() {
			for range 20 {
				defer hold(1)()
			}
		})
	}
	if err := Batch(); err != nil {
		return err
	}
	more.Wait()
	end2 := hold(10)
	defer end2()
	of, err := policies()
	if err != nil || len(of) != 1 || of[unix.SCHED_BATCH] < 20 {
		return fmt.Errorf("threads by policy (3 is SCHED_BATCH): %v, %v", of, err)
	}
	return Batch()
}

// What is started runs under SCHED_OTHER; the threads of the one that starts it stay under SCHED_BATCH.
func TestCommandsRunUnderTheNormalPolicy(t *testing.T) {
	t.Parallel()
	if out := run(t, "commands"); out != "" {
		t.Error(out)
	}
}

func playCommands() error {
	if err := Batch(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wrong := make(chan error, 1000)
	for range 4 {
		wg.Go(func() {
			for range 5 {
				out := &strings.Builder{}
				cmd := exec.Command("cut", "-d", " ", "-f", "41", "/proc/self/stat") // proc(5): the policy
				cmd.Stdout = out
				err := Start(cmd)
				if err == nil {
					err = cmd.Wait()
				}
				if err != nil || strings.TrimSpace(out.String()) != "0" {
					wrong <- fmt.Errorf("a command runs under policy %q (%v), want 0, SCHED_OTHER", out.String(), err)
				}
				end := hold(2)
				of, err := policies()
				end()
				// Another goroutine's thread may be at its start.
				if err != nil || of[unix.SCHED_NORMAL] > 3 {
					wrong <- fmt.Errorf("threads by policy: %v, %v", of, err)
				}
			}
		})
	}
	wg.Wait()
	of, err := policies()
	if err != nil || len(of) != 1 || of[unix.SCHED_BATCH] == 0 {
		wrong <- fmt.Errorf("threads by policy afterwards: %v, %v", of, err)
	}
	select {
	case err := <-wrong:
		return err
	default:
		return nil
	}
}

// The nice value that a unit gave stays, for the process and for what it starts.
func TestTheNiceValueStays(t *testing.T) {
	t.Parallel()
	if out := run(t, "nice"); out != "" {
		t.Error(out)
	}
}

func playNice() error {
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 7); err != nil {
		return err
	}
	if err := Batch(); err != nil {
		return err
	}
	cmd := exec.Command("nice")
	out := &strings.Builder{}
	cmd.Stdout = out
	if err := Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Nice != 7 || attr.Policy != unix.SCHED_BATCH || strings.TrimSpace(out.String()) != "7" {
		return fmt.Errorf("the thread has %+v (%v), the command a nice value of %q; want 7", attr, err, out)
	}
	return nil
}

// A thread under a policy that somebody chose keeps it, and so does what is started.
func TestAChosenPolicyStays(t *testing.T) {
	t.Parallel()
	if out := run(t, "chosen"); out != "" {
		t.Error(out)
	}
}

func playChosen() error {
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0); err != nil {
		return err
	}
	if err := Batch(); err != nil {
		return err
	}
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_IDLE {
		return fmt.Errorf("a thread that was under SCHED_IDLE has %+v, %v", attr, err)
	}
	return nil
}
