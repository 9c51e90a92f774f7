package signals_test

import (
	"testing"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/signals"
)

// Whoever plans must know that of gunicorn's workers the oldest leave, also while others are starting.
func TestWhatEachServerCanDoIsTold(t *testing.T) {
	for name, c := range map[string]struct{ got, want adapter.Limits }{
		"gunicorn": {signals.NewGunicorn("/run/g.pid", 1, 9).Limits(), adapter.Limits{OldFirst: true}},
		"unicorn":  {signals.NewUnicorn("/run/u.pid", 0, 9).Limits(), adapter.Limits{Zero: true}},
		"puma":     {signals.NewPuma("/run/p.pid", 1, 9).Limits(), adapter.Limits{}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
}
