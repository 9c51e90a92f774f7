package nginxgen

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestShift(t *testing.T) {
	up := func(name string, servers ...Server) Upstream { return Upstream{Name: name, Servers: servers} }
	of := func(us ...Upstream) Model { return Model{Upstreams: us} }
	a := func(w int) Server { return Server{Address: "10.0.0.1:80", Weight: w} }
	b := func(w int) Server { return Server{Address: "10.0.0.2:80", Weight: w} }
	down := func(s Server) Server { s.Down = true; return s }
	backup := func(s Server) Server { s.Backup = true; return s }
	stream := func(u Upstream) Upstream { u.Stream = true; return u }
	for name, c := range map[string]struct {
		live, want         Model
		misrouted, largest float64
	}{
		"nothing":                       {of(), of(), 0, 0},
		"equal":                         {of(up("x", a(1), b(2))), of(up("x", a(1), b(2))), 0, 0},
		"same ratio, another scale":     {of(up("x", a(1), b(2))), of(up("x", a(10), b(20))), 0, 0},
		"weight 0 is 1":                 {of(up("x", a(0), b(2))), of(up("x", a(1), b(2))), 0, 0},
		"order only":                    {of(up("x", a(1), b(2))), of(up("x", b(2), a(1))), 0, 0},
		"half and half to 3:1":          {of(up("x", a(1), b(1))), of(up("x", a(3), b(1))), 0.25, 0.5},
		"the smallest server's share":   {of(up("x", a(9), b(1))), of(up("x", a(8), b(2))), 0.1, 1},
		"one goes down":                 {of(up("x", a(3), b(1))), of(up("x", a(3), down(b(1)))), 0.25, 1},
		"one is gone":                   {of(up("x", a(3), b(1))), of(up("x", a(3))), 0.25, 1},
		"one comes":                     {of(up("x", a(3))), of(up("x", a(3), b(1))), 0.25, 1},
		"all down":                      {of(up("x", a(3), b(1))), of(up("x", down(a(3)), down(b(1)))), 1, 1},
		"none before, none now":         {of(up("x", down(a(3)))), of(up("x")), 0, 0},
		"a backup's weight":             {of(up("x", a(3), backup(b(1)))), of(up("x", a(3), backup(b(9)))), 0, 0},
		"a backup steps in":             {of(up("x", a(3), backup(b(1)))), of(up("x", down(a(3)), backup(b(1)))), 1, 1},
		"another upstream is worse":     {of(up("x", a(1), b(1)), up("y", a(1), b(1))), of(up("x", a(1), b(1)), up("y", a(3), b(1))), 0.25, 0.5},
		"an upstream is gone":           {of(up("x", a(1)), up("y", a(1))), of(up("x", a(1))), 1, 1},
		"an upstream comes":             {of(up("x", a(1))), of(up("x", a(1)), up("y", a(1))), 1, 1},
		"stream and http of one name":   {of(up("x", a(1)), stream(up("x", b(1)))), of(stream(up("x", b(1))), up("x", a(1))), 0, 0},
		"http becomes stream":           {of(up("x", a(1))), of(stream(up("x", a(1)))), 1, 1},
		"a share that grows by a third": {of(up("x", a(3), b(3))), of(up("x", a(4), b(2))), 1.0 / 6, 1.0 / 3},
	} {
		t.Run(name, func(t *testing.T) {
			misrouted, largest := Shift(c.live, c.want)
			if math.Abs(misrouted-c.misrouted) > 1e-12 || math.Abs(largest-c.largest) > 1e-12 {
				t.Fatalf("got misrouted %v, largest %v; want %v, %v", misrouted, largest, c.misrouted, c.largest)
			}
		})
	}
}

// TestShiftOfAnyModels: the bounds hold for any two models, equal shares are no shift, and what is misrouted one way is
// misrouted the other way.
func TestShiftOfAnyModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genModel(t), genModel(t)
		if rapid.Bool().Draw(t, "same blocks") {
			b = Model{Upstreams: slices.Clone(a.Upstreams)}
			for i := range b.Upstreams {
				b.Upstreams[i].Servers = slices.Clone(b.Upstreams[i].Servers)
				for j := range b.Upstreams[i].Servers {
					b.Upstreams[i].Servers[j].Weight = rapid.IntRange(0, 100).Draw(t, "weight")
				}
			}
		}
		ab, largest := Shift(a, b)
		ba, _ := Shift(b, a)
		if math.IsNaN(ab) || ab < 0 || ab > 1 || math.IsNaN(largest) || largest < 0 || math.IsInf(largest, 0) {
			t.Fatalf("out of bounds: misrouted %v, largest %v", ab, largest)
		}
		if math.Abs(ab-ba) > 1e-9 {
			t.Fatalf("misrouted %v one way, %v the other", ab, ba)
		}
		if m, l := Shift(a, a.normal()); m != 0 || l != 0 {
			t.Fatalf("a model has shifted from itself by %v, %v", m, l)
		}
	})
}
