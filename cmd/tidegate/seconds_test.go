package main

import (
	"math"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
	"github.com/tidegate/tidegate/core/window"
	"github.com/tidegate/tidegate/spoa"
)

// turns gives a feed a second of traffic a turn: arrivals by the counters, of which told are told of by samples.
func turns(f *feed, from time.Time, n int, total *spoa.BackendReport, arrivals, finished, told uint64) (last sizing.Second) {
	for i := range n {
		total.Started, total.Finished, total.Completions, total.Sampled = total.Started+arrivals, total.Finished+finished, total.Completions+told, total.Sampled+told
		list := f.take(from.Add(time.Duration(i)*time.Second), total, []spoa.Second{{
			At: from.Unix() + int64(i), Span: 1,
			Bucket: window.Bucket{Arrivals: arrivals, Completions: told, Errors: told / 2, Timed: told, Queue: 1000 * told, Connect: 2000 * told, Response: 50_000 * told},
		}})
		last = list[0]
	}
	return last
}

func TestFeedCountsWhatSamplesStandFor(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
	for name, c := range map[string]struct {
		counted                  bool
		arrivals, finished, told uint64
		want                     float64
	}{
		"every answer is told":               {true, 40, 40, 40, 40},
		"a few are given up":                 {true, 40, 40, 38, 38},
		"one in four is told":                {true, 40, 40, 10, 40},
		"without counters, what is told":     {false, 10, 40, 10, 10},
		"too few to say how many are untold": {true, 1, 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, r := &feed{}, &spoa.BackendReport{Counted: c.counted, Finished: 12345, Completions: 999, Sampled: 999}
			s := turns(f, at, 90, r, c.arrivals, c.finished, c.told)
			if !near(s.Completions, c.want) || s.Arrivals != float64(c.arrivals) || s.Timed != float64(c.told) || !near(s.Service, 0.05*float64(c.told)) ||
				!near(s.Queue, 0.001*float64(c.told)) || !near(s.Connect, 0.002*float64(c.told)) || s.At != at.Unix()+89 || s.Span != 0 {
				t.Errorf("%+v, want %v completions", s, c.want)
			}
		})
	}
}

// Where HAProxy counts the answers, only errors are what samples stand for.
func TestFeedTakesAnswersThatAreCounted(t *testing.T) {
	f, r := &feed{}, &spoa.BackendReport{Counted: true}
	var last sizing.Second
	for i := range int64(90) {
		r.Started, r.Finished, r.Completions, r.Sampled = r.Started+40, r.Finished+40, r.Completions+40, r.Sampled+10
		last = f.take(time.Unix(1_700_000_000+i, 0), r, []spoa.Second{{At: i, Span: 1, Bucket: window.Bucket{Arrivals: 40, Completions: 40, Errors: 2, Timed: 10}}})[0]
	}
	if math.Abs(last.Completions-40) > 1e-6 || math.Abs(last.Errors-8) > 1e-6 || last.Timed != 10 {
		t.Errorf("%+v, want 40 completions, 8 errors, 10 timed", last)
	}
}

// An app whose clients give up because it is slow is no app whose answers are sampled.
func TestFeedTellsGivingUpFromSampling(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	f, r := &feed{}, &spoa.BackendReport{Counted: true}
	turns(f, at, 120, r, 40, 40, 40)
	if s := turns(f, at.Add(2*time.Minute), 120, r, 40, 40, 12); s.Completions != 12 {
		t.Errorf("two slow minutes: %v completions, 12 were answered", s.Completions)
	}
	// From a reload of HAProxy on, one in four is told of: that is seen when the better minutes are forgotten.
	if s := turns(f, at.Add(4*time.Minute), 800, r, 40, 40, 10); math.Abs(s.Completions-40) > 0.5 {
		t.Errorf("sampled for long: %v completions, 40 were answered", s.Completions)
	}
}

func TestFeedOfSecondsNobodyToldOf(t *testing.T) {
	f := &feed{}
	list := f.take(time.Unix(100, 0), &spoa.BackendReport{}, []spoa.Second{
		{At: 90, Span: 10, Untold: true, Bucket: window.Bucket{Arrivals: 50}}, {At: 100, Span: 1},
	})
	if len(list) != 2 || list[0].Arrivals != 50 || list[0].Completions != 50 || list[0].Timed != 0 || list[0].Service != 0 || list[0].Span != 10 || list[1].Completions != 0 {
		t.Errorf("%+v", list)
	}
}
