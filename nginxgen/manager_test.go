package nginxgen_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestSharesFollowWeightsAndEqualBytesDoNotReload(t *testing.T) {
	s := newSite(t, siteOptions{servers: 3})
	m := s.manager()
	s.must(m.Recover(context.Background()))
	if _, known := m.Live(); known {
		t.Fatal("a file that no reload of ours verified must not count as live")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	s.must(err)
	before := s.workers()
	s.apply(m, s.model(1, 2, 7), nginxgen.Applied)
	if now := s.workers(); cmp.Equal(before, now) {
		t.Fatalf("Applied, but the workers are still %v", now)
	}
	if allowed := nginxgen.NamespaceAllowed(s.file); allowed != m.UsesNamespace() {
		t.Fatalf("a mount namespace is allowed: %t, used for the test in context: %t", allowed, m.UsesNamespace())
	}
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !bytes.Equal(mounts, after) {
		t.Fatalf("the process's mounts changed (%v):\n%s", err, after)
	}
	live, known := m.Live()
	if !known {
		t.Fatal("after Applied the live model is known")
	}
	want := s.model(1, 2, 7)
	want.Why = ""
	if diff := cmp.Diff(want, live); diff != "" {
		t.Fatal(diff)
	}

	got := s.shares(1000)
	t.Logf("1,000 requests over weights 1, 2, 7: %v", got)
	for i, exact := range []int64{100, 200, 700} {
		if got[i] < exact-10 || got[i] > exact+10 {
			t.Fatalf("shares %v, want 100, 200, 700 (10 more or less)", got)
		}
	}
	s.unchanged(func() {
		for range 5 {
			s.apply(m, s.model(1, 2, 7), nginxgen.Unchanged)
		}
		// A restarted tidegate knows from the last good file that nginx runs with this one.
		again := s.manager()
		s.must(again.Recover(context.Background()))
		s.apply(again, s.model(1, 2, 7), nginxgen.Unchanged)
		if _, known := again.Live(); !known {
			t.Fatal("a restart must know the live model")
		}
	})

	s.apply(m, s.model(1, 0, 1), nginxgen.Applied)
	if got := s.shares(20); got[0] != 10 || got[1] != 0 || got[2] != 10 {
		t.Fatalf("shares %v with the second server down", got)
	}
	if n := s.metric(`tidegate_nginx_reloads_total{reason="recover",result="ok"}`) + s.metric(`tidegate_nginx_reloads_total{reason="membership_loss",result="ok"}`); n != 2 {
		t.Fatalf("%v reloads were counted, want 2", n)
	}
}

// modes runs a test with the private mount namespace and without.
func modes(t *testing.T, f func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager)) {
	if os.Geteuid() == 0 {
		t.Run("namespace", func(t *testing.T) {
			f(t, func(m *nginxgen.Manager) *nginxgen.Manager { return m })
		})
	}
	t.Run("swap", func(t *testing.T) { f(t, (*nginxgen.Manager).WithoutNamespace) })
}

func TestRefusedInContextLeavesTheLiveFileUntouched(t *testing.T) {
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		s := newSite(t, siteOptions{servers: 2, http: "upstream other { server 127.0.0.1:9; }"})
		m := with(s.manager())
		s.apply(m, s.model(1, 2), nginxgen.Applied)
		s.unchanged(func() {
			bad := s.model(1, 3)
			bad.Upstreams = append(bad.Upstreams, nginxgen.Upstream{Name: "other"})
			s.says(s.apply(m, bad, nginxgen.Refused), `duplicate upstream "other"`)
		})
		s.apply(m, s.model(2, 1), nginxgen.Deferred) // the failure backs off
		out, err := m.Apply(context.Background(), time.Now().Add(time.Minute), s.model(2, 1))
		if err != nil || out.Result != nginxgen.Applied {
			t.Fatalf("a good model after a refused one: %v %v", out, err)
		}
		s.shares(10)
	})
}

func TestRefusedAlone(t *testing.T) {
	s := newSite(t, siteOptions{})
	m := s.manager()
	s.unchanged(func() {
		// Nothing but nginx knows that this variable does not exist.
		bad := s.model(1)
		bad.Upstreams[0].Method = "hash $no_such_variable"
		s.says(s.apply(m, bad, nginxgen.Refused), "unknown", "no_such_variable")
		s.says(s.apply(m, nginxgen.Model{Upstreams: []nginxgen.Upstream{{Name: "a b; {"}}}, nginxgen.Refused), "is not allowed")
	})
}

func TestReloadThatFailsIsRolledBack(t *testing.T) {
	t.Parallel() // nginx itself takes 2.6 s to give up
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		t.Parallel()
		s := newSite(t, siteOptions{servers: 2})
		m := with(s.manager())
		s.apply(m, s.model(1, 2), nginxgen.Applied)
		// `nginx -t` takes a port that is in use; the reload does not.
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		s.must(err)
		defer taken.Close()
		s.rewriteMain("http {", fmt.Sprintf("http {\nserver { listen %s; }\n", taken.Addr()))
		s.unchanged(func() {
			s.says(s.apply(m, s.model(2, 1), nginxgen.RolledBack), "the last good file is back", "bind() to "+taken.Addr().String())
		})
		if live, known := m.Live(); !known || live.Upstreams[0].Servers[1].Weight != 2 {
			t.Fatalf("after the roll back the old model is live, got %+v (%v)", live, known)
		}
		if got := s.shares(30); got[0] != 10 || got[1] != 20 {
			t.Fatalf("shares %v, want the old weights", got)
		}
		if s.metric(`tidegate_nginx_applies_total{result="rolled_back"}`) != 1 || s.metric(`tidegate_nginx_reloads_total{reason="weights",result="failed"}`) != 1 {
			t.Fatal("the roll back was not counted")
		}
		s.must(taken.Close())
		out, err := m.Apply(context.Background(), time.Now().Add(time.Minute), s.model(2, 1))
		if err != nil || out.Result != nginxgen.Applied {
			t.Fatalf("once the port is free: %v %v", out, err)
		}
	})
}

// A master that hangs: only the time-out tells. Nobody knows what nginx will do when it wakes, so it is told to load the
// old file again.
func TestReloadThatIsNotSeenInTimeIsRolledBack(t *testing.T) {
	t.Parallel()
	stopped := func(t *testing.T, verify time.Duration, f func(s *site, m *nginxgen.Manager, before []byte)) {
		s := newSite(t, siteOptions{servers: 2})
		s.opts.VerifyTimeout = verify
		m := s.manager()
		before := s.liveBytes()
		s.must(s.nginx.Signal(syscall.SIGSTOP))
		f(s, m, before)
		if !bytes.Equal(before, s.liveBytes()) {
			t.Fatal("the former file is not back")
		}
		s.must(harness.WaitFor("the old weights", 10*time.Second, func() bool {
			got := s.shares(20)
			return got[0] == 10 && got[1] == 10
		}))
	}
	t.Run("it wakes up", func(t *testing.T) {
		stopped(t, 5*time.Second, func(s *site, m *nginxgen.Manager, before []byte) {
			woken := make(chan error, 1)
			go func() {
				err := harness.WaitFor("the new file", 10*time.Second, func() bool { return !s.isLive(before) })
				if err == nil {
					err = harness.WaitFor("the former file", 10*time.Second, func() bool { return s.isLive(before) })
				}
				woken <- errors.Join(err, s.nginx.Signal(syscall.SIGCONT))
			}()
			s.says(s.apply(m, s.model(2, 1), nginxgen.RolledBack), "no new nginx workers within 5s")
			s.must(<-woken)
		})
	})
	t.Run("it does not wake up", func(t *testing.T) {
		stopped(t, 300*time.Millisecond, func(s *site, m *nginxgen.Manager, before []byte) {
			out, err := m.Apply(context.Background(), time.Now(), s.model(2, 1))
			s.must(s.nginx.Signal(syscall.SIGCONT))
			if out.Result != nginxgen.Failed || !out.Reloaded {
				t.Fatalf("%+v %v", out, err)
			}
			s.says(err, "no new nginx workers within 300ms", "did not load it")
		})
	})
}

func TestUsersOwnConfigurationIsBroken(t *testing.T) {
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		s := newSite(t, siteOptions{servers: 2})
		m := with(s.manager())
		s.apply(m, s.model(1, 2), nginxgen.Applied)
		s.rewriteMain("http {", "no_such_directive on;\nhttp {")
		s.unchanged(func() {
			s.says(s.apply(m, s.model(2, 1), nginxgen.Failed), "nginx's own configuration is broken", "no_such_directive")
		})
		s.rewriteMain("no_such_directive on;\n", "")
		out, err := m.Apply(context.Background(), time.Now().Add(time.Minute), s.model(2, 1))
		if err != nil || out.Result != nginxgen.Applied {
			t.Fatalf("once it is repaired: %v %v", out, err)
		}
	})
}

func TestNoMasterToSignal(t *testing.T) {
	s := newSite(t, siteOptions{servers: 2})
	m := s.manager()
	s.apply(m, s.model(1, 2), nginxgen.Applied)
	pidText, err := os.ReadFile(s.nginx.PIDFile)
	s.must(err)
	wrong := func(name, text string, words ...string) {
		t.Run(name, func(t *testing.T) {
			defer func(outer *testing.T) { s.t = outer }(s.t)
			s.t = t
			s.must(os.WriteFile(s.nginx.PIDFile, []byte(text), 0o644))
			s.unchanged(func() { s.says(s.apply(m, s.model(2, 1), nginxgen.Failed), append(words, "nginx is not running")...) })
		})
	}
	wrong("empty pid file", "", "is empty")
	wrong("a word", "hello\n", `"hello"`)
	wrong("another process", fmt.Sprintf("%d\n", os.Getpid()), "no nginx master")
	wrong("nobody", "4194303\n", "no nginx master")
	s.must(os.WriteFile(s.nginx.PIDFile, pidText, 0o644))
	s.apply(m, s.model(2, 1), nginxgen.Applied)

	before := s.liveBytes()
	s.must(s.nginx.Stop(5 * time.Second))
	s.says(s.apply(m, s.model(1, 1), nginxgen.Failed), "nginx is not running", "there is no pid file")
	if !bytes.Equal(before, s.liveBytes()) {
		t.Fatal("the live file changed while nginx was down")
	}
	if _, err := os.Stat(s.nginx.PIDFile); err == nil {
		t.Fatal("an empty pid file was left behind")
	}
	s.opts.Binary = s.rig.Path("no-nginx-here")
	s.says(s.apply(s.manager(), s.model(1, 1), nginxgen.Failed), "find nginx", "no-nginx-here")
}

func TestDriftIsReportedOnceKeptAndRepaired(t *testing.T) {
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		s := newSite(t, siteOptions{servers: 2})
		var log bytes.Buffer
		s.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		s.opts.MinMembership = time.Minute
		m := with(s.manager())
		s.apply(m, s.model(1, 2), nginxgen.Applied)
		good := s.liveBytes()
		// In place, as some editors do: the last good file must not change along.
		edited := append(bytes.Clone(good), []byte("# mine\nupstream mine { server 127.0.0.1:9; }\n")...)
		s.must(os.WriteFile(s.file, edited, 0o644))
		for range 3 {
			s.apply(m, s.model(1, 2), nginxgen.Deferred)
		}
		if _, known := m.Live(); known {
			t.Fatal("an edited file is not what was verified")
		}
		out, err := m.Apply(context.Background(), time.Now().Add(2*time.Minute), s.model(1, 2))
		if err != nil || out.Result != nginxgen.Applied {
			t.Fatalf("%+v %v", out, err)
		}
		if !bytes.Equal(good, s.liveBytes()) {
			t.Fatalf("not repaired:\n%s", s.liveBytes())
		}
		kept, err := os.ReadFile(s.rig.Path("conf", ".upstreams.conf.edited"))
		if err != nil || !bytes.Equal(kept, edited) {
			t.Fatalf("the edit was not kept: %v\n%s", err, kept)
		}
		if n := strings.Count(log.String(), "somebody else changed"); n != 1 || s.metric("tidegate_nginx_drift_total") != 1 {
			t.Fatalf("%d lines, metric %v:\n%s", n, s.metric("tidegate_nginx_drift_total"), log.String())
		}
	})
}

func TestFullDiskAndReadOnlyFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	s := newSite(t, siteOptions{servers: 2})
	s.apply(s.manager(), s.model(1, 2), nginxgen.Applied)
	live := s.liveBytes()
	dir := filepath.Dir(s.file)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	s.must(os.WriteFile(s.file, live, 0o644))
	s.must(os.WriteFile(filepath.Join(dir, ".upstreams.conf.good"), live, 0o644))
	filler, err := os.Create(filepath.Join(dir, ".filler"))
	s.must(err)
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	filler.Close()
	m := s.manager()
	s.unchanged(func() { s.says(s.apply(m, s.model(2, 1), nginxgen.Failed), "no space left on device") })
	s.must(os.Remove(filler.Name()))
	s.must(syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	s.unchanged(func() { s.says(s.apply(m, s.model(2, 1), nginxgen.Failed), "read-only file system") })
	s.must(syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64k"))
	s.apply(m, s.model(2, 1), nginxgen.Applied)
}

func TestLockOfAnotherProcess(t *testing.T) {
	s := newSite(t, siteOptions{servers: 2})
	l, err := os.Create(s.rig.Path("conf", ".upstreams.conf.lock"))
	s.must(err)
	defer l.Close()
	s.must(syscall.Flock(int(l.Fd()), syscall.LOCK_EX))
	s.unchanged(func() { s.says(s.apply(s.manager(), s.model(2, 1), nginxgen.Failed), "another process works on") })
}

func TestBudgetHoldsReloadsApart(t *testing.T) {
	s := newSite(t, siteOptions{servers: 2})
	s.opts.MinMembership, s.opts.MinWeights, s.opts.Quiet, s.opts.MaxWait = 2*time.Second, 10*time.Second, time.Second, 10*time.Second
	s.opts.PerMinute = 6
	m := s.manager()
	ctx, now := context.Background(), time.Now()
	step := func(after time.Duration, want nginxgen.Model, result nginxgen.Result, reason nginxgen.Reason, held nginxgen.Hold) {
		t.Helper()
		now = now.Add(after)
		out, err := m.Apply(ctx, now, want)
		if err != nil || out.Result != result || out.Reason != reason || out.Held != held {
			t.Fatalf("%+v, %v; want %v, reason %q, held %q", out, err, result, reason, held)
		}
	}
	step(0, s.model(1, 1), nginxgen.Applied, nginxgen.ReasonRecover, "") // never verified
	step(time.Second, s.model(1, 2), nginxgen.Deferred, nginxgen.ReasonWeights, nginxgen.HoldDistance)
	step(time.Second, s.model(1, 0), nginxgen.Applied, nginxgen.ReasonLoss, "") // a server goes: 2 s are over
	step(time.Second, s.model(1, 1), nginxgen.Deferred, nginxgen.ReasonGain, nginxgen.HoldDistance)
	step(time.Second, s.model(1, 1), nginxgen.Applied, nginxgen.ReasonGain, "")
	// Three at once are the burst of six a minute; the next is due 20 s after the first.
	step(2*time.Second, s.model(0, 1), nginxgen.Deferred, nginxgen.ReasonLoss, nginxgen.HoldRate)
	if s.metric("tidegate_nginx_pending_seconds") != 0 {
		t.Fatal("the change has just come")
	}
	step(13*time.Second, s.model(0, 1), nginxgen.Deferred, nginxgen.ReasonLoss, nginxgen.HoldRate)
	if s.metric("tidegate_nginx_pending_seconds") != 13 {
		t.Fatal("the change waits for 13 s")
	}
	step(time.Second, s.model(0, 1), nginxgen.Applied, nginxgen.ReasonLoss, "")
	step(time.Minute, s.model(0, 1), nginxgen.Unchanged, "", "")

	// Shares of 1/2 and 1/2 to 10/21 and 11/21: not worth a reload, however long it lasts.
	step(time.Minute, s.model(10, 10), nginxgen.Deferred, nginxgen.ReasonGain, nginxgen.HoldQuiet)
	step(time.Second, s.model(10, 10), nginxgen.Applied, nginxgen.ReasonGain, "")
	step(time.Minute, s.model(10, 11), nginxgen.Deferred, nginxgen.ReasonWeights, nginxgen.HoldSmall)
	step(time.Hour, s.model(10, 11), nginxgen.Deferred, nginxgen.ReasonWeights, nginxgen.HoldSmall)
	if s.metric("tidegate_nginx_pending_seconds") != 0 {
		t.Fatal("what is not worth a reload does not wait for one")
	}
	step(time.Second, s.model(10, 20), nginxgen.Deferred, nginxgen.ReasonWeights, nginxgen.HoldQuiet)
	step(time.Second, s.model(10, 20), nginxgen.Applied, nginxgen.ReasonWeights, "")
	// At one request a second, a turn of 30 takes 30 s, and there are to be ten.
	slow := s.model(10, 10)
	slow.Rates = map[string]float64{"app": 1}
	step(100*time.Second, slow, nginxgen.Deferred, nginxgen.ReasonWeights, nginxgen.HoldDistance)
	step(100*time.Second, slow, nginxgen.Applied, nginxgen.ReasonWeights, "")
	for _, held := range []string{"distance", "rate", "quiet", "small"} {
		if s.metric(`tidegate_nginx_held_total{reason="`+held+`"}`) == 0 {
			t.Errorf("no change was counted as held by %s", held)
		}
	}
}
