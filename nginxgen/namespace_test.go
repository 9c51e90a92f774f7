package nginxgen

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileOverIsSeenInsideOnly(t *testing.T) {
	dir := t.TempDir()
	over, under := filepath.Join(dir, "over"), filepath.Join(dir, "under")
	for _, p := range []string{over, under} {
		if err := os.WriteFile(p, []byte(filepath.Base(p)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	see := func() string {
		out, err := exec.Command("cat", under).Output()
		if err != nil {
			t.Errorf("cat: %v", err)
		}
		return string(out)
	}
	inside := ""
	err := withFilesOver([]cover{{over, under}}, func() {
		var wg sync.WaitGroup
		// Another goroutine runs on another thread, outside.
		wg.Go(func() {
			if got := see(); got != "under" {
				t.Errorf("outside, meanwhile: %q", got)
			}
		})
		inside = see()
		wg.Wait()
	})
	if errors.Is(err, errNoNamespace) {
		t.Skip(err)
	}
	if err != nil || inside != "over" {
		t.Fatalf("inside: %q, %v", inside, err)
	}
	if got := see(); got != "under" {
		t.Fatalf("afterwards: %q", got)
	}
	if err := withFilesOver([]cover{{over, filepath.Join(dir, "none")}}, func() { t.Error("must not run") }); err == nil {
		t.Fatal("nothing to lie over: want an error")
	}
}

// A child that was started with a parent-death signal gets it when its thread ends. Threads with children must live.
func TestThrownAwayThreadsTakeNoChildAlong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var children []*exec.Cmd
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			// Locked for the start, so that the children come from several threads; unlocked threads go back to the pool.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			cmd := exec.Command("sleep", "60")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			children = append(children, cmd)
			mu.Unlock()
		})
	}
	wg.Wait()
	defer func() {
		for _, c := range children {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range 30 {
		if err := withFilesOver([]cover{{file, file}}, func() {}); errors.Is(err, errNoNamespace) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range children {
		title, err := cmdline(c.Process.Pid)
		if err != nil || title == "" {
			t.Fatalf("child %d has ended (%v)", c.Process.Pid, err)
		}
	}
}
