package nginxgen

import (
	"fmt"
	"time"
)

// Budget says how far apart reloads are. Round-robin state, failure marks and keep-alive pools start afresh at every
// reload, and old workers linger, so changes are gathered: servers that come or go quickly, weights rarely.
type Budget struct {
	// MinMembership and MinWeights are the least distances from the last try (reload or refused `nginx -t`) to a change
	// of the set of servers, and to a change of weights or other numbers only; 0 means none.
	MinMembership, MinWeights time.Duration
	// Quiet is how long a change of weights must have stood still; after MinWeights of waiting it goes ahead anyway.
	Quiet time.Duration
}

// maxBackoff bounds the distance between tries that fail.
const maxBackoff = 30 * time.Second

// reloadShare bounds the time that reloads for weights take: 1/reloadShare of all.
const reloadShare = 20

// Pending describes a change that waits. Times are instants of the caller's clock; the zero time means never.
type Pending struct {
	Now      time.Time
	LastTry  time.Time     // last reload, or last change that nginx refused
	LastTook time.Duration // how long the last reload took
	Since    time.Time     // when the live file first differed from what is wanted
	Changed  time.Time     // when what is wanted last changed
	// Membership is true when a server comes or goes (up or down), false when only numbers change.
	Membership bool
	// Failures counts tries in a row that failed; each doubles the distance, up to 30 s.
	Failures int
}

// Decide returns how long the change has to wait, 0 for not at all, and why. It is pure. A clock that was set back does
// not make a change wait: an instant in the future counts as long ago.
func (b Budget) Decide(p Pending) (time.Duration, string) {
	gap, kind := b.MinMembership, "servers come or go"
	if !p.Membership {
		gap, kind = b.MinWeights, "only weights change"
		if gap > 0 {
			gap = max(gap, reloadShare*p.LastTook)
		}
	}
	if p.Failures > 0 {
		back := max(gap, time.Second)
		for i := 0; i < p.Failures && back < maxBackoff; i++ {
			back *= 2
		}
		gap, kind = max(gap, min(back, maxBackoff)), fmt.Sprintf("%d tries in a row failed", p.Failures)
	}
	if past, known := elapsed(p.Now, p.LastTry); known && past < gap {
		return gap - past, fmt.Sprintf("%s: the last try was %v ago, the least distance is %v", kind, past.Round(time.Millisecond), gap)
	}
	if p.Membership {
		return 0, ""
	}
	still, known := elapsed(p.Now, p.Changed)
	waited, _ := elapsed(p.Now, p.Since)
	if known && still < b.Quiet && waited < max(b.MinWeights, b.Quiet) {
		return b.Quiet - still, fmt.Sprintf("%s: they have stood still for %v of %v", kind, still.Round(time.Millisecond), b.Quiet)
	}
	return 0, ""
}

// elapsed returns the time from then to now, false when then is unknown or in the future.
func elapsed(now, then time.Time) (time.Duration, bool) {
	if then.IsZero() || then.After(now) {
		return 0, false
	}
	return now.Sub(then), true
}
