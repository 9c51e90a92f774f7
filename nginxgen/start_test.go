package nginxgen_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestFirstFile(t *testing.T) {
	t.Run("missing, matched by a pattern", func(t *testing.T) {
		modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
			s := newSite(t, siteOptions{servers: 2, noFile: true, include: "include {{DIR}}/conf/*;", http: "upstream other { server 127.0.0.1:9; }"})
			m := with(s.manager())
			s.must(nginxgen.Check(context.Background(), s.opts))
			bad := nginxgen.Model{Upstreams: []nginxgen.Upstream{{Name: "other"}}}
			s.says(s.apply(m, bad, nginxgen.Refused), "duplicate")
			if _, err := os.Lstat(s.file); err == nil {
				t.Fatal("a refused first file left something behind")
			}
			out, err := m.Apply(context.Background(), time.Now().Add(time.Minute), s.model(1, 1))
			if err != nil || out.Result != nginxgen.Applied {
				t.Fatalf("%+v %v", out, err)
			}
			// The hidden companions are not matched by the pattern, or nginx would see every upstream twice.
			s.must(nginxgen.Check(context.Background(), s.opts))
		})
	})
	t.Run("a stranger's", func(t *testing.T) {
		s := newSite(t, siteOptions{servers: 2})
		s.must(os.WriteFile(s.file, []byte("upstream app { server 127.0.0.1:9; }\n"), 0o644))
		m := s.manager()
		s.unchanged(func() {
			s.says(m.Recover(context.Background()), "was not written by tidegate")
			s.says(s.apply(m, s.model(1, 1), nginxgen.Refused), "was not written by tidegate")
			s.says(nginxgen.Check(context.Background(), s.opts), "was not written by tidegate")
		})
	})
	t.Run("empty", func(t *testing.T) {
		s := newSite(t, siteOptions{servers: 2})
		s.must(os.WriteFile(s.file, nil, 0o644))
		s.apply(s.manager(), s.model(1, 1), nginxgen.Applied)
	})
	t.Run("a link", func(t *testing.T) {
		s := newSite(t, siteOptions{servers: 2})
		s.must(os.Rename(s.file, s.rig.Path("elsewhere.conf")))
		s.must(os.Symlink(s.rig.Path("elsewhere.conf"), s.file))
		s.unchanged(func() { s.says(s.apply(s.manager(), s.model(1, 1), nginxgen.Failed), "is not a regular file") })
	})
}

func TestRecover(t *testing.T) {
	ctx := context.Background()
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		s := newSite(t, siteOptions{servers: 2})
		s.apply(with(s.manager()), s.model(1, 2), nginxgen.Applied)
		good := s.liveBytes()

		// A file that nginx refuses, found at the start: the last good one comes back.
		s.must(os.WriteFile(s.file, append(bytes.Clone(good[:len(good)-4]), "server;\n"...), 0o644))
		m := with(s.manager())
		s.must(m.Recover(ctx))
		if !bytes.Equal(good, s.liveBytes()) {
			t.Fatalf("the last good file is not back:\n%s", s.liveBytes())
		}

		// A former process was killed between the swap and the reload: the bytes are right, but nginx never loaded them.
		next, err := nginxgen.Render(s.model(3, 1))
		s.must(err)
		s.must(os.WriteFile(s.file, next, 0o644))
		m = with(s.manager())
		s.must(m.Recover(ctx))
		s.apply(m, s.model(3, 1), nginxgen.Applied)
		if got := s.shares(40); got[0] != 30 || got[1] != 10 {
			t.Fatalf("shares %v", got)
		}

		// The user's own part is broken and the file is good: nothing is touched, and it is said.
		good = s.liveBytes()
		bad := append(bytes.Clone(good), "upstream mine { server 127.0.0.1:9; }\n"...)
		s.must(os.WriteFile(s.file, bad, 0o644))
		s.rewriteMain("http {", "no_such_directive on;\nhttp {")
		s.says(with(s.manager()).Recover(ctx), "own configuration is broken", "no_such_directive")
		if !bytes.Equal(bad, s.liveBytes()) {
			t.Fatal("the live file was touched")
		}
	})
}

func TestStoppedOnTheWay(t *testing.T) {
	t.Run("before the swap", func(t *testing.T) {
		s := newSite(t, siteOptions{servers: 2})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.unchanged(func() {
			out, err := s.manager().Apply(ctx, time.Now(), s.model(2, 1))
			if out.Result != nginxgen.Failed || !errors.Is(err, context.Canceled) {
				t.Fatalf("%+v %v", out, err)
			}
		})
	})
	t.Run("before the reload is verified", func(t *testing.T) {
		s := newSite(t, siteOptions{servers: 2})
		m := s.manager()
		s.apply(m, s.model(1, 1), nginxgen.Applied)
		before := s.liveBytes()
		s.must(s.nginx.Signal(syscall.SIGSTOP))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			_ = harness.WaitFor("the new file", 10*time.Second, func() bool { return !s.isLive(before) })
			cancel()
		}()
		out, err := m.Apply(ctx, time.Now(), s.model(2, 1))
		s.must(s.nginx.Signal(syscall.SIGCONT))
		if out.Result != nginxgen.Failed || !errors.Is(err, context.Canceled) || s.isLive(before) {
			t.Fatalf("%+v %v", out, err)
		}
		// The new file stays, as nginx has taken it in context; the next start does not trust that it was loaded.
		next := s.manager()
		s.must(next.Recover(context.Background()))
		if _, known := next.Live(); known {
			t.Fatal("nobody has verified the live file")
		}
		s.apply(next, s.model(2, 1), nginxgen.Applied)
	})
}
