package spoa

import (
	"fmt"
	"sync/atomic"
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
