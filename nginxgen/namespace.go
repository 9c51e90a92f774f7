package nginxgen

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// errNoNamespace says that this process may not make a mount namespace (no CAP_SYS_ADMIN, or the service forbids it).
var errNoNamespace = errors.New("a private mount namespace is not allowed")

// withFileOver runs f, and the programs f starts, where the file over lies on top of the file under. Only they see it:
// the thread leaves the process's mount namespace for a private copy, and the thread and its mounts end with f.
func withFileOver(over, under string, f func()) error {
	done := make(chan error, 1)
	go func() { done <- onThrowawayThread(over, under, f) }()
	return <-done
}

func onThrowawayThread(over, under string, f func()) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Not on the main thread: it cannot end, and /proc/PID would show its namespace as the process's. While this
		// goroutine holds it, another one lands on another thread.
		defer runtime.UnlockOSThread()
		done := make(chan error, 1)
		go func() { done <- onThrowawayThread(over, under, f) }()
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
	if err := unix.Mount(over, under, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%w: lay %s over %s: %w", errNoNamespace, over, under, err)
	}
	f()
	return nil
}
