package nginxgen_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/nginxgen"
	"github.com/tidegate/tidegate/tests/harness"
)

// guarded runs a manager as the controller does: Apply at each hint of Watch, and now and then anyway.
type guarded struct {
	*site
	m    *nginxgen.Manager
	log  *syncBuffer
	mu   sync.Mutex
	want nginxgen.Model
	last nginxgen.Outcome
	err  error
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newGuarded(t *testing.T, change func(*nginxgen.Options)) *guarded {
	s := newSite(t, siteOptions{servers: 2})
	g := &guarded{site: s, log: &syncBuffer{}, want: s.model(1, 2)}
	s.opts.Log = slog.New(slog.NewTextHandler(g.log, nil))
	change(&s.opts)
	g.m = s.manager()
	s.apply(g.m, g.want, nginxgen.Applied)
	ctx, stop := context.WithCancel(context.Background())
	hints := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		g.m.Watch(ctx, func() {
			select {
			case hints <- struct{}{}:
			default:
			}
		})
	})
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hints:
			case <-time.After(500 * time.Millisecond):
			}
			g.mu.Lock()
			want := g.want
			g.mu.Unlock()
			out, err := g.m.Apply(ctx, time.Now(), want)
			g.mu.Lock()
			g.last, g.err = out, err
			g.mu.Unlock()
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return g
}

func (g *guarded) outcome() nginxgen.Outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

func (g *guarded) repairs() float64 {
	return g.metric(`tidegate_nginx_reloads_total{reason="drift",result="ok"}`)
}

func (g *guarded) wait(what string, cond func() bool) {
	g.t.Helper()
	if err := harness.WaitFor(what, time.Minute, cond); err != nil {
		g.t.Fatalf("%v; the last outcome: %+v", err, g.outcome())
	}
}

func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(g *guarded){
		"edited": func(g *guarded) {
			f, err := os.OpenFile(g.file, os.O_APPEND|os.O_WRONLY, 0)
			g.must(err)
			_, err = f.WriteString("# mine\n")
			g.must(errors.Join(err, f.Close()))
		},
		"truncated": func(g *guarded) { g.must(os.Truncate(g.file, 0)) },
		"removed":   func(g *guarded) { g.must(os.Remove(g.file)) },
		"replaced": func(g *guarded) {
			g.must(os.WriteFile(g.file+".new", []byte("# somebody else's\n"), 0o644))
			g.must(os.Rename(g.file+".new", g.file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, func(o *nginxgen.Options) { o.Quiet = 200 * time.Millisecond })
			good := g.liveBytes()
			spoil(g)
			g.wait("the repair", func() bool { return g.repairs() == 1 && g.outcome().Result == nginxgen.Unchanged })
			if n := g.metric("tidegate_nginx_drift_total"); n != 1 || !g.isLive(good) {
				t.Fatalf("%v drifts were counted, and there is now:\n%s", n, g.liveBytes())
			}
			if n := strings.Count(g.log.String(), "somebody else changed"); n != 1 {
				t.Fatalf("told %d times:\n%s", n, g.log)
			}
		})
	}
}

// A link or a folder in the file's place is told, and left: it is not known what it is for.
func TestDriftThatCannotBeRepairedIsTold(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, func(*nginxgen.Options) {})
	g.must(os.Rename(g.file, g.rig.Path("elsewhere.conf")))
	g.must(os.Symlink(g.rig.Path("elsewhere.conf"), g.file))
	g.wait("the word", func() bool { return strings.Contains(g.outcome().Drift, "was replaced") })
	if out := g.outcome(); out.Result != nginxgen.Failed || !strings.Contains(out.Why, "is not a regular file") || g.metric("tidegate_nginx_drifted_files") != 1 {
		t.Fatalf("%+v", out)
	}
	g.must(os.Rename(g.rig.Path("elsewhere.conf"), g.file))
	g.wait("the end", func() bool { return g.outcome().Result == nginxgen.Unchanged })
	if g.metric("tidegate_nginx_drifted_files") != 0 {
		t.Fatal("the drift is over")
	}
}

func TestDriftIsLeftWhereOnlyReportsAreWanted(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, func(o *nginxgen.Options) { o.ReportOnly = true })
	good := g.liveBytes()
	edited := append(bytes.Clone(good), "# mine\n"...)
	g.must(os.WriteFile(g.file, edited, 0o644))
	held := func() bool { return g.outcome().Held == nginxgen.HoldDrift }
	g.wait("the report", held)
	// A new wish would write over the edit, so it has to wait as well.
	g.mu.Lock()
	g.want, g.last = g.model(2, 1), nginxgen.Outcome{}
	g.mu.Unlock()
	g.wait("the report", held)
	if out := g.outcome(); !g.isLive(edited) || !strings.Contains(out.Drift, g.file+" was edited") || !strings.Contains(out.Why, "on_drift: report") {
		t.Fatalf("%+v\n%s", out, g.liveBytes())
	}
	if g.metric(`tidegate_nginx_held_total{reason="drift"}`) == 0 || g.metric("tidegate_nginx_drifted_files") != 1 {
		t.Fatal("it was not counted")
	}
	// A restarted process leaves it too.
	again := g.manager()
	g.must(again.Recover(t.Context()))
	if out, err := again.Apply(t.Context(), time.Now(), g.model(2, 1)); err != nil || out.Held != nginxgen.HoldDrift || !g.isLive(edited) {
		t.Fatalf("%+v %v", out, err)
	}
	g.must(os.WriteFile(g.file, good, 0o644))
	g.wait("the wish", func() bool { return g.outcome().Result == nginxgen.Unchanged && !g.isLive(good) })
}

// A tool that writes its own version again and again makes nginx reload three times, and then no more.
func TestDriftIsNoWar(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, func(*nginxgen.Options) {})
	good := g.liveBytes()
	theirs := append(bytes.Clone(good), "# theirs\n"...)
	write := func() {
		g.must(os.WriteFile(g.file, theirs, 0o644))
		// It comes again when it was repaired, or after a while.
		_ = harness.WaitFor("the repair", 200*time.Millisecond, func() bool { return g.isLive(good) })
	}
	g.wait("the third repair and the report", func() bool {
		write()
		return g.repairs() == 3 && g.outcome().Held == nginxgen.HoldDrift
	})
	for range 10 {
		write()
	}
	if n := g.repairs(); n != 3 {
		t.Fatalf("%v repairs", n)
	}
	g.wait("the report", func() bool { return strings.Contains(g.outcome().Why, "3 repairs in a row were undone") })
	if !g.isLive(theirs) {
		t.Fatalf("the file is to be left:\n%s", g.liveBytes())
	}
}
