package spoa

import (
	"time"

	"github.com/negasus/haproxy-spoe-go/typeddata"
)

func (d *decoder) isString(v value) bool {
	if v.kind != typeddata.TypeString {
		d.count.malformed(reasonType)
		return false
	}
	return true
}

// number stores an integer; another type is counted and skipped.
func (d *decoder) number(v value, to *int64) {
	if !v.isInt() {
		d.count.malformed(reasonType)
		return
	}
	*to = v.num
}

// gauge stores a number of things; what cannot be one is counted and skipped.
func (d *decoder) gauge(v value, to *int) {
	n := int64(Absent)
	d.number(v, &n)
	if n >= 0 && n < maxGauge {
		*to = int(n)
	} else if v.isInt() {
		d.count.malformed(reasonGauge)
	}
}

// name stores a name; false when it is none.
func (d *decoder) name(v value, to *string) bool {
	if !d.isString(v) {
		return false
	}
	if len(v.str) == 0 {
		return true
	}
	name, ok := d.names.of(d.now, v.str)
	if !ok {
		d.count.malformed(reasonName)
		return false
	}
	*to = name
	return true
}

func (d *decoder) status(v value) bool {
	n := int64(Absent)
	d.number(v, &n)
	if n == Absent {
		return true
	}
	if n < minStatus || n > maxStatus {
		d.count.malformed(reasonStatus)
		return false
	}
	d.sample.Status = int(n)
	return true
}

// retries takes a number, or the text of the log's %rc, in which a plus sign tells of a redispatch.
func (d *decoder) retries(v value) {
	if v.kind != typeddata.TypeString {
		d.gauge(v, &d.sample.Retries)
		return
	}
	n, redispatched, ok := parseRetries(v.str)
	d.sample.Redispatched = d.sample.Redispatched || redispatched
	if !ok {
		d.count.malformed(reasonGauge)
	} else if n != Absent {
		d.sample.Retries = n
	}
}

// logTimes takes several times and numbers in one text; false when it is none.
func (d *decoder) logTimes(v value) bool {
	if !d.isString(v) {
		return false
	}
	if len(v.str) == 0 {
		return true
	}
	var t logTimes
	if !t.parse(v.str) {
		d.count.malformed(reasonTimer)
		return false
	}
	t.set(&d.sample, &d.stamps, &d.timers)
	return true
}

// parseRetries reads the text of the log's %rc. n is Absent when there is no number in it.
func parseRetries(text []byte) (n int, redispatched, ok bool) {
	if len(text) > 0 && text[0] == '+' {
		redispatched, text = true, text[1:]
	}
	if len(text) == 0 || len(text) > 6 {
		return Absent, redispatched, len(text) == 0
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return Absent, redispatched, false
		}
		n = n*10 + int(c-'0')
	}
	return n, redispatched, true
}

// timing works out the three times from stamps in microseconds and timers in milliseconds; false when one of them is beyond
// a day.
func (s *Sample) timing(stamps, timers *[3]int64) bool {
	queue, connect, response, ok := spans(stamps[0], stamps[1], stamps[2], timers[0], timers[1], timers[2])
	s.Queue, s.Connect, s.Response = duration(queue), duration(connect), duration(response)
	return ok
}

// spans are the three times in microseconds, or Absent, from the stamps t0 to t2 in microseconds and the timers tw, tc and tr in
// milliseconds; not ok when one of them is beyond a day.
func spans(t0, t1, t2, tw, tc, tr int64) (queue, connect, response int64, ok bool) {
	const most = int64(maxTimer / time.Millisecond)
	if tw > most || tc > most || tr > most {
		return 0, 0, 0, false
	}
	before, ok := elapsed(t0, t1)
	if !ok {
		return 0, 0, 0, false
	}
	after, ok := elapsed(t1, t2)
	if !ok {
		return 0, 0, 0, false
	}
	queue, connect, response = milliseconds(tw), milliseconds(tc), milliseconds(tr)
	if after != Absent && (response < 0 || near(after, response)) {
		response = after
	}
	// The stamps cannot part queue from connect, but they know the microseconds of the sum. They also hold what the
	// configuration did before the queue (a rule that waits for the body, say), hence the comparison.
	if queue >= 0 && connect >= 0 && before != Absent && near(before, queue+connect) {
		if queue == 0 {
			connect = before
		} else {
			queue = max(0, before-connect)
		}
	}
	return queue, connect, response, true
}

// milliseconds are n of them in microseconds.
func milliseconds(n int64) int64 {
	if n < 0 {
		return Absent
	}
	return n * 1000
}

// duration is that of so many microseconds, or Absent.
func duration(us int64) time.Duration {
	if us < 0 {
		return Absent
	}
	return time.Duration(us) * time.Microsecond
}

func near(a, b int64) bool {
	const slack = int64(clockSlack / time.Microsecond)
	return a-b <= slack && b-a <= slack
}

// elapsed are the microseconds between two stamps; Absent when one is missing or the clock went back; not ok when they are more
// than a day.
func elapsed(from, to int64) (us int64, ok bool) {
	if from <= 0 || to <= 0 || to < from {
		return Absent, true
	}
	us = to - from
	return us, us <= int64(maxTimer/time.Microsecond)
}
