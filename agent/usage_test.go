package agent

import (
	"math"
	"os/exec"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
	"github.com/tidegate/tidegate/tests/harness"
)

func TestCPUMeter(t *testing.T) {
	type reading map[int][2]uint64 // used and reaped ticks by pid; 1 is the master
	for _, c := range []struct {
		name string
		// readings are ten seconds (a thousand ticks) apart.
		readings []reading
		want     []float64 // -1 is unknown
	}{
		{"idle", []reading{{1: {5, 9}, 2: {50, 0}}, {1: {5, 9}, 2: {50, 0}}}, []float64{-1, 0}},
		{"busy", []reading{{1: {5, 0}, 2: {50, 0}, 3: {7, 0}}, {1: {105, 0}, 2: {1050, 0}, 3: {907, 0}}}, []float64{-1, 2}},
		{"a new worker", []reading{{1: {0, 0}}, {1: {0, 0}, 2: {500, 0}}}, []float64{-1, 0.5}},
		{"a worker that ended", []reading{{1: {0, 0}, 2: {300, 0}}, {1: {0, 800}}}, []float64{-1, 0.5}},
		{"one that came and went between", []reading{{1: {0, 0}}, {1: {0, 700}}}, []float64{-1, 0.7}},
		{"one that ended and is waited for later", []reading{{1: {0, 0}, 2: {300, 0}}, {1: {0, 0}}, {1: {0, 800}}}, []float64{-1, 0, 0.5}},
		{"one that nobody waits for", []reading{{1: {0, 0}, 2: {300, 0}, 3: {0, 0}}, {1: {0, 0}, 3: {400, 0}}}, []float64{-1, 0.4}},
		{"the master has gone", []reading{{1: {0, 0}, 2: {300, 0}}, {2: {400, 0}}}, []float64{-1, -1}},
		{"times that step back", []reading{{1: {50, 50}, 2: {300, 0}}, {1: {40, 40}, 2: {200, 0}}}, []float64{-1, 0}},
	} {
		var m cpuMeter
		now := time.Unix(1000, 0)
		for i, r := range c.readings {
			seen := map[proc.ID]proc.Stat{}
			for pid, v := range r {
				seen[proc.ID{PID: pid}] = proc.Stat{Used: v[0], Reaped: v[1]}
			}
			got, ok := m.read(now, proc.ID{PID: 1}, seen)
			if !ok {
				got = -1
			}
			if math.Abs(got-c.want[i]) > 1e-9 {
				t.Errorf("%s, reading %d: %g, want %g", c.name, i, got, c.want[i])
			}
			now = now.Add(10 * time.Second)
		}
	}
	var m cpuMeter
	now := time.Unix(1000, 0)
	for i, master := range []int{1, 1, 2, 2} {
		id := proc.ID{PID: master}
		_, ok := m.read(now, id, map[proc.ID]proc.Stat{id: {Used: 5, Reaped: uint64(i) * 1000}})
		if want := i == 1 || i == 3; ok != want {
			t.Errorf("reading %d, master %d: known is %v", i, master, ok)
		}
		now = now.Add(time.Second)
	}
}

func TestUsageOfRealProcesses(t *testing.T) {
	var r proc.Reader
	start := func(script string) proc.ID {
		c := exec.Command("sh", "-c", script)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		st, err := r.Stat(c.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return proc.ID{PID: st.PID, Start: st.Start}
	}
	idle := start("read line; exec sleep 600")
	var u usage
	get := func() (rep AppReport) {
		rep.WorkersKnown = true
		u.fill(&rep)
		return rep
	}
	u.readCPU(&r, time.Now())
	u.sumMemory(u.processes())
	if got := get(); got.CPU != nil || got.Memory != nil || got.MemoryKind != "" || got.Validate() != nil {
		t.Errorf("of nothing: %+v", got)
	}
	busy := start("while :; do :; done")
	u.see(adapter.Workers{Master: idle, Children: []proc.ID{busy}})
	if err := harness.WaitFor("a share of a CPU", 30*time.Second, func() bool {
		u.readCPU(&r, time.Now())
		got := get()
		return got.CPU != nil && *got.CPU > 0.05
	}); err != nil {
		t.Errorf("%v: %+v", err, get())
	}
	u.readMemory(&r, idle)
	u.sumMemory(u.processes())
	if got := get(); got.Memory != nil {
		t.Errorf("known after one of two: %d", *got.Memory)
	}
	u.readMemory(&r, busy)
	u.sumMemory(u.processes())
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	for _, p := range []proc.ID{idle, busy} {
		pr, err := fs.Proc(p.PID)
		if err != nil {
			t.Fatal(err)
		}
		roll, err := pr.ProcSMapsRollup()
		if err != nil {
			t.Skip("the kernel does not show the memory maps: ", err)
		}
		want += roll.Pss
	}
	got := get()
	if got.Memory == nil || got.MemoryKind != MemPSS || got.Validate() != nil {
		t.Fatalf("%+v, %v", got, got.Validate())
	}
	// Pages are shared with whatever shells come and go on the machine meanwhile.
	if float64(*got.Memory) < 0.3*float64(want) || float64(*got.Memory) > 3*float64(want) {
		t.Errorf("%d bytes, procfs says %d", *got.Memory, want)
	}
	rss, err := r.RSS(busy.PID)
	if err != nil || rss < *got.Memory/4 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	// A worker that has gone counts no more.
	u.see(adapter.Workers{Master: idle})
	u.sumMemory(u.processes())
	if less := get(); less.Memory == nil || *less.Memory >= *got.Memory {
		t.Errorf("with one process less: %+v", less)
	}
}
