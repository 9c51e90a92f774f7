package nginxgen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// errNoNamespace says that this process may not make a mount namespace (no CAP_SYS_ADMIN, or the service forbids it).
var errNoNamespace = errors.New("a private mount namespace is not allowed")

// cover lays the file over on top of the file under.
type cover struct{ over, under string }

// withFilesOver runs f, and the programs f starts, where the covers lie on top of what is under them. Only they see it:
// the thread leaves the process's mount namespace for a private copy, and the thread and its mounts end with f.
func withFilesOver(covers []cover, f func()) error {
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		return fmt.Errorf("%w: the kernel does not list a thread's children: %w", errNoNamespace, err)
	}
	done := make(chan error, 1)
	go func() { done <- onThrowawayThread(covers, f) }()
	return <-done
}

func onThrowawayThread(covers []cover, f func()) error {
	runtime.LockOSThread()
	if !expendable(unix.Gettid()) {
		// While this goroutine holds its thread, another one lands on another thread, a new one in the end.
		defer runtime.UnlockOSThread()
		done := make(chan error, 1)
		go func() { done <- onThrowawayThread(covers, f) }()
		return <-done
	}
	// The thread is never unlocked, so it ends with this goroutine.
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("%w: unshare: %w", errNoNamespace, err)
	}
	// Without this the next mount would show up in everybody's view where the root is a shared mount (systemd's default).
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("%w: make mounts private: %w", errNoNamespace, err)
	}
	for _, c := range covers {
		if err := unix.Mount(c.over, c.under, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%w: lay %s over %s: %w", errNoNamespace, c.over, c.under, err)
		}
	}
	f()
	return nil
}

// expendable tells whether this thread, which the caller has locked, may end. The main thread may not: it stays behind
// and /proc/PID would show its namespace as the process's. Nor may a thread that has living children: one that was
// started with a parent-death signal gets it when the thread that started it ends, not when the process does.
func expendable(tid int) bool {
	if tid == unix.Getpid() {
		return false
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", tid))
	return err == nil && len(bytes.TrimSpace(children)) == 0
}
