package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestObserveRefusesWhatIsNoMaster(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "app.pid")
	sleeper, _ := child(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	write := func(text string) func() {
		return func() {
			if err := os.WriteFile(pidFile, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"missing", func() {}, "does not exist"},
		{"empty", write(""), "not a pid"},
		{"garbage", write("gunicorn\n"), "not a pid"},
		{"negative: a process group", write("-1"), "not a pid"},
		{"init", write("1"), "not a pid"},
		{"zero: our own group", write("0"), "not a pid"},
		{"too large", write("99999999999"), "not a pid"},
		{"two numbers", write("12 13"), "not a pid"},
		{"long", write(strings.Repeat("1", 1<<20)), "not a pid"},
		{"dead process", write(fmt.Sprint(gone.Process.Pid)), "does not run"},
		{"a process that TTIN would stop", write(fmt.Sprint(sleeper.PID)), "does not catch"},
		{"this process", write(fmt.Sprint(os.Getpid())), "does not catch"},
		{"a directory", func() {
			_ = os.Remove(pidFile)
			if err := os.Mkdir(pidFile, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	} {
		c.do()
		g := newGunicorn(App{Name: "x", PIDFile: pidFile, Min: 1, Max: 4})
		_, err := g.Observe(time.Now())
		if c.name == "this process" && err != nil && strings.Contains(err.Error(), "no worker process") {
			continue // the runtime catches signals that something asked for
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one sentence with %q", c.name, err, c.want)
		}
	}
}

// stubActuator and stubSource give an app exactly what a test is about.
type stubActuator struct {
	w    Workers
	err  error
	step int
}

func (s *stubActuator) Observe(time.Time) (Workers, error) { return s.w, s.err }
func (s *stubActuator) Steer(time.Time, int, func(Proc) Work) (int, error) {
	return s.step, nil
}
func (s *stubActuator) Draining(Proc) bool { return false }

type stubSource struct {
	c   Count
	err error
}

func (s *stubSource) Count(*Family) (Count, error) { return s.c, s.err }

func TestReportKeepsTheLastGoodNumbersAndTheirAge(t *testing.T) {
	worker := Proc{10, 5}
	act := &stubActuator{w: Workers{Master: Proc{9, 4}, Children: []Proc{worker}}}
	src := &stubSource{c: Count{Busy: 1, ByProc: map[Proc]Work{worker: {Busy: 1}}}}
	a := newApp(App{Name: "x", Min: 1, Max: 4}, quietLog())
	a.act, a.src = act, src
	now := time.Now()
	if r := a.report(now); r.Known || r.SampleAgeMS != -1 || r.Problem == "" || r.Validate() != nil {
		t.Fatalf("before the first scan: %+v", r)
	}
	a.scan(now)
	if r := a.report(now); !r.Known || r.Busy != 1 || r.Ready != 1 || r.SampleAgeMS != 0 || r.Master != "9:4" {
		t.Fatalf("after a good scan: %+v", r)
	}
	act.err = errStub
	a.scan(now.Add(time.Second))
	r := a.report(now.Add(1500 * time.Millisecond))
	if r.Known || r.WorkersKnown || !r.BusyKnown || r.Total != 1 || r.SampleAge() != 1500*time.Millisecond || !strings.Contains(r.Problem, "stub") {
		t.Fatalf("after a bad scan: %+v", r)
	}
	act.err = nil
	a.scan(now.Add(2 * time.Second))
	if r = a.report(now.Add(6 * time.Second)); r.Known || r.BusyKnown || r.WorkersKnown || !strings.Contains(r.Problem, "old") {
		t.Fatalf("when the loop hangs: %+v", r)
	}
	if err := r.Validate(); err != nil {
		t.Errorf("our own report is refused: %v", err)
	}
}

func TestBusyMeanAndMaxCoverOneSecond(t *testing.T) {
	src := &stubSource{}
	a := newApp(App{Name: "x", Min: 1, Max: 4}, quietLog())
	a.act = &stubActuator{w: Workers{Master: Proc{9, 4}, Children: []Proc{{10, 5}}}}
	a.src = src
	now := time.Now()
	for i := range 20 {
		src.c = Count{Busy: i, ByProc: map[Proc]Work{}}
		a.scan(now.Add(time.Duration(i) * 100 * time.Millisecond))
	}
	if r := a.report(now.Add(2 * time.Second)); r.Busy != 19 || r.BusyMax != 19 || r.BusyMean != 14.5 {
		t.Fatalf("busy %d, max %d, mean %g; want 19, 19 and 14.5 (of 10 to 19)", r.Busy, r.BusyMax, r.BusyMean)
	}
}

func TestReadyNeedsAMarkOnceMarksSaySo(t *testing.T) {
	master, old, fresh := Proc{9, 4}, Proc{10, 5}, Proc{11, 6}
	act := &stubActuator{w: Workers{Master: master, Children: []Proc{old, fresh}}}
	src := &stubSource{}
	a := newApp(App{Name: "x", Min: 1, Max: 4}, quietLog())
	a.act, a.src = act, src
	ready := func(what string, want int, c Count) {
		t.Helper()
		src.c = c
		a.scan(time.Now())
		if r := a.report(time.Now()); r.Ready != want || r.Ready+r.Starting != 2 {
			t.Errorf("%s: %d ready, %d starting; want %d ready of 2", what, r.Ready, r.Starting, want)
		}
	}
	none := Count{ByProc: map[Proc]Work{}}
	ready("no mark client, both long alive", 2, none)
	a.ready = map[Proc]bool{}
	ready("one has said so", 1, Count{Booted: map[Proc]bool{old: true}})
	ready("its mark is gone, but it was ready", 1, none)
	ready("the other works on a request", 2, Count{Busy: 1, ByProc: map[Proc]Work{fresh: {Busy: 1}}})
	a.ready = map[Proc]bool{}
	ready("a stranger's mark says nothing", 0, Count{Booted: map[Proc]bool{{99, 1}: true}})
	ready("the master has preloaded", 2, Count{Booted: map[Proc]bool{master: true}})
}
