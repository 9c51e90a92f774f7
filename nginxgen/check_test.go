package nginxgen_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
)

func TestCheck(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, siteOptions{})
	s.must(nginxgen.Check(ctx, s.opts))
	fails := func(name string, change func(o *nginxgen.Options), words ...string) {
		t.Run(name, func(t *testing.T) {
			o := s.opts
			change(&o)
			err := nginxgen.Check(ctx, o)
			for _, w := range words {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Fatalf("want an error with %q, got: %v", w, err)
				}
			}
		})
	}
	fails("no nginx", func(o *nginxgen.Options) { o.Binary = "no-such-nginx" }, "there is no program no-such-nginx")
	fails("no main", func(o *nginxgen.Options) { o.Main = s.rig.Path("none.conf") }, "none.conf", "no such file")
	fails("not included", func(o *nginxgen.Options) { o.File = s.rig.Path("conf", "other.conf") }, "does not include", "add the line `include ")
	fails("no folder", func(o *nginxgen.Options) { o.File = s.rig.Path("nowhere", "a.conf") }, "nowhere", "does not exist")
	fails("relative", func(o *nginxgen.Options) { o.File = "a.conf" }, "an absolute path")
	fails("a space", func(o *nginxgen.Options) { o.File = "/tmp/a b.conf" }, "is not allowed")
	fails("hidden", func(o *nginxgen.Options) { o.File = "/tmp/.a.conf" }, "hidden")
	fails("the main file itself", func(o *nginxgen.Options) { o.File = o.Main }, "both")

	// With nginx down, neither Check nor Recover leaves an empty pid file, which would break `nginx -s reload`.
	s.must(s.nginx.Stop(5 * time.Second))
	s.must(nginxgen.Check(ctx, s.opts))
	s.must(s.manager().Recover(ctx))
	if _, err := os.Lstat(s.nginx.PIDFile); err == nil {
		t.Fatal("an empty pid file is left")
	}
	s.rewriteMain("http {", "no_such_directive on;\nhttp {")
	fails("broken", func(*nginxgen.Options) {}, "nginx refuses its configuration", "no_such_directive")
	s.rewriteMain("no_such_directive on;\n", "")
	s.must(os.Remove(s.file))
	fails("missing", func(*nginxgen.Options) {}, "does not exist yet", "tidegate init")
}
