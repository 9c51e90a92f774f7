package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// The main job with weights through DNS: servers come and go in nginx without a reload but the first, no request is lost, and
// nothing is parked before nginx has let it go.
func TestDNSFollowsTheLoadAndLosesNothing(t *testing.T) {
	t.Parallel()
	harness.Need(t, "nginx")
	var old nginxgen.TooOldError
	if err := nginxgen.CheckResolve(t.Context(), nginxgen.Options{File: "/none/a", Main: "/none/b"}); errors.As(err, &old) {
		t.Skipf("nginx %s is installed, and 1.27.3 is needed (make test-nginx gets a newer one)", old.Version)
	}
	f := startFleet(t, demo.Options{Nodes: 3, MaxWorkers: 3, ServiceMS: 50, AppYAML: quickBusy, NginxDNS: true})
	weights := func(s api.Status, least ...int) bool {
		for i, v := range s.Apps[0].Servers {
			if v.Web < least[i] || least[i] == 0 && v.Web != 0 {
				return false
			}
		}
		return true
	}
	f.until("one server in service", 30*time.Second, func(s api.Status) bool { return serving(s) == 1 && weights(s, 1, 0, 0) })
	out, code := cli(t, "check", "--live", f.Config)
	t.Logf("check --live: %d\n%s", code, out)
	f.pin("9")
	viaNginx, stop := f.load(f.NginxAddr, "/", 35)
	s := f.until("three servers with all workers in nginx", 90*time.Second, func(s api.Status) bool { return weights(s, 3, 3, 3) })
	reloads := s.Totals.NginxReloads

	t.Log("tidegate is killed and comes back")
	f.Controller.Kill()
	time.Sleep(3 * time.Second)
	if err := f.RunController(); err != nil {
		t.Fatal(err)
	}
	f.until("its weights again", 60*time.Second, func(s api.Status) bool { return weights(s, 3, 3, 3) })
	f.pin("1")
	s = f.until("one server left", 2*time.Minute, func(s api.Status) bool {
		parked := 0
		for _, v := range s.Apps[0].Servers {
			if v.Phase == "parked" && v.Admin == "maint" && v.Weight == 0 && v.Web == 0 && v.Total == 1 {
				parked++
			}
		}
		return parked == 2
	})
	stop()
	noFailures(t, "through nginx", viaNginx)
	if reloads != 1 || s.Totals.NginxReloads != 0 {
		t.Errorf("nginx was reloaded %d times, want once, and %d times by the second tidegate", reloads, s.Totals.NginxReloads)
	}
	if ev := event(s, "nginx_weights"); ev == nil || ev.Error != "" {
		t.Errorf("no event tells of the weights: %+v", ev)
	}
	for _, r := range readJournal(t, f.Rig.Path("state", "journal.jsonl")) {
		if r.Error != "" {
			t.Logf("journal: %s %s", r.Detail, r.Error)
		}
	}

	t.Log("nginx is gone: it is told within half a minute")
	if err := f.Nginx.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	f.until("nginx's silence to be told", time.Minute, func(s api.Status) bool { return source(s, "nginx").Problem != "" })
	s, err := f.API.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(source(s, "nginx").Problem)
}
