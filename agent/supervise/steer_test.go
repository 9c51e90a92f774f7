package supervise

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// at is a worker started so long after boot.
func at(n int, started time.Duration) *worker {
	return &worker{n: n, id: proc.ID{PID: 100 + n, Start: uint64(started / (10 * time.Millisecond))}}
}

func TestThePauseDoublesIsBoundedAndEnds(t *testing.T) {
	var b backoff
	now := time.Hour
	var pauses []time.Duration
	for range 9 {
		b.ended(now, at(1, now-time.Second), "exit status 1")
		pauses = append(pauses, b.until-now)
		until := b.until
		if b.ended(now+time.Millisecond, at(2, now), "exit status 1"); b.until != until {
			t.Fatal("what ends together lengthens the pause twice")
		}
		now = b.until
	}
	s := time.Second
	if diff := cmp.Diff([]time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s, 30 * s}, pauses); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p := b.problem(now - 5*s); p != "worker 2 ended after 0s (exit status 1), 18 early ends in a row; the next start is in 5s" {
		t.Errorf("problem %q", p)
	}
	// A worker begun before the last early end proves nothing, one begun since has to run for a while.
	old, young := at(1, 30*time.Minute), at(2, now)
	b.calm(now+5*s, []*worker{old, young})
	if b.early != 18 {
		t.Fatal("the early ends were forgotten too soon")
	}
	b.calm(now+stable, []*worker{old, young})
	if b != (backoff{}) {
		t.Fatalf("after a while of running: %+v", b)
	}
	// The end of one that has run for a while is no early end.
	b.ended(now+time.Minute, young, "exit status 1")
	if b != (backoff{}) {
		t.Fatalf("a late end: %+v", b)
	}
}

func TestWake(t *testing.T) {
	k := wake{idle: time.Minute}
	step := func(at time.Duration, live int, waiting, busy bool, want int) {
		t.Helper()
		if got := k.want(at, live, waiting, busy); got != want {
			t.Fatalf("at %v: %d workers wanted, want %d", at, got, want)
		}
	}
	s := time.Second
	step(1*s, 0, false, false, 0)
	step(2*s, 1, true, false, 0) // one is there: it takes who waits
	step(3*s, 0, true, false, 1)
	step(4*s, 1, true, false, 1)
	step(30*s, 1, false, true, 1)
	step(89*s, 1, false, false, 1)
	step(90*s, 1, false, false, 0)
	step(91*s, 0, false, false, 0)
	step(92*s, 0, true, false, 1)
}

func TestWhoLeaves(t *testing.T) {
	live := []*worker{at(1, time.Second), at(2, 2*time.Second), at(3, 3*time.Second)}
	busy := func(n ...int) func(proc.ID) adapter.Work {
		return func(p proc.ID) adapter.Work { return adapter.Work{Busy: n[p.PID-101]} }
	}
	for want, work := range map[int]func(proc.ID) adapter.Work{3: nil, 2: busy(0, 0, 1), 1: busy(1, 2, 2)} {
		if got := leaver(live, work).n; got != want {
			t.Errorf("worker %d leaves, want %d", got, want)
		}
	}
	if got := leaver(live, busy(0, 0, 0)).n; got != 3 {
		t.Errorf("of idle workers %d leaves, want the youngest", got)
	}
}

func TestEnvironmentFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n\nA=1\nB = x\n")
	if err := (environment{}).read(file); err == nil || !strings.Contains(err.Error(), "line 4 of "+file+" is not NAME=VALUE") {
		t.Errorf("a name with a space: %v", err)
	}
	write("A=1\r\nB=\"two words\"\nC='$A'\nD=\nE=a=b\n  F=x  \n")
	e := environment{"A": "0", "Z": "9"}
	if err := e.read(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=1", "B=two words", "C=$A", "D=", "E=a=b", "F=x", "Z=9"}, e.list()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, bad := range []string{"export A=1\n", "1A=2\n", "A\n", "=x\n", "A=\x00\n", strings.Repeat("A=1\n", maxEnv/4+1)} {
		write(bad)
		if err := (environment{}).read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if err := (environment{}).read("/dev/zero"); err == nil {
		t.Error("a device was read")
	}
}

// What an agent's own environment holds is no worker's business.
func TestTheAgentsEnvironmentStaysItsOwn(t *testing.T) {
	t.Setenv("TOKEN", "secret")
	t.Setenv("LANG", "C.UTF-8")
	s := New(Options{Name: "shop", StateDir: "/s", Command: []string{"x"}, Ready: Readiness{Notify: true}})
	_, attr, err := s.prepare(4)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LANG=C.UTF-8", "LISTEN_FDS=1", "TIDEGATE_WORKER=4", "TIDEGATE_APP=shop", "NOTIFY_SOCKET=/s/shop.notify"} {
		if !slices.Contains(attr.Env, want) {
			t.Errorf("%s is not in %v", want, attr.Env)
		}
	}
	if slices.Contains(attr.Env, "TOKEN=secret") {
		t.Error("the agent's environment is handed on")
	}
	if attr.Sys.Pdeathsig != 0 || !attr.Sys.Setsid {
		t.Errorf("a worker must outlive the agent: %+v", attr.Sys)
	}
}

// Only root can become somebody else; workers of another user are tested where the tests are root's.
func TestAnotherUser(t *testing.T) {
	env := environment{}
	s := New(Options{Name: "shop", User: "nobody", Command: []string{"x"}})
	cred, err := s.credential(env)
	if os.Getuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "only root") {
			t.Fatalf("not being root: %v", err)
		}
		return
	}
	if err != nil || cred == nil || cred.Uid == 0 || cred.Gid == 0 || env["USER"] != "nobody" {
		t.Fatalf("%+v, %v, %v", cred, env, err)
	}
}
