package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// stubActuator and stubSource give an app exactly what a test is about.
type stubActuator struct {
	w    adapter.Workers
	err  error
	step int

	limits adapter.Limits
}

func (s *stubActuator) Observe(time.Time) (adapter.Workers, error) { return s.w, s.err }
func (s *stubActuator) Steer(time.Time, int, func(proc.ID) adapter.Work) (int, error) {
	return s.step, nil
}
func (s *stubActuator) Draining(proc.ID) bool  { return false }
func (s *stubActuator) Limits() adapter.Limits { return s.limits }

type stubSource struct {
	c   adapter.Count
	err error
}

func (s *stubSource) Count(*adapter.Family) (adapter.Count, error) { return s.c, s.err }

func TestReportKeepsTheLastGoodNumbersAndTheirAge(t *testing.T) {
	worker := proc.ID{PID: 10, Start: 5}
	act := &stubActuator{w: adapter.Workers{Master: proc.ID{PID: 9, Start: 4}, Children: []proc.ID{worker}}}
	src := &stubSource{c: adapter.Count{Busy: 1, ByProc: map[proc.ID]adapter.Work{worker: {Busy: 1}}}}
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
	a.act = &stubActuator{w: adapter.Workers{Master: proc.ID{PID: 9, Start: 4}, Children: []proc.ID{{PID: 10, Start: 5}}}}
	a.src = src
	now := time.Now()
	for i := range 20 {
		src.c = adapter.Count{Busy: i, ByProc: map[proc.ID]adapter.Work{}}
		a.scan(now.Add(time.Duration(i) * 100 * time.Millisecond))
	}
	if r := a.report(now.Add(2 * time.Second)); r.Busy != 19 || r.BusyMax != 19 || r.BusyMean != 14.5 {
		t.Fatalf("busy %d, max %d, mean %g; want 19, 19 and 14.5 (of 10 to 19)", r.Busy, r.BusyMax, r.BusyMean)
	}
}

func TestReadyNeedsAMarkOnceMarksSaySo(t *testing.T) {
	master, old, fresh := proc.ID{PID: 9, Start: 4}, proc.ID{PID: 10, Start: 5}, proc.ID{PID: 11, Start: 6}
	act := &stubActuator{w: adapter.Workers{Master: master, Children: []proc.ID{old, fresh}}}
	src := &stubSource{}
	a := newApp(App{Name: "x", Min: 1, Max: 4}, quietLog())
	a.act, a.src = act, src
	ready := func(what string, want int, c adapter.Count) {
		t.Helper()
		src.c = c
		a.scan(time.Now())
		if r := a.report(time.Now()); r.Ready != want || r.Ready+r.Starting != 2 {
			t.Errorf("%s: %d ready, %d starting; want %d ready of 2", what, r.Ready, r.Starting, want)
		}
	}
	none := adapter.Count{ByProc: map[proc.ID]adapter.Work{}}
	ready("no mark client, both long alive", 2, none)
	a.ready = map[proc.ID]bool{}
	ready("one has said so", 1, adapter.Count{TellsBoot: true, Booted: map[proc.ID]bool{old: true}})
	none.TellsBoot = true
	ready("its mark is gone, but it was ready", 1, none)
	ready("the other works on a request", 2, adapter.Count{TellsBoot: true, Busy: 1, ByProc: map[proc.ID]adapter.Work{fresh: {Busy: 1}}})
	a.ready = map[proc.ID]bool{}
	ready("a stranger's mark says nothing", 0, adapter.Count{TellsBoot: true, Booted: map[proc.ID]bool{{PID: 99, Start: 1}: true}})
	ready("the master has preloaded", 2, adapter.Count{TellsBoot: true, Booted: map[proc.ID]bool{master: true}})
}

// Requests of 100 ms that come every 125 ms are in progress four fifths of the time. Scans at regular distances of 250 ms
// would find one at each scan, or none at all; irregular ones come near to what is true.
func TestRegularRequestsAreCountedRight(t *testing.T) {
	const every, scans = 250 * time.Millisecond, 4000
	var at, all time.Duration
	busy := 0
	for range scans {
		wait := untilScan(every)
		if wait < every/2 || wait > every*3/2 {
			t.Fatalf("a wait of %v for scans of every %v", wait, every)
		}
		at, all = at+wait, all+wait
		if (at+110*time.Millisecond)%(125*time.Millisecond) < 100*time.Millisecond {
			busy++
		}
	}
	if share := float64(busy) / scans; share < 0.77 || share > 0.83 {
		t.Errorf("busy at %.3f of the scans, want 0.8", share)
	}
	if mean := all / scans; mean < every*97/100 || mean > every*103/100 {
		t.Errorf("a scan every %v, want every %v", mean, every)
	}
}
