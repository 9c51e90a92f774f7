package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// The test binary plays the other roles too, as the command does.
func TestMain(m *testing.M) {
	played, err := play(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if played {
		return
	}
	// Under the race detector each process would wait a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A moment of every raw measurement against every agent, each in a process of its own: ids in the ACKs, every message
// taken as what it is, and figures that can be.
func TestEveryContestantTakesEveryFrame(t *testing.T) {
	dir, err := os.MkdirTemp("", "tgb-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, kind := range append([]string{normal}, contestants...) {
		t.Run(kind, func(t *testing.T) {
			a, err := startAgent(kind, "unix:"+filepath.Join(dir, kind+".sock"))
			if err != nil {
				t.Fatal(err)
			}
			defer a.stop()
			if err := checkIDs(a.addr); err != nil {
				t.Error(err)
			}
			for _, goroutines := range []bool{false, true} {
				s, err := pipelined(a, rawLoad{3, window, goroutines, 20 * time.Millisecond, 60 * time.Millisecond})
				if err != nil || s.perSecond <= 0 {
					t.Errorf("pipelined, by goroutines: %v: %+v, %v", goroutines, s, err)
				}
			}
			if s, err := roundTrips(a, 10*time.Millisecond, 30*time.Millisecond); err != nil || s.p50 <= 0 || s.p99 < s.p50 {
				t.Errorf("round trips: %+v, %v", s, err)
			}
		})
	}
}

func TestCountersAdvanceAndKeepTheirSize(t *testing.T) {
	for _, v := range []uint64{firstCount, firstCount + 1, firstCount + 239, firstCount + 12_345_678, 1<<32 - 1} {
		var b [countSize]byte
		writeCount(b[:], v)
		if want := putVarint(nil, v); !reflect.DeepEqual(b[:], want) {
			t.Errorf("writeCount(%d) = % x, want % x", v, b, want)
		}
	}
}

func TestRingSendsWholeFramesAcrossItsEnd(t *testing.T) {
	r := newRing(&counts{}, window, 1)
	sent := 0
	for _, n := range []int{64, 60, 64, 1, 3, 64} {
		b := r.take(n)
		for i := range n {
			if len(b) <= prefixSize+9 || b[prefixSize] != kindNotify || b[prefixSize+5] != byte((sent+i)%ringFrames+1) {
				t.Fatalf("frame %d of a window of %d is not the one expected", i, n)
			}
			b = b[prefixSize+(int(b[2])<<8|int(b[3])):]
		}
		if len(b) != 0 {
			t.Fatalf("%d bytes too many after a window of %d", len(b), n)
		}
		sent += n
	}
}

func TestMedianAndRatios(t *testing.T) {
	s := series{ours: {30, 10, 20}, peer: {3, 2, 1}}
	if m := median(s[ours]); m != 20 {
		t.Errorf("median = %v, want 20", m)
	}
	if m := median([]float64{4, 1}); m != 2.5 {
		t.Errorf("median of two = %v, want 2.5", m)
	}
	// By round: 10, 5 and 20.
	r := s.conclude("x", "frames/s")
	if r.VsPeer != 10 || r.Rounds != 3 || r.Limit != 0 {
		t.Errorf("concluded %+v", r)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-only", "raw,rwa"}, `-only raw,rwa: there is no part "rwa"; the parts are raw, e2e, rss, api, nginx, agent, crowded`},
		{[]string{"-load", "threads"}, "-load threads: it is loops, goroutines or loops,goroutines"},
		{[]string{"-transport", "udp"}, "-transport udp: it is unix, tcp or unix,tcp"},
		{[]string{"-beside", "2,x"}, "-beside 2,x: numbers from 0 to 64, separated by commas"},
		{[]string{"-e2e-rounds", "0"}, "rounds and times must be above 0"},
	} {
		if _, err := parse(tt.args); err == nil || err.Error() != tt.want {
			t.Errorf("%v: %v, want %s", tt.args, err, tt.want)
		}
	}
	if o, err := parse([]string{"-only", "raw,crowded"}); err != nil || !o.wants("raw") || !o.wants("crowded") || o.wants("e2e") {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestGoalsAreJudgedByTheirMedian(t *testing.T) {
	var r report
	r.goal("at least", []float64{1, 2, 9}, 2, false)
	r.goal("at least", []float64{1, 1, 9}, 2, false)
	r.goal("at most", []float64{1, 1, 9}, 2, true)
	r.goal("no figures", nil, 2, true)
	for i, want := range []bool{true, false, true, false} {
		if r.goals[i].met != want {
			t.Errorf("goal %d: met = %v", i, r.goals[i].met)
		}
	}
}

// The real HAProxy with the shipped files, as they are and sampled, for a moment.
func TestEveryRequestThroughHAProxyIsSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("starts HAProxy")
	}
	if _, err := find("haproxy"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "tgb-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := &e2e{report: &report{out: io.Discard}, opts: options{e2eRounds: 1, backend: "go"}, dir: dir, scenarios: map[string]*scenario{}}
	defer e.close()
	if _, err := e.startBackend(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		min, max float64
		run      httpRun
	}{
		{none, 0, 0, httpRun{Conns: 4, Long: 100 * time.Millisecond}},
		{ours, 0.99, 1.01, httpRun{Conns: 4, Long: 100 * time.Millisecond}},
		{ours, 0.99, 1.01, httpRun{Conns: 4, Rate: 400, Long: 100 * time.Millisecond}},
		// A tenth of a few hundred at least: anything but none or all.
		{sampled, 0.001, 0.5, httpRun{Conns: 4, Long: 300 * time.Millisecond}},
	} {
		if e.scenarios[c.name] == nil {
			if err := e.startScenario(c.name); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		got, err := e.scenarios[c.name].turn(c.run)
		if err != nil || got.PerSecond <= 0 || got.P50 <= 0 || got.seen < c.min || got.seen > c.max {
			t.Errorf("%s, %+v: %+v, %v; the share seen must be %v to %v", c.name, c.run, got, err, c.min, c.max)
		}
	}
}

// A small fleet that does nothing, seen by a node agent as one that works, and its report beside a static one.
func TestNodeAgentSeesItsFleet(t *testing.T) {
	dir, err := os.MkdirTemp("", "tgb-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n := &node{report: &report{out: io.Discard}, opts: options{rounds: 1, slot: time.Millisecond, nodeTime: 600 * time.Millisecond}, dir: dir}
	if n.fleet, err = startFleet(dir, 5, 3, 2, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	defer n.fleet.close()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	defer n.agent.stop()
	if err := firstOf(n.reports(), n.alone(), n.fleet.failed()); err != nil {
		t.Error(err)
	}
	if len(n.goals) != 2 || n.goals[0].got == "-" || n.goals[1].got == "-" {
		t.Errorf("goals: %+v", n.goals)
	}
}
