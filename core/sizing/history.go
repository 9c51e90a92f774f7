package sizing

import (
	"math"
)

const (
	// fineSeconds is how many seconds are remembered one by one, hourTens how many tens of seconds.
	fineSeconds = 150
	hourTens    = 360
	// maxSpan bounds what one Second may cover.
	maxSpan = 60
	// maxPerSecond is the rate above which a number is not believed.
	maxPerSecond = 1e7
)

// History is the app's last seconds one by one and its last hour in tens.
type History struct {
	// Fine are the newest seconds, oldest first, without gaps: a second of which nothing was told has Gap set.
	Fine Fines `json:"fine,omitzero"`
	// Tens are arrivals per second by tens of seconds, oldest first; -1 when fewer than five of them were told. The newest is
	// the ten that begins at TensAt.
	Tens   []float32 `json:"tens,omitempty"`
	TensAt int64     `json:"tens_at,omitempty"`
}

// Fine is one second.
type Fine struct {
	At  int64   `json:"at"`
	Gap bool    `json:"gap,omitempty"`
	A   float32 `json:"a"`
	X   float32 `json:"x"`
	E   float32 `json:"e,omitempty"`
	T   float32 `json:"t,omitempty"`
	W   float32 `json:"w,omitempty"`
	S   float32 `json:"s,omitempty"`
	// B is the busy integral, -1 when not told.
	B float32 `json:"b"`
}

// clone copies what changes each turn, with room for the seconds of one; Tens is copied when a ten is added.
func (h History) clone() History {
	h.Fine = h.Fine.clone()
	return h
}

// credible tells whether a bucket's numbers can be.
func (s *Second) credible() bool {
	most := maxPerSecond * float64(max(1, s.Span))
	for _, x := range [...]float64{s.Arrivals, s.Completions, s.Errors, s.Timed, s.Queue, s.Connect, s.Service} {
		if math.IsNaN(x) || x < 0 || x > most {
			return false
		}
	}
	if s.Busy != nil && (math.IsNaN(*s.Busy) || *s.Busy < 0 || *s.Busy > most) {
		return false
	}
	return s.Span >= 0 && s.Span <= maxSpan
}

// add takes what is newer than what is known and not in the future; absurd tells that something could not be.
func (h *History) add(seconds []Second, now int64) (absurd bool) {
	h.rewind(now)
	for i := range seconds {
		s := &seconds[i]
		if !s.credible() || s.At > now+1 {
			absurd = true
			continue
		}
		span := max(1, s.Span)
		f := s.share(float64(span))
		for k := range span {
			f.At = s.At + int64(k)
			if f.At > now-fineSeconds {
				h.push(f)
			}
		}
	}
	return absurd
}

// rewind forgets the seconds that lie in the future since the date was set back, so that those to come are taken.
func (h *History) rewind(now int64) {
	n := h.Fine.n()
	for n > 0 && h.Fine.at(n-1).At > now+1 {
		n--
	}
	if n < h.Fine.n() {
		h.Fine.cut(n)
	}
	if h.TensAt > now+10 {
		h.TensAt = now - now%10 - 10
	}
}

// share is the bucket's part of one second.
func (s *Second) share(span float64) Fine {
	f := Fine{
		A: float32(s.Arrivals / span), X: float32(s.Completions / span), E: float32(s.Errors / span), T: float32(s.Timed / span),
		W: float32(s.Queue / span), S: float32(s.Service / span), B: -1,
	}
	if s.Timed == 0 && s.Service > 0 {
		f.T = f.X
	}
	if s.Busy != nil {
		f.B = float32(*s.Busy / span)
	}
	return f
}

func (h *History) push(f Fine) {
	if last := h.last(); h.Fine.n() > 0 {
		if f.At <= last {
			return
		}
		if f.At-last > fineSeconds {
			h.Fine = Fines{}
		} else {
			for at := last + 1; at < f.At; at++ {
				h.append(Fine{At: at, Gap: true, B: -1})
			}
		}
	}
	h.append(f)
}

func (h *History) append(f Fine) {
	h.Fine.add(f)
	h.Fine.keep(fineSeconds)
	h.ten(f)
}

// ten closes a ten of seconds when its last second has come.
func (h *History) ten(f Fine) {
	if f.At%10 != 9 {
		return
	}
	at := f.At - 9
	tens, missed := h.Tens, int64(0)
	if len(tens) > 0 {
		missed = (at-h.TensAt)/10 - 1
		if missed < 0 {
			return
		}
		if missed >= hourTens {
			tens, missed = tens[:0], 0
		}
	}
	// The memory of the turn before has the list, too.
	tens = append(make([]float32, 0, len(tens)+int(missed)+1), tens...)
	for range missed {
		tens = append(tens, -1)
	}
	sum, n := float32(0), 0
	for i := h.Fine.n() - 1; i >= 0; i-- {
		f := h.Fine.at(i)
		if f.At < at {
			break
		}
		if !f.Gap {
			sum += f.A
			n++
		}
	}
	rate := float32(-1)
	if n >= 5 {
		rate = sum / float32(n)
	}
	tens = append(tens, rate)
	h.Tens, h.TensAt = tens[max(0, len(tens)-hourTens):], at
}

// last is the newest second that was told, 0 when none was.
func (h *History) last() int64 {
	if n := h.Fine.n(); n > 0 {
		return h.Fine.at(n - 1).At
	}
	return 0
}

// sums are totals over a stretch of seconds.
type sums struct {
	n             int
	a, x, e, t    float64
	w, s, b       float64
	busySeconds   int
	busyCompleted float64
}

// over adds up the told ones of the n seconds that end skip seconds before the newest.
func (h *History) over(n, skip int) sums {
	var t sums
	end := h.Fine.n() - skip
	for i := max(0, end-n); i < end; i++ {
		f := h.Fine.at(i)
		if f.Gap {
			continue
		}
		t.n++
		t.a += float64(f.A)
		t.x += float64(f.X)
		t.e += float64(f.E)
		t.t += float64(f.T)
		t.w += float64(f.W)
		t.s += float64(f.S)
		if f.B >= 0 {
			t.b += float64(f.B)
			t.busySeconds++
			t.busyCompleted += float64(f.X)
		}
	}
	return t
}

// rate is the mean of arrivals per second over the n newest seconds; 0 when nothing was told.
func (h *History) rate(n int) float64 {
	t := h.over(n, 0)
	if t.n == 0 {
		return 0
	}
	return t.a / float64(t.n)
}

// tens returns the known tens of the newest n, skipping the newest skip.
func (h *History) tens(n, skip int, into []float64) []float64 {
	into = into[:0]
	end := len(h.Tens) - skip
	for i := max(0, end-n); i < end; i++ {
		if v := h.Tens[i]; v >= 0 {
			into = append(into, float64(v))
		}
	}
	return into
}

// peak is what the hour's arrivals rose to: its fifth highest ten, so that chance does not set it.
func (h *History) peak() float64 {
	var top [5]float32
	for _, v := range h.Tens {
		if v <= top[len(top)-1] {
			continue
		}
		for i := range top {
			if v > top[i] {
				v, top[i] = top[i], v
			}
		}
	}
	return float64(top[len(top)-1])
}
