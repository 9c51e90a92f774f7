package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/internal/demo"
	"github.com/tidegate/tidegate/tests/harness"
)

// binaryPath is the tidegate under test, built once.
var binaryPath string

func TestMain(m *testing.M) {
	if os.Getenv(refuseEnv) != "" {
		fmt.Fprintln(os.Stderr, refuseAndRun(os.Args[1:]))
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "tg-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Each test waits for its fleet most of the time: more of them at once than there are processors.
	if err := flag.Set("test.parallel", "3"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryPath = filepath.Join(dir, "tidegate")
	out, err := exec.Command("go", "build", raceFlag, "-o", binaryPath, "../../cmd/tidegate").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build tidegate: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// fleet is a running fleet with what the tests ask of it.
type fleet struct {
	*demo.Fleet
	t *testing.T
}

func startFleet(t *testing.T, o demo.Options) *fleet {
	t.Helper()
	harness.Need(t, "haproxy", "nginx", "gunicorn")
	rig := harness.ForTest(t)
	o.Binary, o.Log = binaryPath, t.Logf
	f, err := demo.Start(t.Context(), rig, o)
	if err != nil {
		t.Fatalf("start the fleet: %v", err)
	}
	t.Cleanup(f.API.Close)
	fl := &fleet{f, t}
	t.Cleanup(func() {
		if strings.Contains(fl.Controller.Log(), "DATA RACE") {
			t.Errorf("the race detector spoke in the controller:\n%s", fl.Controller.Log())
		}
	})
	return fl
}

func (f *fleet) status() api.Status {
	f.t.Helper()
	s, err := f.API.Status(context.Background())
	if err != nil {
		f.t.Fatalf("status: %v", err)
	}
	return s
}

func (f *fleet) server(name string) api.Server {
	f.t.Helper()
	for _, s := range f.status().Apps[0].Servers {
		if s.Name == name {
			return s
		}
	}
	f.t.Fatalf("the status has no server %s", name)
	return api.Server{}
}

// until polls the status until cond is true.
func (f *fleet) until(what string, timeout time.Duration, cond func(api.Status) bool) api.Status {
	f.t.Helper()
	var last api.Status
	err := harness.WaitFor(what, timeout, func() bool {
		s, err := f.API.Status(context.Background())
		if err != nil {
			return false
		}
		last = s
		return cond(s)
	})
	if err != nil {
		for _, e := range last.Events {
			f.t.Logf("%s %s %s %s", e.Time.Format(time.TimeOnly), e.Code, e.Sentence, e.Error)
		}
		f.t.Fatalf("%v; servers %+v, sources %+v", err, last.Apps, last.Sources)
	}
	return last
}

// before waits until the status fulfils a condition, or until something has ended.
func (f *fleet) before(ended <-chan struct{}, cond func(api.Status) bool) (s api.Status, ok bool) {
	for {
		s, err := f.API.Status(context.Background())
		if err == nil && cond(s) {
			return s, true
		}
		select {
		case <-ended:
			return s, false
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serving counts servers that HAProxy sends traffic to.
func serving(s api.Status) int {
	n := 0
	for _, v := range s.Apps[0].Servers {
		if v.Admin == "ready" && v.Up && v.Weight > 0 {
			n++
		}
	}
	return n
}

func event(s api.Status, code string) *api.Event {
	for i := range s.Events {
		if s.Events[i].Code == code {
			return &s.Events[i]
		}
	}
	return nil
}

// turns waits until the controller has turned n more times.
func (f *fleet) turns(n uint64) {
	f.t.Helper()
	from := f.status().Turn
	f.until(fmt.Sprintf("%d more turns", n), time.Minute, func(s api.Status) bool { return s.Turn >= from+n })
}

// load sends requests to an address until stop is called, which waits for the last answer.
func (f *fleet) load(addr, path string, rate float64) (tally *harness.Tally, stop func()) {
	tally = &harness.Tally{}
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		harness.Load{
			URL: "http://" + addr + path, For: 5 * time.Minute, OnDone: tally.Add,
			Rate: func(time.Duration) float64 {
				if ended.Load() {
					return -1
				}
				return rate
			},
		}.Run(context.Background())
	}()
	stop = func() {
		ended.Store(true)
		<-done
	}
	f.t.Cleanup(stop)
	return tally, stop
}

func noFailures(t *testing.T, name string, tally *harness.Tally) {
	t.Helper()
	sent, failed := tally.Counts()
	if sent == 0 || failed > 0 {
		t.Errorf("%s: %d of %d requests failed:\n%s", name, failed, sent, tally.Errors())
	}
}

// cli runs the binary to its end and returns all it printed and its exit status.
func cli(t *testing.T, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binaryPath, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("run tidegate %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
