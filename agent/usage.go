package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

const (
	// cpuEvery is the time between two readings of processor time, and so what AppReport.CPU covers, on large nodes up to
	// cpuSlow; cpuFirst that while there is only one.
	cpuEvery, cpuSlow, cpuFirst = 10 * time.Second, time.Minute, 2 * time.Second
	// memEvery is how often the memory of each process is read at most.
	memEvery = 30 * time.Second
	// rest times the cost of what was read is the pause after it, so that it takes a quarter of a thousandth of one CPU. For the memory of
	// one process the kernel walks all its pages (0.2 to 0.5 ms measured).
	rest = 4000
)

// Kinds of memory in reports.
const (
	// MemPSS is the proportional set size: what several processes share counts once.
	MemPSS = "pss"
	// MemRSS is the resident set size, where the kernel does not show the other: shared pages count in each process.
	MemRSS = "rss"
)

// usage is what the processes of one application use. The loops of usageSampler write it.
type usage struct {
	mu      sync.Mutex
	family  []proc.ID // the master, if there is one, and the workers
	cpu     cpuMeter
	rssOnly bool
	// memory is that of each process, begun to be read at memoryAt.
	memory   map[proc.ID]uint64
	memoryAt time.Time

	// CPU is in CPUs, Memory in bytes; nil while they are not known.
	cpus  *float64
	bytes *uint64
}

// see takes an observation of the workers.
func (u *usage) see(w adapter.Workers) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	if w.Master != (proc.ID{}) {
		n = 1
	}
	if len(u.family) == n+len(w.Children) && (n == 0 || u.family[0] == w.Master) && slices.Equal(u.family[n:], w.Children) {
		return
	}
	if n == 1 && (len(u.family) == 0 || u.family[0] != w.Master) {
		u.rssOnly = false // other processes, other rights
	}
	u.family = u.family[:0]
	if n == 1 {
		u.family = append(u.family, w.Master)
	}
	u.family = append(u.family, w.Children...)
}

// processes are the ones to look at.
func (u *usage) processes() []proc.ID {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.family)
}

// fill writes what is known into a report.
func (u *usage) fill(r *AppReport) {
	r.CPU, r.Memory, r.MemoryKind = nil, nil, ""
	if !r.WorkersKnown {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	r.CPU, r.Memory = u.cpus, u.bytes
	if u.bytes != nil {
		r.MemoryKind = MemPSS
		if u.rssOnly {
			r.MemoryKind = MemRSS
		}
	}
}

// readCPU reads the processor time of all processes. It says false when another reading soon would tell something.
func (u *usage) readCPU(r *proc.Reader, now time.Time) bool {
	family := u.processes()
	seen := make(map[proc.ID]proc.Stat, len(family))
	for _, p := range family {
		if st, err := r.Stat(p.PID); err == nil && st.Start == p.Start {
			seen[p] = st
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cpus = nil
	if len(family) == 0 || len(seen) == 0 {
		u.cpu = cpuMeter{}
		return true
	}
	share, ok := u.cpu.read(now, family[0], seen)
	if ok {
		u.cpus = &share
	}
	return ok
}

// memoryDue are the processes whose memory is to be read, none as long as it is known and young enough.
func (u *usage) memoryDue(now time.Time) []proc.ID {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bytes != nil && now.Sub(u.memoryAt) < memEvery {
		return nil
	}
	u.memoryAt = now
	return slices.Clone(u.family)
}

// readMemory reads the memory of one process and brings the sum up to date. The sum is known once every process has been read.
func (u *usage) readMemory(r *proc.Reader, p proc.ID) {
	u.mu.Lock()
	rss := u.rssOnly
	u.mu.Unlock()
	n, err := uint64(0), error(nil)
	if !rss {
		n, err = r.PSS(p.PID)
		rss = err != nil && !errors.Is(err, proc.ErrGone)
	}
	if rss {
		n, err = r.RSS(p.PID)
	}
	if err != nil || !r.Alive(p) {
		return // it has ended, or another one has its number
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.memory == nil || rss != u.rssOnly {
		u.memory, u.rssOnly, u.bytes = map[proc.ID]uint64{}, rss, nil
	}
	u.memory[p] = n
}

// sumMemory forgets the processes that have ended and adds up the others, once all of read are there; one that came since
// counts from its turn on.
func (u *usage) sumMemory(read []proc.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum, known := uint64(0), 0
	for p, n := range u.memory {
		if !slices.Contains(u.family, p) {
			delete(u.memory, p)
			continue
		}
		sum, known = sum+n, known+1
	}
	switch {
	case len(u.family) == 0 || known == 0:
		u.bytes = nil
	case u.bytes != nil || len(read) > 0 && known >= len(read):
		u.bytes = &sum
	}
}

// sampleUsage reads processor time and memory of all applications until ctx ends, in two loops that spread their work.
func sampleUsage(ctx context.Context, apps []*app) {
	var wg sync.WaitGroup
	wg.Go(func() {
		var r proc.Reader
		if !pause(ctx, time.Second) { // until the workers have been looked at
			return
		}
		for wait := cpuFirst; ; {
			next, cost := cpuEvery, time.Duration(0)
			for _, a := range apps {
				begin := time.Now()
				if !a.use.readCPU(&r, begin) {
					next = cpuFirst
				}
				cost += time.Since(begin)
				if !pause(ctx, wait/time.Duration(len(apps))) {
					return
				}
			}
			wait = max(next, min(rest*cost, cpuSlow))
		}
	})
	wg.Go(func() {
		var r proc.Reader
		for {
			for _, a := range apps {
				family := a.use.memoryDue(time.Now())
				for _, p := range family {
					cost := time.Now()
					a.use.readMemory(&r, p)
					if !pause(ctx, min(rest*time.Since(cost), time.Second)) {
						return
					}
				}
				a.use.sumMemory(family)
			}
			if !pause(ctx, time.Second) {
				return
			}
		}
	})
	wg.Wait()
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// cpuMeter turns readings of processor time into CPUs used. The zero value knows nothing.
type cpuMeter struct {
	at     time.Time
	master proc.ID
	used   map[proc.ID]uint64
	reaped uint64
	// owed is what workers had used when they were last read, that have ended and that the master has not waited for yet.
	owed uint64
}

// read takes the processes of one reading and returns the CPUs used since the one before, 0 and up; false the first time and
// after a change of the master. Workers that have ended count by what the master has inherited from them (proc(5), cutime and
// cstime) less what was known of them.
func (m *cpuMeter) read(now time.Time, master proc.ID, seen map[proc.ID]proc.Stat) (float64, bool) {
	next := cpuMeter{at: now, master: master, used: make(map[proc.ID]uint64, len(seen)), reaped: seen[master].Reaped, owed: m.owed}
	ticks := uint64(0)
	for p, st := range seen {
		next.used[p] = st.Used
		ticks += less(st.Used, m.used[p])
	}
	_, lives := seen[master]
	known := m.used != nil && m.master == master && lives && now.After(m.at)
	if known {
		for p, used := range m.used {
			if _, ok := seen[p]; !ok {
				next.owed += used
			}
		}
		inherited := less(next.reaped, m.reaped)
		ticks += less(inherited, next.owed)
		next.owed = less(next.owed, inherited)
	} else {
		next.owed = 0
	}
	before := m.at
	*m = next
	if !known {
		return 0, false
	}
	return float64(ticks) / proc.TicksPerSecond / now.Sub(before).Seconds(), true
}

// less is a - b, and 0 where b is more.
func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
