package spoa

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/tidegate/tidegate/core/window"
)

const (
	// FromStart is the cursor of a reader who has taken no second yet.
	FromStart = math.MinInt64
	// maxSeconds is how far back a reader is taken who has paused.
	maxSeconds = 60
	// silentSeconds without a message are a silence: heartbeats come twice a second.
	silentSeconds = 3
	// settle is how long after its end a second may still be added to by those who read the clock before and have waited since.
	settle = 50 * time.Millisecond
	// keptSilences is how many silences are remembered; those within maxSeconds are what matters.
	keptSilences = 4
)

// Second is what happened in a backend in one second that is over.
type Second struct {
	// At is when it began, in seconds since 1970; Span is how many seconds it covers, 1 but where memory was short.
	At   int64
	Span int
	// Untold: no message came meanwhile. Arrivals are from the counters, spread evenly; completions and times were not told.
	Untold bool
	window.Bucket
}

// Seconds returns the complete seconds of a backend that a reader has not had yet, oldest first: those after the cursor that the
// last call returned (FromStart at first), and after a pause the last 60 of them. A second is complete when it is over and,
// with counters, when a later message has told the rest of its arrivals. Seconds in which HAProxy did not run are left out.
func (m *Meter) Seconds(now time.Time, backend string, after int64) (list []Second, cursor int64) {
	b := m.find(backend)
	if b == nil {
		return nil, after
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.at(now)
	offset := m.shared.wall.offset(now.UnixNano(), at)
	end := b.complete(at)
	from := max(after, end-maxSeconds-1) + 1
	if from >= end {
		return nil, after
	}
	b.seconds.Each(from, end, func(sec, width int64, v window.Bucket) {
		s := Second{At: sec + offset, Span: int(width), Bucket: v}
		for _, q := range b.silences {
			if sec < q.from || sec >= q.to {
				continue
			}
			if sec < q.born {
				return
			}
			s.Untold = true
		}
		list = append(list, s)
	})
	return list, end - 1
}

// complete is the first second that is not.
func (b *backend) complete(at int64) int64 {
	end := second(at - int64(settle))
	if b.counted && second(b.seen)-b.countedSecond <= silentSeconds {
		end = min(end, b.countedSecond)
	}
	return end
}

// silence is a stretch of seconds from..to-1 without a message. Before second born, which is from or later, HAProxy did not run.
type silence struct{ from, to, born int64 }

// hear notes a silence that the message of a second ends, and returns the second since which the arrivals it tells have come.
func (b *backend) hear(sec int64, boot string) (since int64) {
	last := min(b.countedSecond, sec)
	if !b.counted || sec-last <= silentSeconds {
		return last
	}
	q := silence{from: last + 1, to: sec, born: last + 1}
	if _, fresh := b.totals.find(boot); fresh {
		// What a new process tells has come since it began.
		q.born = sec
		if us, err := strconv.ParseInt(boot, 10, 64); err == nil {
			q.born = max(q.from, min(sec, second((us-b.began.UnixMicro())*int64(time.Microsecond))))
		}
		last = q.born
	}
	if len(b.silences) >= keptSilences {
		b.silences = b.silences[:copy(b.silences, b.silences[1:])]
	}
	b.silences = append(b.silences, q)
	return last
}

// wall tells seconds since 1970 from seconds of the meter's own axis.
type wall struct {
	mu    sync.Mutex
	known bool
	// zero is the second since 1970 that the meter's second 0 is called.
	zero int64
}

// offset is what is to be added to a second of the meter. It changes only when the date is moved against the clock that cannot be
// moved, by more than half a second, so that no second is called like the one before.
func (w *wall) offset(unixNano, at int64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	const s = int64(time.Second)
	began := unixNano - at
	if !w.known || began < w.zero*s-s/2 || began >= w.zero*s+s+s/2 {
		w.known, w.zero = true, began/s
	}
	return w.zero
}
