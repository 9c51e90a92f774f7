package sched

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batched says that Batch has changed threads of this process. The policy is the process's, so this is too.
var batched atomic.Bool

// tasks lists the process's threads by their ids.
const tasks = "/proc/self/task"

// Batch puts every thread of this process under SCHED_BATCH. Those that come later inherit it from the threads that start them.
// Threads under any policy but SCHED_OTHER are left alone. After an error some threads may run under it and some not, which
// does no harm.
func Batch() error {
	// A thread that has not been changed yet may start another meanwhile, so it is over when a look finds nothing to change.
	for {
		changed, err := batchOnce()
		if changed {
			batched.Store(true)
		}
		if err != nil {
			return fmt.Errorf("put the process under SCHED_BATCH: %w", err)
		}
		if !changed {
			return nil
		}
	}
}

// batchOnce changes the threads that there are now, and tells whether there was one to change.
func batchOnce() (changed bool, err error) {
	dir, err := os.ReadDir(tasks)
	if err != nil {
		return false, err
	}
	for _, entry := range dir {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			return changed, fmt.Errorf("%s: %w", tasks, err)
		}
		did, err := swap(tid, unix.SCHED_NORMAL, unix.SCHED_BATCH)
		if err != nil && !errors.Is(err, unix.ESRCH) { // that thread has ended
			return changed, fmt.Errorf("thread %d: %w", tid, err)
		}
		changed = changed || did
	}
	return changed, nil
}

// swap changes a thread's policy (0: the caller's) if it is what it is said to be, and keeps the nice value. SCHED_RESET_ON_FORK,
// which somebody must have chosen, makes it another policy; new threads would not inherit from that one.
//
// These are the older of two pairs of system calls: a seccomp filter can see the policy among their arguments, so filters
// against realtime policies let them pass.
func swap(tid int, from, to uintptr) (changed bool, err error) {
	is, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0)
	if errno != 0 {
		return false, errno
	}
	if is != from {
		return false, nil
	}
	// struct sched_param, of which these policies take 0 alone.
	var priority int32
	if _, _, errno = unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(tid), to, uintptr(unsafe.Pointer(&priority))); errno != 0 {
		return false, errno
	}
	return true, nil
}

// Start starts a command as cmd.Start does, under the policy that this process had before Batch: a server that a command
// starts anew must not be one that waits for others.
func Start(cmd *exec.Cmd) error {
	if !batched.Load() {
		return cmd.Start()
	}
	// A new process inherits from the thread that starts it. Go starts no thread from one that is locked, so no other comes by it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if changed, err := swap(0, unix.SCHED_BATCH, unix.SCHED_NORMAL); err == nil && changed {
		// What was allowed before is allowed now, and a thread that stays as it was at first does no harm.
		defer func() { _, _ = swap(0, unix.SCHED_NORMAL, unix.SCHED_BATCH) }()
	}
	return cmd.Start()
}
