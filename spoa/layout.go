package spoa

import (
	"encoding/binary"
	"math/bits"

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
	// maxHead is the largest name, with its length before and the type of its value behind it, that a layout can hold.
	maxHead = 15
	// slack is how many bytes of the buffer must follow the beginning of each argument, so that they can be read as words.
	// Those that are not of the message, but of what comes behind it, are looked at in vain: the message does not end there.
	slack = maxHead + 9
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
	numAnswered
	unknownNumber
	numCount
	// numPlaces is the power of two above it, so that an index is cut off by a mask.
	numPlaces = 32
)

// Texts of a done message by their index in layout.texts.
const (
	textID = iota
	textBoot
	textBackend
	textServer
	textRetries
	textTimes
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
		"answered": {numAnswered, maxCounter},
	}
	doneTexts = map[string]uint8{"id": textID, "boot": textBoot, "be": textBackend, "srv": textServer, "rc": textRetries, "w": textTimes}
)

// shape is how a value stands on the wire, as far as layouts tell.
type shape uint8

const (
	shapeOther shape = iota
	shapeNull
	shapeBool
	shapeInt
	shapeText
	// shapeFlag is a shapeInt that takes so little that its limit matters for values of one byte, too.
	shapeFlag
)

var shapes = [16]shape{
	typeddata.TypeNull: shapeNull, typeddata.TypeBoolean: shapeBool, typeddata.TypeInt32: shapeInt, typeddata.TypeUInt32: shapeInt,
	typeddata.TypeInt64: shapeInt, typeddata.TypeUInt64: shapeInt, typeddata.TypeString: shapeText,
}

// place is one argument: length, name and type as one word, or two, and where the value goes.
type place struct {
	word, mask   uint64
	word2, mask2 uint64
	most         uint64
	head         uint8 // the size of length, name and type
	long         bool  // word2 matters
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
	nums   [numPlaces]int64
	texts  [textCount]span
}

// read reads the n arguments at the front of b along the layout and returns how many bytes they take; false when they do
// not fit. Numbers not sent are Absent.
func (l *layout) read(b []byte, n int) (used int, ok bool) {
	if n != l.n || n == 0 {
		return 0, false
	}
	// What is read behind the end of b is found out at the end.
	room := b[:cap(b)]
	for i, p := 0, 0; ; i++ {
		if i, p = l.run(room, i, p); i >= n {
			return p, p <= len(b)
		}
		k := &l.places[i]
		if len(room)-p < slack || !k.isNull((*[slack]byte)(room[p:])) {
			return 0, false
		}
		l.absent(k)
		p += int(k.head)
	}
}

// run reads arguments from place i on, which stands at b[p:], up to one that does not fit. It calls nothing, so that all it
// needs stays in registers.
func (l *layout) run(b []byte, i, p int) (next, end int) {
	for ; i < l.n && i < maxPlaces; i++ {
		if p < 0 || p > len(b)-slack {
			return i, p
		}
		k, q := &l.places[i], b[p:p+slack]
		head := int(k.head & maxHead)
		if binary.LittleEndian.Uint64(q)&k.mask != k.word || k.long && binary.LittleEndian.Uint64(q[8:])&k.mask2 != k.word2 {
			return i, p
		}
		x := uint64(q[head])
		switch k.shape {
		case shapeInt:
			p += head + 1
			if x >= shortVarint {
				w := binary.LittleEndian.Uint64(q[head+1:])
				ends := ^w & highBits
				if ends == 0 {
					return i, p - head - 1
				}
				last := bits.TrailingZeros64(ends) / 8
				if x += longVarint(w, ends, last); x > k.most {
					return i, p - head - 1
				}
				p += last + 1
			}
			l.nums[k.to%numPlaces] = int64(x)
		case shapeText:
			if x >= shortVarint {
				return i, p
			}
			p += head + 1
			l.texts[k.to%textCount] = span{uint32(p), uint32(p + int(x))}
			p += int(x)
		case shapeFlag:
			if x > k.most {
				return i, p
			}
			p += head + 1
			l.nums[k.to%numPlaces] = int64(x)
		default:
			l.nums[k.to%numPlaces] = int64(q[(head-1)&maxHead] >> 4 & 1)
			p += head
		}
	}
	return i, p
}

// isNull tells whether the argument is there, without a value.
func (k *place) isNull(q *[slack]byte) bool {
	w, w2 := k.word, k.word2
	// NULL is type 0: the type is the last of the bytes compared.
	if k.head <= 8 {
		w &= lowBytes(int(k.head) - 1)
	} else {
		w2 &= lowBytes(int(k.head) - 9)
	}
	return binary.LittleEndian.Uint64(q[:])&k.mask == w && binary.LittleEndian.Uint64(q[8:])&k.mask2 == w2
}

func (l *layout) absent(k *place) {
	if k.shape == shapeText {
		l.texts[k.to%textCount] = span{}
	} else {
		l.nums[k.to%numPlaces] = Absent
	}
}

// learn takes the layout of a whole message with n arguments. It takes none when there is a name twice, a value of a type
// that does not belong to its name, or anything else that wants a closer look each time.
func (l *layout) learn(b []byte, n int) {
	l.n = 0
	if n > maxPlaces {
		return
	}
	for i := range l.nums[:numCount] {
		l.nums[i] = Absent
	}
	clear(l.texts[:])
	seen := uint32(0)
	for i := range n {
		k := &l.places[i]
		key, rest, ok := readString(b)
		if !ok || len(rest) == 0 || len(b)-len(rest) != len(key)+1 || len(key)+2 > maxHead {
			return
		}
		bit, ok := k.learn(key, rest[0]&0x0f)
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

// learn takes the place of an argument with a value of that type. bit stands for its name, 0 for an unknown one.
func (k *place) learn(key []byte, kind byte) (bit uint32, ok bool) {
	num, isNumber := doneNumbers[string(key)]
	text, isText := doneTexts[string(key)]
	*k = place{head: uint8(len(key) + 2), shape: shapes[kind], most: noLimit}
	switch {
	case kind == typeddata.TypeNull && (isNumber || isText):
		// What it will be when there is one is what HAProxy sends of that name.
		if kind = typeddata.TypeInt64; isText {
			kind = typeddata.TypeString
		}
		return k.learn(key, kind)
	case k.shape == shapeText && isText:
		k.to, bit = text, 1<<(numCount+text)
		switch text {
		case textRetries:
			bit = 1 << numRetries
		case textTimes:
			// One text for six arguments: beside one of them, which counts is a matter of their order.
			bit = 1<<numTw | 1<<numTc | 1<<numT1 | 1<<numRetries | 1<<numRedispatched | 1<<numServerConns
		}
	case k.shape == shapeInt && isNumber, k.shape == shapeBool && isNumber && num.to == numRedispatched:
		k.to, k.most, bit = num.to, num.most, 1<<num.to
		if k.shape == shapeInt && k.most < shortVarint {
			k.shape = shapeFlag
		}
	case isNumber || isText || k.shape == shapeOther:
		return 0, false
	case k.shape == shapeText:
		k.to = unknownText
	default:
		k.to = unknownNumber
	}
	var head [16]byte
	head[0] = byte(len(key))
	head[1+copy(head[1:], key)] = kind
	k.word, k.mask = binary.LittleEndian.Uint64(head[:]), lowBytes(int(k.head))
	k.long = k.head > 8
	k.word2, k.mask2 = binary.LittleEndian.Uint64(head[8:]), lowBytes(int(k.head)-8)
	// The four bits above the type are flags.
	flags := uint64(0xf0) << (8 * ((k.head - 1) % 8))
	if k.head <= 8 {
		k.mask &^= flags
	} else {
		k.mask2 &^= flags
	}
	return bit, true
}

// lowBytes is a mask of the first n bytes of a word, none for n below 1.
func lowBytes(n int) uint64 {
	if n < 1 {
		return 0
	}
	return ^uint64(0) >> (64 - 8*min(n, 8))
}
