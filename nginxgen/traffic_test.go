package nginxgen_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
)

// 100 requests a second, none of which a client repeats (POST, a fresh connection each), while ten updates are applied.
func TestNoRequestFailsWhileUpdatesAreApplied(t *testing.T) {
	s := newSite(t, siteOptions{servers: 3})
	m := s.manager()
	ctx, stop := context.WithCancel(context.Background())
	var sent, failed atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			sent.Add(1)
			wg.Go(func() {
				resp, err := s.clients.Post(s.url, "text/plain", strings.NewReader("x"))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err == nil && resp.StatusCode != http.StatusOK {
						err = fmt.Errorf("status %d", resp.StatusCode)
					}
				}
				if err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
			})
		}
	})
	var total, worst time.Duration
	for i := range 10 {
		// Servers come, go and change their weight.
		want := s.model([][]int{{1, 2, 7}, {0, 2, 7}, {3, 2, 0}, {1, 1, 1}, {5, 0, 0}}[i%5]...)
		out, err := m.Apply(context.Background(), time.Now(), want)
		if err != nil || out.Result != nginxgen.Applied {
			t.Errorf("update %d: %+v %v", i, out, err)
			break
		}
		total, worst = total+out.Took, max(worst, out.Took)
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	wg.Wait()
	t.Logf("%d requests, %d failed; an update took %v on average, %v at most", sent.Load(), failed.Load(), total/10, worst)
	if failed.Load() > 0 || sent.Load() < 50 {
		t.Fatalf("%d of %d requests failed; the first: %v", failed.Load(), sent.Load(), first.Load())
	}
}

// While somebody else reloads all the time, the new workers of their reloads must not pass for ours, and all of ours
// arrive.
func TestSomebodyElseReloadsToo(t *testing.T) {
	s := newSite(t, siteOptions{servers: 2})
	m := s.manager()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = s.nginx.Signal(syscall.SIGHUP)
			time.Sleep(50 * time.Millisecond)
		}
	})
	for i := range 6 {
		s.apply(m, s.model(i+1, i%2), nginxgen.Applied)
		if i%2 == 0 {
			// The second server is down as soon as Apply returns, for new connections.
			if got := s.shares(10); got[1] != 0 {
				t.Errorf("update %d was called applied, but the server that is down got %v requests", i, got)
			}
		}
	}
	stop()
	wg.Wait()
}

const childEnv = "TIDEGATE_TEST_UNPRIVILEGED_CHILD"

// TestWithoutPrivileges runs tidegate and nginx as nobody, in a process of its own: no mount namespace can be had.
func TestWithoutPrivileges(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		unprivilegedChild(t)
		return
	}
	if os.Geteuid() != 0 {
		unprivilegedChild(t)
		return
	}
	dir, err := os.MkdirTemp("", "tg-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	// The test's binary lies in a folder that nobody may not enter.
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "nginxgen.test")
	if err := os.WriteFile(bin, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run", "^TestWithoutPrivileges$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"=1", "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWithoutPrivileges") {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

func unprivilegedChild(t *testing.T) {
	s := newSite(t, siteOptions{servers: 2, http: "upstream other { server 127.0.0.1:9; }"})
	m := s.manager()
	s.apply(m, s.model(1, 2), nginxgen.Applied)
	if m.UsesNamespace() {
		t.Fatal("a mount namespace was allowed; this test proves nothing here")
	}
	if got := s.shares(30); got[0] != 10 || got[1] != 20 {
		t.Fatalf("shares %v", got)
	}
	s.unchanged(func() {
		bad := s.model(1, 3)
		bad.Upstreams = append(bad.Upstreams, nginxgen.Upstream{Name: "other"})
		s.says(s.apply(m, bad, nginxgen.Refused), `duplicate upstream "other"`)
	})
	if err := nginxgen.Check(context.Background(), s.opts); err != nil {
		t.Fatal(err)
	}
	// A master of another user: not ours to signal. Process 1 stands for one where it is not nginx's, so only the text differs.
	s.must(os.WriteFile(s.nginx.PIDFile, []byte("1\n"), 0o644))
	out, err := m.Apply(context.Background(), time.Now().Add(time.Minute), s.model(2, 1))
	if out.Result != nginxgen.Failed || err == nil {
		t.Fatalf("%+v %v", out, err)
	}
}
