package supervise

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
)

// BenchmarkLook is what one scan of so many workers costs.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{5, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := New(Options{Name: "shop", StateDir: b.TempDir(), Listen: "127.0.0.1:0", Command: []string{"sleep", "1000"}, Min: n, Max: n})
			defer func() {
				for _, w := range s.workers {
					_ = unix.Kill(-w.id.PID, unix.SIGKILL)
					_, _ = unix.Wait4(w.id.PID, nil, 0, nil)
				}
				_ = s.Close()
			}()
			for len(s.workers) < n {
				if _, err := s.Observe(time.Now()); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Steer(time.Now(), n, nil); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := s.Observe(time.Now()); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Steer(time.Now(), adapter.NoTarget, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
