package watch

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene watches folders and remembers what a file held at the last look.
type scene struct {
	t       *testing.T
	dir     string
	file    string
	seen    atomic.Value
	trouble atomic.Int64
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, dir: filepath.Join(t.TempDir(), "conf.d")}
	s.file = filepath.Join(s.dir, "a.conf")
	s.mkdir()
	s.write(s.file, "first")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		Dirs(ctx, []string{filepath.Dir(s.dir), s.dir}, func() {
			text, err := os.ReadFile(s.file)
			if err != nil {
				text = []byte("none")
			}
			s.seen.Store(string(text))
		}, func(error) { s.trouble.Add(1) })
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	s.sees("first")
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) mkdir() { s.must(os.MkdirAll(s.dir, 0o755)) }

func (s *scene) write(path, text string) { s.must(os.WriteFile(path, []byte(text), 0o644)) }

// sees waits for a look that finds text; less than Look, so that it was an event that told.
func (s *scene) sees(text string) {
	s.t.Helper()
	for end := time.Now().Add(Look - 5*time.Second); s.seen.Load() != text; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("saw %v, want %q", s.seen.Load(), text)
		}
	}
}

func TestEveryKindOfChangeIsSeen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.write(s.file, "in place")
	s.sees("in place")
	// A watch on the file itself would be gone after the first of these.
	for _, text := range []string{"replaced", "replaced again"} {
		s.write(filepath.Join(s.dir, ".next"), text)
		s.must(os.Rename(filepath.Join(s.dir, ".next"), s.file))
		s.sees(text)
	}
	s.must(os.Remove(s.file))
	s.sees("none")
	s.must(os.Symlink("elsewhere", s.file))
	s.write(filepath.Join(s.dir, "elsewhere"), "through a link")
	s.sees("through a link")
}

func TestAFolderThatVanishesIsWatchedAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(os.RemoveAll(s.dir))
	s.sees("none")
	s.mkdir()
	s.write(s.file, "back")
	s.sees("back")
	s.write(s.file, "and watched")
	s.sees("and watched")
	// Another folder takes its place.
	s.must(os.Mkdir(s.dir+".next", 0o755))
	s.write(s.dir+".next/a.conf", "another folder")
	s.must(os.Rename(s.dir, s.dir+".old"))
	s.must(os.Rename(s.dir+".next", s.dir))
	s.sees("another folder")
	s.write(s.file, "watched as well")
	s.sees("watched as well")
}

// More events than the kernel's queue holds: the last state counts.
func TestABurstEndsWithTheLastState(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for range 20_000 {
		s.write(filepath.Join(s.dir, ".b"), "")
	}
	s.write(s.file, "after the burst")
	s.sees("after the burst")
}

func TestWithoutAWatchTheFolderIsPolled(t *testing.T) {
	real := newWatcher
	defer func() { newWatcher = real }()
	newWatcher = func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		looks, troubles := 0, 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			Dirs(ctx, []string{"/"}, func() { looks++ }, func(error) { troubles++ })
		}()
		time.Sleep(3*Poll + time.Second)
		stop()
		<-done
		if looks != 3 || troubles != 1 {
			t.Fatalf("%d looks and %d troubles in three rounds", looks, troubles)
		}
	})
}
