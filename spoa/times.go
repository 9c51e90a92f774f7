package spoa

import (
	"encoding/binary"
	"math/bits"
)

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

const (
	// stampDigits is how many digits microseconds since 1970 have from 2001 to 2286.
	stampDigits = 16
	// shortTimes is the length of the text when each number before the stamp has one digit.
	shortTimes = 8 + stampDigits
)

// parse reads the text in words if it is as nearly all are: four short numbers, and a stamp of 16 digits. t is written field by
// field, and read in the same way: what is copied as a whole, right after, has to wait for the stores.
func (t *logTimes) parse(text []byte) (ok bool) {
	if len(text) == shortTimes {
		// One digit each, as most often.
		q := (*[shortTimes]byte)(text)
		w := binary.LittleEndian.Uint64(q[:]) ^ digitsAndSlashes
		stamp, ok := digits16((*[stampDigits]byte)(q[8:]))
		if ok && (w|(w+0x0006000600060006))&0xfff0fff0fff0fff0 == 0 {
			t.queue, t.connect, t.retries, t.redispatched = int64(w&15), int64(w>>16&15), int(w>>32&15), false
			t.serverConns, t.connected = int64(w>>48), stamp
			return true
		}
	}
	return t.parseShort(text)
}

// parseShort is parse where the short numbers may have up to seven digits.
func (t *logTimes) parseShort(text []byte) (ok bool) {
	if len(text) < shortTimes {
		return t.parseAny(text)
	}
	rest := len(text) - stampDigits
	stamp, ok := digits16((*[stampDigits]byte)(text[rest:]))
	if !ok {
		return t.parseAny(text)
	}
	var n [4]int64
	at := 0
	for i := range n {
		// What follows the short numbers are digits enough to be read as a word.
		value, size := digitsBefore(binary.LittleEndian.Uint64(text[at : at+8]))
		n[i], at = value, at+size+1
		if size == 0 || at > rest || text[at-1] != '/' {
			return t.parseAny(text)
		}
	}
	if at != rest || n[2] >= 1e6 {
		return t.parseAny(text)
	}
	*t = logTimes{queue: n[0], connect: n[1], retries: int(n[2]), serverConns: n[3], connected: stamp}
	return true
}

// digitsAndSlashes is 0/0/0/0/ as a word.
const digitsAndSlashes = 0x2f302f302f302f30

// zeros are eight digits 0 of a text.
const zeros = 0x3030303030303030

// notDigits has the highest bit of the first byte set that is above 9; what is above that byte says nothing.
func notDigits(x uint64) uint64 { return (x + 0x7676767676767676 | x) & highBits }

// digitsBefore reads the digits at the front of a word of text, seven at most; none when there are more.
func digitsBefore(w uint64) (value int64, size int) {
	x := w ^ zeros
	size = bits.TrailingZeros64(notDigits(x)) / 8 % 8
	return int64(eightDigits(x << (64 - 8*size))), size
}

// eightDigits is the number whose decimal digits are the bytes of x, the first one lowest.
func eightDigits(x uint64) uint64 {
	x = x*10 + x>>8
	const every = 0x000000ff000000ff
	return (x&every*(100+1000000<<32) + x>>16&every*(1+10000<<32)) >> 32
}

// digits16 reads 16 digits.
func digits16(text *[16]byte) (n int64, ok bool) {
	hi, lo := binary.LittleEndian.Uint64(text[:])^zeros, binary.LittleEndian.Uint64(text[8:])^zeros
	return int64(eightDigits(hi)*1e8 + eightDigits(lo)), notDigits(hi)|notDigits(lo) == 0
}

// parseAny is parse for whatever the text is.
func (t *logTimes) parseAny(text []byte) (ok bool) {
	var parts [5][]byte
	n, from := 0, 0
	for i, c := range text {
		if c != '/' {
			continue
		}
		if n >= len(parts)-1 {
			return false
		}
		parts[n], n, from = text[from:i], n+1, i+1
	}
	if parts[n] = text[from:]; n != len(parts)-1 {
		return false
	}
	var oks [5]bool
	t.queue, oks[0] = parseNumber(parts[0])
	t.connect, oks[1] = parseNumber(parts[1])
	t.retries, t.redispatched, oks[2] = parseRetries(parts[2])
	t.serverConns, oks[3] = parseNumber(parts[3])
	t.connected, oks[4] = parseNumber(parts[4])
	return oks == [5]bool{true, true, true, true, true} && t.serverConns < maxGauge
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
