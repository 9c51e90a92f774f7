package haproxy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/haproxy"
	"github.com/tidegate/tidegate/tests/harness"
)

// BenchmarkThousandWeights changes 1,000 weights in 10 backends: by one Apply with its probe and read-back, and, for
// comparison, by one connection per command without any read-back.
func BenchmarkThousandWeights(b *testing.B) {
	harness.Need(b, "haproxy")
	rig := harness.ForTest(b)
	sections := ""
	for i := range 10 {
		sections += fmt.Sprintf("backend b%d\n    server-template s 100 127.0.0.1:9 weight 100\n", i)
	}
	h := start(b, rig, "", sections)
	commands := func(weight int) []haproxy.Command {
		var cmds []haproxy.Command
		for i := range 1000 {
			cmds = append(cmds, haproxy.SetWeight(fmt.Sprintf("b%d", i/100), fmt.Sprintf("s%d", 1+i%100), weight))
		}
		return cmds
	}
	b.Run("batch", func(b *testing.B) {
		c := client(b, haproxy.Options{Addr: "unix:" + h.Socket})
		for n := 0; b.Loop(); n++ {
			_, results, err := c.Apply(context.Background(), commands(1+n%256), nil)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range results {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		}
	})
	b.Run("connection-each", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			for _, cmd := range commands(1 + n%256) {
				if out, err := h.Command(cmd.String()); err != nil || out != "\n" {
					b.Fatalf("%q, %v", out, err)
				}
			}
		}
	})
}
