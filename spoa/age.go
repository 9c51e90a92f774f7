package spoa

import "time"

// countLag is by how much an arrival may be entered as older than it is: what came since the last message is spread over the
// seconds that this touched. Messages come half a second apart; where HAProxy stops for two or three seconds, it may be as much more.
const countLag = time.Second

// oldestCounted tells from the counters alone, without arrival messages, for how long the oldest open request has been open at least,
// to about two seconds: of n open requests the oldest is no younger than the n-th youngest that ever came. n is as of the last
// heartbeats. That is little while many others come and go, and about right when nothing is answered any more. It is 0 when nothing is
// open or known, and never more than openExpire. mu is held.
func (b *backend) oldestCounted(at int64) time.Duration {
	n := uint64(max(b.inFlight, 0))
	if n == 0 || !b.counted || !b.beating(at) {
		return 0
	}
	now := second(at)
	// Requests that came before a process was first seen are not counted.
	most := int(min(now-second(b.totals.watched), int64(b.openExpire/time.Second)))
	if most <= 0 {
		return 0
	}
	// Doubling first: where much comes and goes, a second or two are enough.
	low, high := 1, 1
	for {
		came, covered := b.newest(now, high)
		if came >= n {
			break
		}
		if high == most || covered < high {
			// It came before all that is known of.
			return b.ageOf(at, now-int64(covered))
		}
		low, high = high+1, min(2*high, most)
	}
	for low < high {
		middle := (low + high) / 2
		if came, _ := b.newest(now, middle); came >= n {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return b.ageOf(at, now-int64(low)+1)
}

// newest are the arrivals of the newest n seconds, the running one included, and how many of these are known.
func (b *backend) newest(now int64, n int) (arrivals uint64, covered int) {
	total, covered := b.seconds.Sum(now+1, n)
	return total.Arrivals, covered
}

// ageOf is how old a request is at least that was entered in a second or before.
func (b *backend) ageOf(at, sec int64) time.Duration {
	end := sec + 1
	for _, q := range b.silences {
		// When it came in a silence is not known.
		if q.from <= sec && sec < q.to {
			end = q.to
		}
	}
	return max(0, time.Duration(at)-time.Duration(end)*time.Second-countLag)
}
