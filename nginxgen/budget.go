package nginxgen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Budget says how far apart reloads are. Round-robin state, failure marks and keep-alive pools start afresh at every
// reload, and old workers live until their last connection ends. So changes are gathered: a server that goes is taken out
// quickly, one that comes a little later, weights rarely.
type Budget struct {
	// MinMembership and MinWeights are the least distances from the last try (reload or refused `nginx -t`) to a change
	// of the set of servers or of settings, and to a change of weights only; 0 means none.
	MinMembership, MinWeights time.Duration
	// Quiet is how long a change must have stood still, unless a server goes. After MaxWait it goes ahead anyway.
	Quiet, MaxWait time.Duration
	// PerMinute is the most reloads in any minute, 0 for no limit. Half of them may come at once.
	PerMinute int
	// OldGenerations is how many generations of old workers may linger before weights are held and the distance of all
	// other changes doubles with each further one; 0 means no limit.
	OldGenerations int
}

// Reason is why nginx is reloaded.
type Reason string

// The reasons. ReasonRecover: it is not known what nginx runs with, at the first start or after a change that was cut short.
const (
	ReasonLoss     Reason = "membership_loss"
	ReasonGain     Reason = "membership_gain"
	ReasonWeights  Reason = "weights"
	ReasonSettings Reason = "settings"
	ReasonDrift    Reason = "drift"
	ReasonRollback Reason = "rollback"
	ReasonRecover  Reason = "recover"
)

// Hold is what keeps a change back.
type Hold string

// The holds. HoldDrift: somebody else's change of the file is left as it is.
const (
	HoldDistance    Hold = "distance"
	HoldRate        Hold = "rate"
	HoldQuiet       Hold = "quiet"
	HoldBackoff     Hold = "backoff"
	HoldGenerations Hold = "generations"
	HoldSmall       Hold = "small"
	HoldDrift       Hold = "drift"
)

var (
	reasons = []Reason{ReasonLoss, ReasonGain, ReasonWeights, ReasonSettings, ReasonDrift, ReasonRollback, ReasonRecover}
	holds   = []Hold{HoldDistance, HoldRate, HoldQuiet, HoldBackoff, HoldGenerations, HoldSmall, HoldDrift}
)

const (
	// maxBackoff bounds the distance between tries that fail.
	maxBackoff = 30 * time.Second
	// reloadShare bounds the time that reloads for weights take: 1/reloadShare of all.
	reloadShare = 20
	// cyclesBetween is how many whole turns of the round robin there should be between two reloads for weights: each turn
	// begins with the heaviest servers, so that at most a tenth of the requests is misrouted by the reloads themselves.
	cyclesBetween = 10
	// maxCycles bounds that: with so few requests it does not matter where they go.
	maxCycles = 5 * time.Minute
	// Weights are worth a reload when they move more than this share of the requests, or this much of one server's own.
	// Scaling to 32 steps alone misroutes 0.6 % and gives the worst server 4.5 % too much or too little.
	smallMisrouted, smallShare = 0.03, 0.2
	// maxGenerations keeps the doubling within the range of a duration.
	maxDoublings = 15
)

// Pending describes a change that waits. Times are instants of the caller's clock; the zero time means never.
type Pending struct {
	Now      time.Time
	LastTry  time.Time     // last reload, or last change that nginx refused
	LastTook time.Duration // how long the last reload took
	Since    time.Time     // when the live file first differed from what is wanted
	Changed  time.Time     // when what is wanted last changed
	Reason   Reason
	// Misrouted and Largest are what Shift says of the change.
	Misrouted, Largest float64
	// Cycle is how long a turn of the round robin takes: the sum of the weights by the requests per second; 0 for unknown.
	Cycle time.Duration
	// Spent is how many reloads of the minute's burst are used up, see Bucket.
	Spent float64
	// Generations are those of old workers that linger.
	Generations int
	// Failures counts tries in a row that failed; each doubles the distance, up to 30 s.
	Failures int
}

// Decision is what a Budget says of a change: go ahead (Held is ""), or what holds it, for how long (0 for unknown) and why.
type Decision struct {
	Held Hold
	Wait time.Duration
	Why  string
}

// Decide is pure. A clock that was set back does not make a change wait: an instant in the future counts as long ago.
func (b Budget) Decide(p Pending) Decision {
	if p.Reason == ReasonWeights {
		if p.Misrouted <= smallMisrouted && p.Largest < smallShare {
			return Decision{HoldSmall, 0, fmt.Sprintf("the weights would move %.1f %% of the requests, and no server's share by more than %.0f %%: that is not worth a reload", 100*p.Misrouted, 100*p.Largest)}
		}
		if b.OldGenerations > 0 && p.Generations > b.OldGenerations {
			return Decision{HoldGenerations, 0, fmt.Sprintf("only weights change, and %d generations of old workers still have connections", p.Generations)}
		}
	}
	longest := Decision{}
	for _, d := range []Decision{b.distance(p), b.rate(p), b.quiet(p)} {
		if d.Wait > longest.Wait {
			longest = d
		}
	}
	return longest
}

// distance keeps tries apart.
func (b Budget) distance(p Pending) Decision {
	gap, held, kind := b.MinMembership, HoldDistance, "servers or settings change"
	switch {
	case p.Reason == ReasonWeights:
		kind = "only weights change"
		if gap = b.MinWeights; gap > 0 {
			gap = max(gap, reloadShare*p.LastTook, min(cyclesBetween*p.Cycle, maxCycles))
		}
	case b.OldGenerations > 0 && p.Generations > b.OldGenerations:
		// The distance doubles with each generation, so their number grows with the logarithm of time: that bounds the
		// memory of old workers, and nginx itself passes over a server that is dead.
		held, kind = HoldGenerations, fmt.Sprintf("%d generations of old workers still have connections", p.Generations)
		gap <<= min(p.Generations-b.OldGenerations, maxDoublings)
	}
	if p.Failures > 0 {
		back := max(gap, time.Second)
		for i := 0; i < p.Failures && back < maxBackoff; i++ {
			back *= 2
		}
		gap, held, kind = max(gap, min(back, maxBackoff)), HoldBackoff, fmt.Sprintf("%d tries in a row failed", p.Failures)
	}
	past, known := elapsed(p.Now, p.LastTry)
	if !known || past >= gap {
		return Decision{}
	}
	return Decision{held, gap - past, fmt.Sprintf("%s: the last try was %v ago, the least distance is %v", kind, past.Round(time.Millisecond), gap.Round(time.Millisecond))}
}

// rate keeps to so many reloads a minute.
func (b Budget) rate(p Pending) Decision {
	burst, every := b.burst()
	if b.PerMinute <= 0 || p.Spent+1 <= float64(burst)+1e-9 {
		return Decision{}
	}
	wait := time.Duration((p.Spent + 1 - float64(burst)) * float64(every))
	return Decision{HoldRate, wait, fmt.Sprintf("the reloads of this minute are used up (at most %d), the next one is due in %v", b.PerMinute, wait.Round(time.Millisecond))}
}

// quiet waits until a wish stands still, so that what comes together is one reload.
func (b Budget) quiet(p Pending) Decision {
	still, known := elapsed(p.Now, p.Changed)
	waited, _ := elapsed(p.Now, p.Since)
	if p.Reason == ReasonLoss || p.Reason == ReasonRecover || !known || still >= b.Quiet || waited >= max(b.MaxWait, b.Quiet) {
		return Decision{}
	}
	return Decision{HoldQuiet, b.Quiet - still, fmt.Sprintf("what is wanted has stood still for %v of %v", still.Round(time.Millisecond), b.Quiet)}
}

// burst and every make a token bucket: so many reloads at once, and one more as often. In a minute that is PerMinute.
func (b Budget) burst() (int, time.Duration) {
	burst := max(1, b.PerMinute/2)
	return burst, time.Minute / time.Duration(max(1, b.PerMinute-burst))
}

// Bucket counts reloads against a Budget's PerMinute. The zero value is unused.
type Bucket struct {
	spent float64
	at    time.Time
}

// Spent is what is used up at a time.
func (k Bucket) Spent(b Budget, now time.Time) float64 {
	past, known := elapsed(now, k.at)
	if !known {
		return 0
	}
	_, every := b.burst()
	return max(0, k.spent-float64(past)/float64(every))
}

// Take is the bucket after a reload.
func (k Bucket) Take(b Budget, now time.Time) Bucket { return Bucket{k.Spent(b, now) + 1, now} }

// cycle is Pending.Cycle: over all upstreams whose rate is known, so that each weighs as much as it has requests.
func (m Model) cycle() time.Duration {
	sum, rate := 0.0, 0.0
	for _, u := range m.Upstreams {
		if m.Rates[u.Name] <= 0 {
			continue
		}
		rate += m.Rates[u.Name]
		for _, s := range u.Servers {
			if !s.Down {
				sum += float64(max(1, s.Weight))
			}
		}
	}
	if rate == 0 {
		return 0
	}
	return time.Duration(min(sum/rate, maxCycles.Seconds()) * float64(time.Second))
}

// reasonFor classifies the way from the live model to the wanted one.
func reasonFor(live, want Model) Reason {
	was, is := live.members(), want.members()
	for k := range was {
		if !is[k] {
			return ReasonLoss
		}
	}
	for k := range is {
		if !was[k] {
			return ReasonGain
		}
	}
	if live.levelled().equal(want.levelled()) {
		return ReasonWeights
	}
	return ReasonSettings
}

// levelled is a normal model with all weights 1 and its upstreams in an order that does not depend on their files.
func (m Model) levelled() Model {
	m = m.normal()
	slices.SortFunc(m.Upstreams, func(a, b Upstream) int {
		return cmp.Or(boolInt(a.Stream)-boolInt(b.Stream), strings.Compare(a.Name, b.Name))
	})
	for _, u := range m.Upstreams {
		for j := range u.Servers {
			u.Servers[j].Weight = 1
		}
	}
	return m
}

// elapsed returns the time from then to now, false when then is unknown or in the future.
func elapsed(now, then time.Time) (time.Duration, bool) {
	if then.IsZero() || then.After(now) {
		return 0, false
	}
	return now.Sub(then), true
}
