package main

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/spoa"
)

// feed turns one backend's seconds as the meter tells them into those that the decision core takes.
//
// Arrivals are from HAProxy's counters, and so are completions where HAProxy sends only a share of the timings (Sample in the SPOE
// file) and counts the answers. Errors are counted by the samples, each of which then stands for so many.
type feed struct {
	cursor int64
	// done and finished are the totals of samples and of answered requests by the counters at the last turn.
	begun          bool
	done, finished uint64
	// now is what came since began; past are shares of samples, the newest ten.
	now   tellers
	began time.Time
	past  []float64
}

type tellers struct{ done, finished uint64 }

const (
	// A share is known after shareRequests requests; one is remembered for each minute with so many, keptShares of them.
	shareRequests = 100
	shareEvery    = time.Minute
	keptShares    = 10
	// wholeShare: what is missing are requests that their clients have given up.
	wholeShare = 0.9
)

func (f *feed) take(now time.Time, b *spoa.BackendReport, seconds []spoa.Second) []sizing.Second {
	if b.Counted {
		f.count(now, b.Sampled, b.Finished-min(b.Finished, b.NoResponse))
	}
	each := 1 / f.share()
	completed := each
	if b.Completions > b.Sampled {
		completed = 1
	}
	out := make([]sizing.Second, len(seconds))
	for i, s := range seconds {
		o := sizing.Second{At: s.At, Arrivals: float64(s.Arrivals)}
		if s.Span > 1 {
			o.Span = s.Span
		}
		if s.Untold {
			// Nobody has told of the answers. As many as requests came is the best that is known; they were not timed.
			o.Completions = o.Arrivals
		} else {
			o.Completions, o.Errors, o.Timed = completed*float64(s.Completions), each*float64(s.Errors), float64(s.Timed)
			o.Queue, o.Connect, o.Service = float64(s.Queue)/1e6, float64(s.Connect)/1e6, float64(s.Response)/1e6
		}
		out[i] = o
	}
	return out
}

// count adds up what came since the last turn.
func (f *feed) count(now time.Time, done, finished uint64) {
	if f.begun && done >= f.done && finished >= f.finished {
		f.now.done += done - f.done
		f.now.finished += finished - f.finished
	} else {
		f.began = now
	}
	f.begun, f.done, f.finished = true, done, finished
	if f.now.finished >= shareRequests && now.Sub(f.began) >= shareEvery {
		if f.past = append(f.past, f.now.share()); len(f.past) > keptShares {
			f.past = f.past[1:]
		}
		f.now, f.began = tellers{}, now
	}
}

func (t tellers) share() float64 { return float64(t.done) / float64(t.finished) }

// share is the share of answered requests that are told of: the highest of the last minutes, because requests given up while the
// app is overloaded are not told of either.
func (f *feed) share() float64 {
	share := 0.0
	if len(f.past) > 0 {
		share = slices.Max(f.past)
	}
	if f.now.finished >= shareRequests {
		share = max(share, f.now.share())
	}
	if share <= 0 || share >= wholeShare {
		return 1
	}
	return share
}
