package spoa

// logTimes is what the text of log variables tells of a request: "%Tw/%Tc/%rc/%sc/t1", t1 being the microsecond at which the
// server's first bytes came to be looked at. HAProxy 2.6 has no other way to tell the first four, and one text costs it less than
// five arguments. Numbers that are unknown are negative.
type logTimes struct {
	queue, connect int64 // milliseconds
	retries        int
	redispatched   bool
	serverConns    int64
	connected      int64 // microseconds since 1970
}

func parseLogTimes(text []byte) (t logTimes, ok bool) {
	var parts [5][]byte
	n, from := 0, 0
	for i, c := range text {
		if c != '/' {
			continue
		}
		if n >= len(parts)-1 {
			return t, false
		}
		parts[n], n, from = text[from:i], n+1, i+1
	}
	if parts[n] = text[from:]; n != len(parts)-1 {
		return t, false
	}
	var oks [5]bool
	t.queue, oks[0] = parseNumber(parts[0])
	t.connect, oks[1] = parseNumber(parts[1])
	t.retries, t.redispatched, oks[2] = parseRetries(parts[2])
	t.serverConns, oks[3] = parseNumber(parts[3])
	t.connected, oks[4] = parseNumber(parts[4])
	return t, oks == [5]bool{true, true, true, true, true} && t.serverConns < maxGauge
}

// parseNumber reads an integer of up to 18 digits.
func parseNumber(text []byte) (n int64, ok bool) {
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	if len(text) == 0 || len(text) > 18 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// set puts what has been read in the place of the arguments that tell the same one by one.
func (t *logTimes) set(s *Sample, stamps, timers *[3]int64) {
	timers[0], timers[1], stamps[1] = t.queue, t.connect, t.connected
	s.Retries, s.Redispatched, s.ServerConns = t.retries, t.redispatched, int(max(t.serverConns, Absent))
}

// backendConns is the number of requests in the backend: what was sent as such, or else the counter of those still there.
func (s *Sample) backendConns() int {
	if s.BackendConns == Absent && s.Counters.Known && s.Counters.Current < maxGauge {
		return int(s.Counters.Current)
	}
	return s.BackendConns
}
