package nginxgen_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// Updates, a third of them bad in different ways, while somebody else reloads nginx all the time and 100 requests a second
// go through: bad ones are refused or rolled back, every file that was ever live is one that nginx accepts, no request fails.
func TestUpdatesGoodAndBadAmongReloads(t *testing.T) {
	t.Parallel()
	updates := 21
	if os.Getenv(fullEnv) != "" {
		updates = 100
	}
	modes(t, func(t *testing.T, with func(*nginxgen.Manager) *nginxgen.Manager) {
		t.Parallel()
		u := newUproar(t)
		m := with(u.manager())
		u.begin()
		now := time.Now()
		count := map[nginxgen.Result]int{}
		for i := range updates {
			now = now.Add(time.Minute)
			lines := []string{fmt.Sprintf("app %d %d", i%5+1, i%3), fmt.Sprintf("api %d %d", i%2, i%4+1)}
			kind, want, undo := "good", u.want(lines...), func() {}
			if i%3 == 2 {
				kind, want, undo = u.bad(i/3, lines)
			}
			out, err := m.Apply(t.Context(), now, want)
			undo()
			count[out.Result]++
			if (kind == "good") != (out.Result == nginxgen.Applied) || kind != "good" && !slices.Contains(badResults[kind], out.Result) {
				t.Errorf("update %d, %s: %+v %v", i, kind, out, err)
				break
			}
			if out.Result == nginxgen.Applied {
				u.last = u.files()
			}
			u.keeps(u.last)
		}
		u.end()
		// In swapping mode the live file is a refused one for the length of one `nginx -t`, as the package comment says.
		u.judge(with(u.manager()).UsesNamespace())
		t.Logf("%v; %d versions of the files, %d reloads by somebody else, %d requests", count, len(u.seen), u.reloads.Load(), u.sent.Load())
	})
}

// badResults are what may become of each kind of bad update.
var badResults = map[string][]nginxgen.Result{
	"duplicate":    {nginxgen.Refused},
	"unknown word": {nginxgen.Refused},
	"injected":     {nginxgen.Refused},
	// Failed: a reload by somebody else was under way, so it is not sure which files nginx runs with.
	"port taken":      {nginxgen.RolledBack, nginxgen.Failed},
	"empty pid file":  {nginxgen.Failed},
	"their own error": {nginxgen.Failed},
	"unknown host":    {nginxgen.Refused},
}

// uproar is a fleet under requests, foreign reloads and the eyes of a watcher.
type uproar struct {
	*fleet
	last     map[string]string
	valid    map[string]bool // texts that nginx accepts
	seen     map[string]bool // texts that were live
	mu       sync.Mutex
	trouble  atomic.Int64 // counts begins and ends of times in which nothing can be reloaded: odd is trouble
	reloads  atomic.Int64
	sent     atomic.Int64
	problems []string
	stop     func()
}

func newUproar(t *testing.T) *uproar {
	u := &uproar{fleet: newFleet(t, "app", "api"), valid: map[string]bool{}, seen: map[string]bool{}}
	u.rewriteMain("http {", "http {\nupstream mine { server 127.0.0.1:9; }\n# here\n")
	u.last = u.files()
	for _, text := range u.last {
		u.valid[text] = true
	}
	return u
}

// want notes that the files of this model are good.
func (u *uproar) want(lines ...string) nginxgen.Model {
	m := u.fleet.want(lines...)
	for _, text := range nginxgen.Files(u.opts, m) {
		u.valid[string(text)] = true
	}
	return m
}

// bad is an update that must not come through, with what is to be done after it.
func (u *uproar) bad(n int, lines []string) (kind string, want nginxgen.Model, undo func()) {
	kinds := slices.Sorted(maps.Keys(badResults))
	kind, want, undo = kinds[n%len(kinds)], u.fleet.want(lines...), func() {}
	app := &want.Upstreams[0]
	switch kind {
	case "duplicate":
		want.Upstreams = append(want.Upstreams, nginxgen.Upstream{Name: "mine"})
	case "unknown word":
		app.Method = "hash $no_such_variable"
	case "injected":
		app.Name = "app { } }"
	case "unknown host":
		app.Servers[0].Address = "no-such-host.invalid:80"
	case "port taken":
		u.want(lines...) // nginx accepts it; only the reload fails
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		u.must(err)
		undo = u.inTrouble("# here", fmt.Sprintf("server { listen %s; }", taken.Addr()), func() { taken.Close() })
	case "their own error":
		undo = u.inTrouble("# here", "no_such_directive on;", func() {})
	case "empty pid file":
		pid, err := os.ReadFile(u.nginx.PIDFile)
		u.must(err)
		u.trouble.Add(1)
		u.must(os.WriteFile(u.nginx.PIDFile, nil, 0o644))
		undo = func() {
			u.must(os.WriteFile(u.nginx.PIDFile, pid, 0o644))
			u.trouble.Add(1)
		}
	}
	return kind, want, undo
}

// inTrouble rewrites the user's own file until the returned function is called.
func (u *uproar) inTrouble(old, new string, after func()) func() {
	u.trouble.Add(1)
	u.rewriteMain(old, new)
	return func() {
		u.rewriteMain(new, old)
		after()
		u.trouble.Add(1)
	}
}

func (u *uproar) problem(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.problems = append(u.problems, fmt.Sprintf(format, args...))
}

func (u *uproar) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	u.stop = func() { cancel(); wg.Wait() }
	u.t.Cleanup(u.stop)
	wg.Go(func() { u.reload(ctx) })
	wg.Go(func() { u.watch(ctx) })
	for _, url := range u.urls {
		wg.Go(func() { u.ask(ctx, url) })
	}
}

func (u *uproar) end() { u.stop() }

// reload is somebody else who reloads nginx without pause.
func (u *uproar) reload(ctx context.Context) {
	nginx, err := harness.Find("nginx")
	if err != nil {
		u.problem("%v", err)
		return
	}
	for ctx.Err() == nil {
		before := u.trouble.Load()
		out, err := exec.Command(nginx, "-s", "reload", "-p", u.rig.Dir, "-c", u.nginx.Conf).CombinedOutput()
		u.reloads.Add(1)
		if err != nil && before%2 == 0 && before == u.trouble.Load() {
			u.problem("somebody else's reload failed: %s", out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// watch reads the live files without pause.
func (u *uproar) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, name := range []string{"app", "api"} {
			text, err := os.ReadFile(u.rig.Path("conf", "tidegate-"+name+".conf"))
			if err != nil {
				u.problem("the live file of %s: %v", name, err)
			}
			u.seen[string(text)] = true
		}
		time.Sleep(time.Millisecond)
	}
}

// ask sends 50 requests a second that no client repeats.
func (u *uproar) ask(ctx context.Context, url string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		<-tick.C
		u.sent.Add(1)
		wg.Go(func() {
			resp, err := u.clients.Post(url, "text/plain", strings.NewReader("x"))
			if err != nil {
				u.problem("a request failed: %v", err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				u.problem("a request got the status %d", resp.StatusCode)
			}
		})
	}
}

// judge is called at the end.
func (u *uproar) judge(alwaysValid bool) {
	u.t.Helper()
	for text := range u.seen {
		if alwaysValid && !u.valid[text] {
			u.problem("this was live, and nginx does not accept it:\n%s", text)
		}
	}
	for _, p := range u.problems {
		if alwaysValid || !strings.HasPrefix(p, "somebody else's reload failed") {
			u.t.Error(p)
		}
	}
	if u.sent.Load() < 100 || u.reloads.Load() < 5 || len(u.seen) < 5 {
		u.t.Errorf("only %d requests, %d reloads, %d versions", u.sent.Load(), u.reloads.Load(), len(u.seen))
	}
	u.must(u.tests())
}
