package spoa

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
	"github.com/negasus/haproxy-spoe-go/varint"
)

// SPOE specification 3.2: a frame is a 32-bit length, then type (1 byte), flags (4), stream id and frame id (varints),
// then the payload. The length does not count itself.
const (
	prefixSize   = 4
	minFrameSize = 7
	maxVarint    = 10
	// shortVarint is the least first byte of a variable-length integer that has more than one.
	shortVarint = 240
	flagFin     = 1
	// minMaxFrameSize is the smallest max-frame-size HAProxy takes.
	minMaxFrameSize = 256
)

// Status codes of AGENT-DISCONNECT (SPOE specification 3.2.4).
const (
	statusNormal       = 0
	statusTimeout      = 2
	statusTooBig       = 3
	statusInvalid      = 4
	statusNoVersion    = 5
	statusNoFrameSize  = 6
	statusNoCaps       = 7
	statusBadVersion   = 8
	statusBadFrameSize = 9
	statusFragmented   = 10
	statusUnknown      = 99
)

// Of a frame's body, which is all that the length counts, the first byte is the type, the next four are the flags, and then
// come stream and frame id, whose bytes go back in the ACK as they came.
const idsAt = 5

// idsEnd is where the ids of a body end and its payload begins; 0 when they cannot be read.
func idsEnd(body []byte) int {
	if len(body) < minFrameSize {
		return 0
	}
	if len(body) >= idsAt+8 {
		if n := idsSize(binary.LittleEndian.Uint64(body[idsAt:])); n <= 8 {
			return idsAt + int(n)
		}
	}
	n := idsAt
	for range 2 {
		_, used := readVarint(body[n:])
		if used == 0 {
			return 0
		}
		n += used
	}
	return n
}

// idsSize is how many of the bytes of w two variable-length integers take, the lowest byte first; more than 8 when they do not
// end in it.
func idsSize(w uint64) (n uint) {
	const more = highBits &^ 0xff
	n = 1
	if byte(w) >= shortVarint {
		n += uint(bits.TrailingZeros64(^w&more)) / 8
	}
	w >>= 8 * n
	if byte(w) < shortVarint {
		return n + 1
	}
	return n + 1 + uint(bits.TrailingZeros64(^w&more))/8
}

// readVarint reads one variable-length integer of at most ten bytes; used is 0 when there is none.
func readVarint(b []byte) (v uint64, used int) {
	if len(b) > 0 && b[0] < shortVarint {
		return uint64(b[0]), 1
	}
	if len(b) > 8 {
		w := binary.LittleEndian.Uint64(b[1:])
		if ends := ^w & highBits; ends != 0 {
			last := bits.TrailingZeros64(ends) / 8
			return uint64(b[0]) + longVarint(w, ends, last), 2 + last
		}
	}
	v, used = varint.Uvarint(b[:min(len(b), maxVarint)])
	if used < 0 {
		return 0, 0
	}
	return v, used
}

// highBits are set in the bytes of an integer that are not its last. The first of w's bytes without is the last one.
const highBits = 0x8080808080808080

// longVarint is what the bytes of w up to byte last add to the first byte of an integer: w0<<4 + w1<<11 + w2<<18 and so on,
// with the highest bits of all but the last. ends are the highest bits that are not set, at least one.
func longVarint(w, ends uint64, last int) uint64 {
	// All up to the lowest of ends.
	return (joinSevens(w&(ends^(ends-1))&^highBits) + varintHighest[last&7]) << 4
}

// joinSevens is the number of which the bytes of w have seven bits each, the first one the lowest.
func joinSevens(w uint64) uint64 {
	// Each step closes the gap below every second group of bits: what stands above it goes down by that much.
	w -= (w & 0x7f007f007f007f00) >> 1
	w -= (w & 0x3fff00003fff0000) >> 2 * 3
	return w&0x000000000fffffff | w>>32<<28
}

// varintHighest is, by the last byte, what the highest bits of those before it add up to.
var varintHighest = func() (t [8]uint64) {
	for last := range t {
		for i := range last {
			t[last] += 1 << (7*i + 7)
		}
	}
	return t
}()

// readString reads a length and as many bytes, which stay part of b.
func readString(b []byte) (s, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < shortVarint && int(b[0]) < len(b) {
		n := int(b[0]) + 1
		return b[1:n], b[n:], true
	}
	n, used := readVarint(b)
	if used == 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	end := used + int(n)
	return b[used:end], b[end:], true
}

// value is one typed datum. num holds integers (as two's complement) and booleans, str strings, binaries and addresses.
type value struct {
	kind byte
	num  int64
	str  []byte
}

// readValue reads one typed datum.
func readValue(b []byte) (v value, rest []byte, ok bool) {
	if len(b) == 0 {
		return v, nil, false
	}
	v.kind = b[0] & 0x0f
	flags := b[0] >> 4
	b = b[1:]
	switch v.kind {
	case typeddata.TypeNull:
		return v, b, true
	case typeddata.TypeBoolean:
		v.num = int64(flags & 1)
		return v, b, true
	case typeddata.TypeInt32, typeddata.TypeUInt32, typeddata.TypeInt64, typeddata.TypeUInt64:
		n, used := readVarint(b)
		if used == 0 {
			return v, nil, false
		}
		v.num = int64(n)
		return v, b[used:], true
	case typeddata.TypeIPv4, typeddata.TypeIPv6:
		size := 4
		if v.kind == typeddata.TypeIPv6 {
			size = 16
		}
		if len(b) < size {
			return v, nil, false
		}
		v.str = b[:size]
		return v, b[size:], true
	case typeddata.TypeString, typeddata.TypeBinary:
		v.str, rest, ok = readString(b)
		return v, rest, ok
	}
	return v, nil, false
}

func (v value) isInt() bool { return v.kind >= typeddata.TypeInt32 && v.kind <= typeddata.TypeUInt64 }

// ackActions is the payload of every ACK: set-var of a transaction variable that no configuration registers, so that
// HAProxy ignores it. An ACK without any action makes HAProxy 3.1.0 wait for the whole `timeout processing`.
// Layout: action type SET-VAR, 3 arguments, scope transaction, name, boolean true (SPOE specification 3.4).
var ackActions = [8]byte{0x01, 0x03, 0x02, 3, 'a', 'c', 'k', 0x11}

// ackWord is the same as a word.
var ackWord = binary.LittleEndian.Uint64(ackActions[:])

// maxAck is the size of the largest ACK.
const maxAck = prefixSize + idsAt + 2*maxVarint + len(ackActions)

// appendAck appends one whole ACK frame.
func appendAck(out, ids []byte) []byte {
	n := len(out)
	if cap(out)-n < maxAck {
		out = append(make([]byte, 0, 2*cap(out)+16*maxAck), out...)
	}
	b := out[n : n+maxAck]
	size := idsAt + len(ids) + len(ackActions)
	binary.BigEndian.PutUint64(b, uint64(size)<<32|uint64(frame.TypeAgentAck)<<24)
	b[8] = flagFin
	copy(b[prefixSize+idsAt:], ids)
	copy(b[prefixSize+idsAt+len(ids):], ackActions[:])
	return out[:n+prefixSize+size]
}

// appendFrame appends a frame of ours that carries names and values: AGENT-HELLO or AGENT-DISCONNECT, both of stream 0.
func appendFrame(out []byte, kind frame.Type, pairs ...any) ([]byte, error) {
	f := frame.NewFrame()
	f.Type = kind
	for i := 0; i+1 < len(pairs); i += 2 {
		f.KV.Add(pairs[i].(string), pairs[i+1])
	}
	// The encoder writes length and body apart, so that it must not see the connection itself.
	var buf bytes.Buffer
	if _, err := f.Encode(&buf); err != nil {
		return out, fmt.Errorf("encode a frame of type %d: %w", kind, err)
	}
	return append(out, buf.Bytes()...), nil
}

// readArgument reads the name and the value at the front of b.
func readArgument(b []byte) (key []byte, v value, rest []byte, ok bool) {
	if key, b, ok = readString(b); !ok {
		return nil, v, nil, false
	}
	v, b, ok = readValue(b)
	return key, v, b, ok
}
