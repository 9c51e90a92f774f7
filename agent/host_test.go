package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

// A folder in place of /proc: no kernel here shows what is missing or odd.
func fakeProc(t *testing.T, files map[string]string) *hostSampler {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &hostSampler{fs: fs, log: quietLog()}
}

func TestHost(t *testing.T) {
	const psi = "some avg10=%10 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=1\n"
	pressure := func(avg string) string { return strings.ReplaceAll(psi, "%10", avg) }
	files := func(more ...string) map[string]string {
		m := map[string]string{"loadavg": "1.50 0.00 0.00 1/100 5\n",
			"stat":    "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400 0 0 0 0 0 0\ncpu1 50 0 50 400 0 0 0 0 0 0\n",
			"meminfo": "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n"}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = more[i+1]
			if more[i+1] == "" {
				delete(m, more[i])
			}
		}
		return m
	}
	value := func(p *float64) float64 {
		if p == nil {
			return -1
		}
		return *p
	}
	for _, c := range []struct {
		name            string
		files           map[string]string
		cpu, memory, io float64
	}{
		{"no PSI", files(), -1, -1, -1},
		{"all of it", files("pressure/cpu", pressure("1.50"), "pressure/memory", pressure("2.00"), "pressure/io", pressure("0.25")), 1.5, 2, 0.25},
		{"one of it", files("pressure/io", pressure("100.00")), -1, -1, 100},
		{"garbage", files("pressure/cpu", "what\n", "pressure/memory", "some avg10=x\n", "pressure/io", ""), -1, -1, -1},
	} {
		h := fakeProc(t, c.files)
		h.sample(true)
		got := h.get()
		if got.Known || got.Problem == "" {
			t.Errorf("%s: known after one sample: %+v", c.name, got)
		}
		h.sample(false)
		got = h.get()
		if !got.Known || got.CPUs != 2 || got.Load1 != 1.5 || got.MemTotal != 1000<<10 || got.MemAvailable != 400<<10 || got.validate() != nil {
			t.Errorf("%s: %+v, %v", c.name, got, got.validate())
		}
		if p := [3]float64{value(got.PSICPUSome10), value(got.PSIMemorySome10), value(got.PSIIOSome10)}; p != [3]float64{c.cpu, c.memory, c.io} {
			t.Errorf("%s: PSI %v, want %v, %v, %v (-1 is null)", c.name, p, c.cpu, c.memory, c.io)
		}
	}
	for _, missing := range []string{"loadavg", "stat", "meminfo"} {
		h := fakeProc(t, files(missing, ""))
		h.sample(false)
		if got := h.get(); got.Known || !strings.Contains(got.Problem, missing) {
			t.Errorf("without %s: %+v", missing, got)
		}
	}
	h := fakeProc(t, files("meminfo", "MemTotal: 1000 kB\n"))
	h.sample(false)
	if got := h.get(); got.Known || !strings.Contains(got.Problem, "MemAvailable") {
		t.Errorf("an old kernel's meminfo: %+v", got)
	}
}

func TestCPUShares(t *testing.T) {
	for _, c := range []struct {
		a, b        procfs.CPUStat
		busy, steal float64
	}{
		{procfs.CPUStat{}, procfs.CPUStat{}, 0, 0},
		{procfs.CPUStat{User: 1, Idle: 1}, procfs.CPUStat{User: 2, Idle: 4}, 0.25, 0},
		{procfs.CPUStat{}, procfs.CPUStat{User: 1, Guest: 1, Steal: 1, Idle: 1, Iowait: 1}, 0.5, 0.25},
		{procfs.CPUStat{Idle: 5, Iowait: 3}, procfs.CPUStat{Idle: 6, Iowait: 2}, 0, 0}, // iowait steps back
		{procfs.CPUStat{Steal: 2}, procfs.CPUStat{Steal: 1, Idle: 1}, 0, 0},
	} {
		if busy, steal := cpuShares(c.a, c.b); busy != c.busy || steal != c.steal {
			t.Errorf("%+v -> %+v: %g busy, %g stolen", c.a, c.b, busy, steal)
		}
	}
}
