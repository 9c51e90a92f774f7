package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"github.com/tidegate/tidegate/internal/quiet"
)

// hostEvery is the time between two samples of the host, and so what CPUBusy covers.
const hostEvery = 2 * time.Second

// hostSampler keeps the host's load.
type hostSampler struct {
	fs  procfs.FS
	log *quiet.Log
	// before is the CPU time at the last sample, of the loop alone.
	before procfs.CPUStat

	mu   sync.Mutex
	last Host
}

func newHostSampler(log *quiet.Log) (*hostSampler, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, fmt.Errorf("open /proc: %w", err)
	}
	return &hostSampler{fs: fs, log: log, last: Host{Problem: "the host has not been looked at yet"}}, nil
}

// get is the last sample.
func (h *hostSampler) get() Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// run samples until ctx ends. The second sample comes early, so that the CPU share is known soon.
func (h *hostSampler) run(ctx context.Context) {
	wait := hostEvery / 5
	h.sample(true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		h.sample(false)
		wait = hostEvery
	}
}

// sample reads the host once; the first time there is no CPU share yet.
func (h *hostSampler) sample(first bool) {
	next, cpu, err := h.read()
	if err != nil {
		h.log.Warn("host", "the host's load cannot be read", "err", err)
		next = h.get()
		next.Known, next.Problem = false, err.Error()
	} else {
		h.log.Clear("host", "the host's load can be read again")
		next.CPUBusy, next.CPUSteal = cpuShares(h.before, cpu)
		next.Known = !first
		h.before = cpu
		if first {
			next.Problem = "the CPU share is not known yet"
		}
	}
	h.mu.Lock()
	h.last = next
	h.mu.Unlock()
}

func (h *hostSampler) read() (Host, procfs.CPUStat, error) {
	load, err := h.fs.LoadAvg()
	if err != nil {
		return Host{}, procfs.CPUStat{}, fmt.Errorf("read /proc/loadavg: %w", err)
	}
	stat, err := h.fs.Stat()
	if err != nil {
		return Host{}, procfs.CPUStat{}, fmt.Errorf("read /proc/stat: %w", err)
	}
	mem, err := h.fs.Meminfo()
	if err != nil {
		return Host{}, procfs.CPUStat{}, fmt.Errorf("read /proc/meminfo: %w", err)
	}
	if mem.MemTotalBytes == nil || mem.MemAvailableBytes == nil {
		return Host{}, procfs.CPUStat{}, errors.New("read /proc/meminfo: no MemTotal or MemAvailable")
	}
	out := Host{CPUs: len(stat.CPU), Load1: load.Load1, MemTotal: *mem.MemTotalBytes,
		MemAvailable: min(*mem.MemAvailableBytes, *mem.MemTotalBytes)}
	// A kernel without PSI has no such file, one with PSI switched off answers "operation not supported".
	for resource, to := range map[string]**float64{"cpu": &out.PSICPUSome10, "memory": &out.PSIMemorySome10, "io": &out.PSIIOSome10} {
		if psi, err := h.fs.PSIStatsForResource(resource); err == nil && psi.Some != nil {
			*to = &psi.Some.Avg10
		}
	}
	return out, stat.CPUTotal, nil
}

// cpuShares are the shares of the time between two samples in which CPUs were not idle, and in which they were taken by the
// virtual machine's host, 0..1. Guest time is part of user time. The kernel's counters may step back by a little; that counts
// as nothing.
func cpuShares(a, b procfs.CPUStat) (busy, steal float64) {
	idle := max(b.Idle-a.Idle, 0) + max(b.Iowait-a.Iowait, 0)
	steal = max(b.Steal-a.Steal, 0)
	for _, d := range []float64{b.User - a.User, b.Nice - a.Nice, b.System - a.System, b.IRQ - a.IRQ, b.SoftIRQ - a.SoftIRQ} {
		busy += max(d, 0)
	}
	busy += steal
	if busy+idle <= 0 {
		return 0, 0
	}
	return busy / (busy + idle), steal / (busy + idle)
}
