package nginxgen

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBudget(t *testing.T) {
	b := Budget{MinMembership: 2 * time.Second, MinWeights: 10 * time.Second, Quiet: time.Second}
	t0 := time.Unix(1_000_000, 0)
	ago := func(s float64) time.Time { return t0.Add(-time.Duration(s * float64(time.Second))) }
	for name, c := range map[string]struct {
		p    Pending
		wait time.Duration
	}{
		"never tried, membership":           {Pending{Membership: true, Since: t0, Changed: t0}, 0},
		"never tried, weights, restless":    {Pending{Since: t0, Changed: t0}, time.Second},
		"never tried, weights, still":       {Pending{Since: ago(1), Changed: ago(1)}, 0},
		"membership too soon":               {Pending{Membership: true, LastTry: ago(0.5)}, 1500 * time.Millisecond},
		"membership after its distance":     {Pending{Membership: true, LastTry: ago(2), Changed: t0}, 0},
		"weights too soon":                  {Pending{LastTry: ago(4), Changed: ago(3)}, 6 * time.Second},
		"weights after their distance":      {Pending{LastTry: ago(10), Changed: ago(3), Since: ago(3)}, 0},
		"weights that never stand still":    {Pending{LastTry: ago(20), Changed: ago(0.1), Since: ago(10)}, 0},
		"a slow reload makes weights rarer": {Pending{LastTry: ago(10), LastTook: time.Second, Changed: ago(3)}, 10 * time.Second},
		"a slow reload, membership":         {Pending{Membership: true, LastTry: ago(2), LastTook: time.Second}, 0},
		"one failure doubles":               {Pending{Membership: true, LastTry: ago(2), Failures: 1}, 2 * time.Second},
		"many failures are bounded":         {Pending{Membership: true, LastTry: ago(2), Failures: 1000}, 28 * time.Second},
		"the clock was set back":            {Pending{Membership: true, LastTry: t0.Add(time.Hour)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c.p.Now = t0
			wait, why := b.Decide(c.p)
			if wait != c.wait || (wait > 0) != (why != "") {
				t.Fatalf("wait %v (%q), want %v", wait, why, c.wait)
			}
		})
	}
}

// However the wishes come, tries keep their distance, and no change starves.
func TestBudgetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Budget{MinMembership: 2 * time.Second, MinWeights: 10 * time.Second, Quiet: time.Second}
		now := time.Unix(1_000_000, 0)
		var last, since, changed time.Time
		for range rapid.IntRange(1, 80).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.IntRange(100, 3000).Draw(t, "ms")) * time.Millisecond)
			if since.IsZero() {
				since = now
			}
			if rapid.Bool().Draw(t, "another wish") || changed.IsZero() {
				changed = now
			}
			member := rapid.IntRange(0, 9).Draw(t, "kind") == 0
			wait, _ := b.Decide(Pending{Now: now, LastTry: last, Since: since, Changed: changed, Membership: member})
			if wait > 0 {
				if now.Sub(since) >= b.MinWeights+b.Quiet && !last.IsZero() && now.Sub(last) >= b.MinWeights {
					t.Fatalf("a change starves: pending for %v", now.Sub(since))
				}
				continue
			}
			gap := b.MinWeights
			if member {
				gap = b.MinMembership
			}
			if !last.IsZero() && now.Sub(last) < gap {
				t.Fatalf("a try %v after the last one", now.Sub(last))
			}
			last, since = now, time.Time{}
		}
	})
}
