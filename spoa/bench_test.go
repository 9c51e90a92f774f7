package spoa

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Connections side by side: each has a session of its own, all share one meter. "one" backend is the worst case for its
// lock, "many" what a large site looks like.
func BenchmarkConnectionsInParallel(b *testing.B) {
	for name, backends := range map[string]int{"one": 1, "many": 64} {
		for _, conns := range []int{8, 40} {
			b.Run(fmt.Sprintf("%s/conns=%d", name, conns), func(b *testing.B) {
				meter, meters := NewMeter(MeterOptions{Began: time.Unix(900, 0)}), newMeters(newPrivateSet())
				names := newNameTable()
				var next atomic.Int64
				b.SetParallelism(conns / 2)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					s := newSession(meter, meters, names, 16380, func(reason, string) {})
					now := time.Unix(1000, 0)
					s.feed(now, goodHello())
					i := int(next.Add(1))
					in := notifyFrame(7, message(messageDone, with(doneArgs(), arg{"be", fmt.Sprint("b", i%backends)})...))
					for n := 0; pb.Next(); n++ {
						s.out = s.out[:0]
						now = now.Add(100 * time.Microsecond)
						s.feed(now, in)
						if s.acks == 16 {
							meters.acked(s.acks, 30*time.Microsecond)
							s.acks = 0
						}
					}
				})
			})
		}
	}
}

// A ring of messages like those of tests/bench: four backends of four servers, times of their own, counters that advance. Of those
// of an earlier tidegate, which have more arguments, each has an id, too.
func benchRing(portions, frames int, older bool) [][]byte {
	rng := rand.New(rand.NewPCG(1, 26))
	ring := make([][]byte, portions)
	for i := range portions * frames {
		queue, response := rng.IntN(3)*1500, 2000+int(rng.ExpFloat64()*40_000)
		t0 := 1795302633168830
		t1 := t0 + queue + 300
		args := with(leanArgs(), arg{"w", fmt.Sprintf("%d/0/0/3/%d", queue/1000, t1)})
		if older {
			args = with(doneArgs(), arg{"id", fmt.Sprintf("%08x-37fa-4c6d-ae75-%012x", rng.Uint32(), rng.Uint64()&(1<<48-1))},
				arg{"tw", queue / 1000}, arg{"tc", 0}, arg{"t1", t1})
		}
		ring[i/frames] = append(ring[i/frames], notifyFrame(uint64(i+1), message(messageDone, with(args,
			arg{"be", fmt.Sprint("shop-", i%4)}, arg{"srv", fmt.Sprint("node-", i/4%4)},
			arg{"t2", t1 + response}, arg{"started", 100_000_000 + i/4})...))...)
	}
	return ring
}

// A ring of messages of which few have the same size as the one before, and of those few the same lengths within.
func mixedRing(portions, frames int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 26))
	names := []string{"app", "shop-1", "api-gateway", "static", "auth-service-v2", "www", "legacy", "images"}
	states := []int{200, 200, 200, 200, 304, 404, 302, 500}
	ring := make([][]byte, portions)
	for i := range portions * frames {
		queue, response := rng.IntN(3)*1500*rng.IntN(8), 2000+int(rng.ExpFloat64()*40_000)
		t1 := 1795302633168830 + queue + 300
		ring[i/frames] = append(ring[i/frames], notifyFrame(uint64(i+1), message(messageDone, with(leanArgs(),
			arg{"w", fmt.Sprintf("%d/0/0/%d/%d", queue/1000, rng.IntN(14), t1)}, arg{"be", names[rng.IntN(8)]}, arg{"srv", fmt.Sprint("node-", rng.IntN(12))},
			arg{"st", states[rng.IntN(8)]}, arg{"cur", rng.IntN(300)}, arg{"t2", t1 + response}, arg{"started", 100_000_000 + i/4})...))...)
	}
	return ring
}

// counting counts what it is given, and no more.
type counting struct{ dones, beats int }

func (c *counting) Done(time.Time, *Sample)      { c.dones++ }
func (c *counting) Heartbeat(time.Time, *Gauges) { c.beats++ }

// What a frame costs without the system calls: all of it, and with a sink that does nothing.
func BenchmarkFrame(b *testing.B) {
	const conns = 128
	for _, name := range []string{"recorded", "decoded", "older/recorded", "older/decoded", "mixed/recorded"} {
		b.Run(name, func(b *testing.B) {
			var sink Sink = &counting{}
			if strings.HasSuffix(name, "recorded") {
				sink = NewMeter(MeterOptions{Began: time.Unix(900, 0)})
			}
			s := newSession(sink, newMeters(newPrivateSet()), newNameTable(), 16380, func(reason, string) {})
			now := time.Unix(1000, 0)
			s.feed(now, goodHello())
			// So many that the processor cannot learn them by heart, in the portions in which they come.
			ring, buf := benchRing(conns, 64, strings.HasPrefix(name, "older")), newBuffer(mostBuffer)
			if strings.HasPrefix(name, "mixed") {
				ring = mixedRing(conns, 64)
			}
			b.ReportAllocs()
			b.ResetTimer()
			defer reportCPU(b)()
			for i := 0; i < b.N; i += 64 {
				s.out = s.out[:0]
				now = now.Add(30 * time.Microsecond)
				buf = append(buf[:0], ring[i/64%conns]...)
				s.feed(now, buf)
			}
			if s.taken.dones < b.N {
				b.Fatal("not all was taken")
			}
		})
	}
}

// The same with every processor at work on the same four backends; ns/op is of all processors together.
func BenchmarkPortionsInParallel(b *testing.B) {
	const conns = 40
	meter, meters, table := NewMeter(MeterOptions{Began: time.Unix(900, 0)}), newMeters(newPrivateSet()), newNameTable()
	ring := benchRing(conns, 64, false)
	b.SetParallelism(conns / 2)
	var next atomic.Int64
	b.ResetTimer()
	defer reportCPU(b)()
	b.RunParallel(func(pb *testing.PB) {
		s, buf := newSession(meter, meters, table, 16380, func(reason, string) {}), newBuffer(mostBuffer)
		now := time.Unix(1000, 0)
		s.feed(now, goodHello())
		for n := 64; pb.Next(); n++ {
			if n < 64 {
				continue
			}
			n = 0
			s.out = s.out[:0]
			now = now.Add(30 * time.Microsecond)
			buf = append(buf[:0], ring[int(next.Add(1))%conns]...)
			s.feed(now, buf)
		}
	})
}

// reportCPU adds the processor time of an operation to a benchmark: what is left of a busy machine is not to be had by ns/op.
func reportCPU(b *testing.B) (end func()) {
	used := func() int64 {
		var ru syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		return ru.Utime.Nano() + ru.Stime.Nano()
	}
	from := used()
	return func() { b.ReportMetric(float64(used()-from)/float64(b.N), "cpu-ns/op") }
}
