package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Ours and the echo run as the controller does, the peer and ours-normal as they are.
func TestContestantsRunUnderTheirPolicy(t *testing.T) {
	dir := t.TempDir()
	for kind, want := range map[string]uintptr{ours: unix.SCHED_BATCH, limit: unix.SCHED_BATCH, normal: unix.SCHED_NORMAL, peer: unix.SCHED_NORMAL} {
		a, err := startAgent(kind, "unix:"+filepath.Join(dir, kind+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer a.stop()
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", a.cmd.Process.Pid))
		if err != nil || len(tasks) == 0 {
			t.Fatalf("%s: %d threads, %v", kind, len(tasks), err)
		}
		for _, task := range tasks {
			var tid uintptr
			_, _ = fmt.Sscan(task.Name(), &tid)
			if got, _, errno := unix.Syscall(unix.SYS_SCHED_GETSCHEDULER, tid, 0, 0); got != want && errno == 0 {
				t.Errorf("a thread of %s runs under the policy %d, want %d", kind, got, want)
			}
		}
	}
}

func TestExchangesAreReadFromTheLog(t *testing.T) {
	text := "[NOTICE] starting\nT 0/0/0/1/1700000000000250 1700000000000650 -\nT - 1700000000000650 -x y\n" +
		"T 0/0/0/1/1700000000000650 1700000000010700 1\nT 0/0/0/1/1700000000000650 1700000000000750 -\n"
	took, errs, err := parseExchanges(text)
	if err != nil || errs != 1 || !reflect.DeepEqual(took, []float64{100, 400, 10050}) {
		t.Errorf("took %v, %d came to nothing, %v", took, errs, err)
	}
	if _, _, err := parseExchanges("T - 1700000000000650 -\n"); err == nil {
		t.Error("a line without a stamp is taken")
	}
}

// One busy loop beside, for a moment: every exchange is found in the real HAProxy's log, and both agents are compared.
func TestCrowdedComparesBothPolicies(t *testing.T) {
	if testing.Short() {
		t.Skip("starts HAProxy")
	}
	if _, err := find("haproxy"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "tgb-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var out bytes.Buffer
	o := options{e2eRounds: 1, e2eSlot: 50 * time.Millisecond, backend: "go", beside: []int{1}}
	if err := runCrowded(&report{out: &out}, o, dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"bench":"crowded/loops=1/rate=200/exchange-p50"`, `"bench":"crowded/loops=1/rate=1000/request-p99"`, `"vs_normal":`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in what is printed:\n%s", want, out.String())
		}
	}
}
