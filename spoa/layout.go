package spoa

import (
	"encoding/binary"

	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// HAProxy sends the arguments of a message in the order of its configuration, so that a message looks like the one before,
// but for its values. A layout remembers how the last one looked, and the next is read along it: a name then costs one
// comparison of eight bytes, and says where its value goes.
//
// Reading along a layout has no effect but on the layout's own values. A message that does not fit, or in which anything is
// to be counted or refused, is read again from its beginning by decoder.done, argument by argument.

const (
	maxPlaces = 24
	// maxKey is the longest name, its length byte included, that a layout can hold.
	maxKey = 16
)

// Numbers of a done message by their index in layout.nums. unknownNumber takes those of unknown name.
const (
	numT0 = iota
	numT1
	numT2
	numTw
	numTc
	numTr
	numStatus
	numServerConns
	numBackendConns
	numQueued
	numRetries
	numRedispatched
	numStarted
	numCurrent
	numNoResponse
	unknownNumber
	numCount
)

// Texts of a done message by their index in layout.texts.
const (
	textID = iota
	textBoot
	textBackend
	textServer
	textRetries
	unknownText
	textCount = 8
)

// number is where a number goes, and the largest that a layout takes; with noLimit, negative ones are taken too.
type number struct {
	to   uint8
	most uint64
}

const noLimit = 1<<64 - 1

var (
	doneNumbers = map[string]number{
		"t0": {numT0, noLimit}, "t1": {numT1, noLimit}, "t2": {numT2, noLimit},
		"tw": {numTw, noLimit}, "tc": {numTc, noLimit}, "tr": {numTr, noLimit}, "st": {numStatus, maxStatus},
		"sconn": {numServerConns, maxGauge - 1}, "conn": {numBackendConns, maxGauge - 1}, "q": {numQueued, maxGauge - 1},
		"rc": {numRetries, maxGauge - 1}, "rd": {numRedispatched, 1},
		"started": {numStarted, maxCounter}, "cur": {numCurrent, maxCounter}, "noresp": {numNoResponse, maxCounter},
	}
	doneTexts = map[string]uint8{"id": textID, "boot": textBoot, "be": textBackend, "srv": textServer, "rc": textRetries}
)

// shape is how a value stands on the wire, as far as layouts tell.
type shape uint8

const (
	shapeOther shape = iota
	shapeNull
	shapeBool
	shapeInt
	shapeText
)

var shapes = [16]shape{
	typeddata.TypeNull: shapeNull, typeddata.TypeBoolean: shapeBool, typeddata.TypeInt32: shapeInt, typeddata.TypeUInt32: shapeInt,
	typeddata.TypeInt64: shapeInt, typeddata.TypeUInt64: shapeInt, typeddata.TypeString: shapeText,
}

// place is one argument: its name with its length byte, as one word or two, and where its value goes.
type place struct {
	word, mask   uint64
	word2, mask2 uint64
	most         uint64
	size         uint8
	shape        shape
	to           uint8
}

// span is a part of a message, empty for a text that was not sent.
type span struct{ from, to uint32 }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// layout is the order of the arguments in the last done message, and the values of the message read along it last. n is 0
// as long as none is known.
type layout struct {
	n      int
	places [maxPlaces]place
	nums   [numCount]int64
	texts  [textCount]span
}

// read reads the n arguments at the front of b along the layout and returns how many bytes they take; false when they do
// not fit. Numbers not sent are Absent.
func (l *layout) read(b []byte, n int) (used int, ok bool) {
	if n != l.n || n == 0 {
		return 0, false
	}
	p := 0
	for i := range l.places[:n] {
		k := &l.places[i]
		if word(b[p:])&k.mask != k.word || k.mask2 != 0 && !k.goesOn(b[p:]) {
			return 0, false
		}
		p += int(k.size)
		// A type and at least one byte of value: what ends with a type alone is rare enough for the long way.
		if len(b)-p < 2 {
			return 0, false
		}
		kind, first := b[p], b[p+1]
		p += 2
		switch s := shapes[kind&0x0f]; {
		case s == shapeNull:
			l.absent(k)
			p--
		case s != k.shape:
			return 0, false
		case s == shapeInt:
			x := uint64(first)
			if x >= shortVarint {
				var more int
				if x, more = readVarint(b[p-1:]); more == 0 {
					return 0, false
				}
				p += more - 1
			}
			if x > k.most {
				return 0, false
			}
			l.nums[k.to%numCount] = int64(x)
		case s == shapeText:
			end := p + int(first)
			if first >= shortVarint || end > len(b) {
				return 0, false
			}
			l.texts[k.to%textCount] = span{uint32(p), uint32(end)}
			p = end
		default:
			l.nums[k.to%numCount] = int64(kind >> 4 & 1)
			p--
		}
	}
	return p, true
}

func (l *layout) absent(k *place) {
	if k.shape == shapeText {
		l.texts[k.to%textCount] = span{}
	} else {
		l.nums[k.to%numCount] = Absent
	}
}

// goesOn tells whether the rest of a long name is as expected.
func (k *place) goesOn(b []byte) bool { return len(b) > 8 && word(b[8:])&k.mask2 == k.word2 }

// learn takes the layout of a whole message with n arguments. It takes none when there is a name twice, a value of a type
// that does not belong to its name, or anything else that wants a closer look each time.
func (l *layout) learn(b []byte, n int) {
	l.n = 0
	if n > maxPlaces {
		return
	}
	for i := range l.nums {
		l.nums[i] = Absent
	}
	clear(l.texts[:])
	seen := uint32(0)
	for i := range n {
		k := &l.places[i]
		start := b
		key, rest, ok := readString(b)
		if !ok || len(rest) == 0 || len(start)-len(rest) != len(key)+1 || len(key)+1 > maxKey {
			return
		}
		bit, ok := k.learn(key, shapes[rest[0]&0x0f])
		if !ok || seen&bit != 0 {
			return
		}
		seen |= bit
		if _, b, ok = readValue(rest); !ok {
			return
		}
	}
	l.n = n
}

// learn takes the place of an argument. bit stands for its name, 0 for an unknown one.
func (k *place) learn(key []byte, s shape) (bit uint32, ok bool) {
	num, isNumber := doneNumbers[string(key)]
	text, isText := doneTexts[string(key)]
	*k = place{size: uint8(len(key) + 1), shape: s, most: noLimit}
	switch {
	case s == shapeNull && isText, s == shapeText && isText:
		k.shape, k.to, bit = shapeText, text, 1<<(numCount+text)
		if text == textRetries {
			bit = 1 << numRetries
		}
	case s == shapeNull && isNumber, s == shapeInt && isNumber, s == shapeBool && num.to == numRedispatched && isNumber:
		k.to, k.most, bit = num.to, num.most, 1<<num.to
		if s == shapeNull {
			k.shape = shapeInt
		}
	case isNumber || isText || s == shapeOther:
		return 0, false
	case s == shapeText:
		k.to = unknownText
	default:
		k.to = unknownNumber
	}
	var name [maxKey]byte
	name[0] = byte(len(key))
	copy(name[1:], key)
	k.word, k.mask = binary.LittleEndian.Uint64(name[:]), lowBytes(int(k.size))
	if k.size > 8 {
		k.word2, k.mask2 = binary.LittleEndian.Uint64(name[8:]), lowBytes(int(k.size)-8)
	}
	return bit, true
}

// lowBytes is a mask of the first n bytes of a word, n 1 or more.
func lowBytes(n int) uint64 { return ^uint64(0) >> (64 - 8*min(n, 8)) }

// word is the first eight bytes of b as a number, in little-endian order; those that b lacks are 0.
func word(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return shortWord(b)
}

func shortWord(b []byte) (w uint64) {
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}
