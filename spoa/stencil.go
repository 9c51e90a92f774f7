package spoa

import (
	"encoding/binary"

	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// A stencil is a payload of one done message as it stood on the wire, with its values left out. HAProxy writes the next one the same way,
// and often with names, texts and numbers of the same lengths, too. Then all that a layout looks at argument by argument
// is compared at once, in words, and the values are where they were. What does not fit is read along the layout.

const (
	// stencilBytes is the size of the longest payload that has a stencil. A place in it is told by one byte.
	stencilBytes = 256
	// stencilRoom is how many bytes of the buffer must follow the beginning of a payload, so that it can be read in words.
	stencilRoom = stencilBytes + 16
	// maxStencils are kept, by the size of the payload.
	maxStencils = 32
	// A stencil is worth mostWorth at most: one for each payload that fitted, less two for each of its size that did not. It begins with
	// firstWorth, and is given up below 0: trying costs time, too. Only every learnEvery-th payload without one makes a new one.
	firstWorth, mostWorth = 8, 64
	learnEvery            = 256
)

type stencil struct {
	size   int
	worth  int
	words  []stencilWord
	texts  [textCount]span
	shorts []shortNumber
	flags  []shortNumber
	longs  []longNumber
	// names tells that those of process, backend and server are of common lengths: the first has bootSize bytes and begins at
	// bootAt, the others have 1 to 15. Those end 16 bytes behind backendAt and serverAt, and the masks are those of their endings.
	names                       bool
	bootAt, backendAt, serverAt uint8
	backendMask, serverMask     [2]uint64
	nameSizes                   uint64
}

// bootSize is the size of a process's name, which is the microsecond of its start.
const bootSize = 16

// stencilWord is what is to stand in the eight bytes at a place, as far as they are no values.
type stencilWord struct {
	mask, want uint64
	at         uint8
}

// shortNumber is an integer of one byte, or a boolean, which is in the byte that tells its type.
type shortNumber struct{ at, to, most uint8 }

// longNumber is an integer of two bytes to nine: its first byte and what follows it.
type longNumber struct {
	// keep are the bits of the bytes after the first that belong to the number, higher what those that do not would add to it.
	keep, higher uint64
	most         uint64
	at, to       uint8
}

// fits tells whether all of the payload but its values stands there as it did.
func (s *stencil) fits(m *[stencilRoom]byte) bool {
	words, differ := s.words, uint64(0)
	_ = *m
	for i := range words {
		w := &words[i]
		at := int(w.at)
		differ |= (binary.LittleEndian.Uint64(m[at:at+8]) ^ w.want) & w.mask
	}
	return differ == 0
}

// read takes the numbers of a payload that fits; false when one is larger than a layout takes, or longer than it was.
func (s *stencil) read(m *[stencilRoom]byte, nums *[numPlaces]int64) bool {
	// What is used in the loops is looked up once.
	shorts, flags, longs, over := s.shorts, s.flags, s.longs, uint32(0)
	_, _ = *m, *nums
	for i := range shorts {
		k := &shorts[i]
		x := m[k.at]
		nums[k.to%numPlaces] = int64(x)
		over |= uint32(k.most) - uint32(x)
	}
	if over>>31 != 0 {
		return false
	}
	for i := range flags {
		k := &flags[i]
		nums[k.to%numPlaces] = int64(m[k.at] >> 4)
	}
	for i := range longs {
		k := &longs[i]
		at := int(k.at)
		w := binary.LittleEndian.Uint64(m[at+1:at+9]) & k.keep
		x := uint64(m[at]) + (joinSevens(w)+k.higher)<<4
		if x > k.most {
			return false
		}
		nums[k.to%numPlaces] = int64(x)
	}
	return true
}

// stencilled is the server of a payload that fits, nil when it was not among the last, or is another process's than the last one.
func (d *decoder) stencilled(s *stencil, m *[stencilRoom]byte) *known {
	if !s.names || !d.bootIsCommon {
		return nil
	}
	boot, backend, server := (*[bootSize]byte)(m[s.bootAt:]), (*[16]byte)(m[s.backendAt:]), (*[16]byte)(m[s.serverAt:])
	if binary.LittleEndian.Uint64(boot[:]) != d.bootWords[0] || binary.LittleEndian.Uint64(boot[8:]) != d.bootWords[1] {
		return nil
	}
	var e endings
	e.backend, e.backend2 = binary.LittleEndian.Uint64(backend[8:])&s.backendMask[0], binary.LittleEndian.Uint64(backend[:])&s.backendMask[1]
	e.server, e.server2 = binary.LittleEndian.Uint64(server[8:])&s.serverMask[0], binary.LittleEndian.Uint64(server[:])&s.serverMask[1]
	e.sizes = s.nameSizes
	knowns := d.knowns
	for i := e.place(); ; {
		if k := &knowns[i%maxKnown]; k.ends.differ(&e) == 0 {
			return k
		}
		if i++; i%waysKnown == 0 {
			return nil
		}
	}
}

// cutNames takes what stencilled needs.
func (s *stencil) cutNames() {
	boot, backend, server := s.texts[textBoot], s.texts[textBackend], s.texts[textServer]
	common := func(s span) bool { return s.from < s.to && s.to-s.from < 16 && s.to >= 16 }
	if s.names = boot.to-boot.from == bootSize && common(backend) && common(server); !s.names {
		return
	}
	s.bootAt, s.backendAt, s.serverAt = uint8(boot.from), uint8(backend.to-16), uint8(server.to-16)
	s.backendMask, s.serverMask = nameMasks[backend.to-backend.from], nameMasks[server.to-server.from]
	s.nameSizes = sizesOf(backend, server)
}

// stencils are those of the payloads read last.
type stencils struct {
	list [maxStencils]stencil
	// misses counts payloads that had to be read along their layout, by their stencil's place in the list.
	misses [maxStencils]uint16
}

// of is the stencil for payloads of that size, if there is one.
func (l *stencils) of(size int) *stencil { return &l.list[size%maxStencils] }

// learn takes the stencil of a payload that has been read along k to its end, now and then, if its place is free.
func (l *stencils) learn(k *layout, b []byte) {
	i := len(b) % maxStencils
	s := &l.list[i]
	if s.size != 0 && s.size != len(b) {
		s.missed()
	}
	if l.misses[i]++; l.misses[i]%learnEvery == 1 && s.size == 0 && len(b) <= stencilBytes && s.cut(k, b) {
		s.size, s.worth = len(b), firstWorth
	}
}

// fitted and missed tell what became of a payload of the stencil's size.
func (s *stencil) fitted() {
	if s.worth < mostWorth {
		s.worth++
	}
}

func (s *stencil) missed() {
	if s.worth -= 2; s.worth < 0 {
		s.size = 0
	}
}

// forget forgets all: a stencil tells only what the layout that it was cut along takes.
func (l *stencils) forget() {
	for i := range l.list {
		l.list[i].size, l.misses[i] = 0, 0
	}
}

// cut makes a stencil of a payload that the layout fits; false when it has something that stencils do not know.
func (s *stencil) cut(k *layout, b []byte) bool {
	s.shorts, s.flags, s.longs, s.texts = s.shorts[:0], s.flags[:0], s.longs[:0], [textCount]span{}
	// What is not a value is to be as it is.
	var mask [stencilRoom]byte
	for i := range b {
		mask[i] = 0xff
	}
	name, rest, ok := readString(b)
	if !ok || string(name) != messageDone || len(rest) == 0 || int(rest[0]) != k.n {
		return false
	}
	at := len(b) - len(rest) + 1
	for i := range k.places[:k.n] {
		p := &k.places[i]
		value := at + int(p.head)
		v, rest, ok := readValue(b[value-1:])
		if !ok || v.kind == typeddata.TypeNull {
			return false
		}
		next := len(b) - len(rest)
		flags := b[value-1] >> 4
		switch {
		case p.shape == shapeBool && flags <= 1:
			mask[value-1] = 0xef
			s.flags = append(s.flags, shortNumber{at: uint8(value - 1), to: p.to})
		case flags != 0:
			return false
		case p.shape == shapeText:
			s.texts[p.to] = span{uint32(value + 1), uint32(next)}
			clear(mask[value+1 : next])
		case next == value+1:
			mask[value] = 0
			s.shorts = append(s.shorts, shortNumber{at: uint8(value), to: p.to, most: uint8(min(p.most, shortVarint-1))})
		case next-value > 9:
			return false
		default:
			s.cutLong(p, mask[value:next], value)
		}
		at = next
	}
	if at != len(b) {
		return false
	}
	s.cutNames()
	s.cutWords(b, &mask)
	return true
}

// cutWords cuts what is no value, which is told by the mask, into words.
func (s *stencil) cutWords(b []byte, mask *[stencilRoom]byte) {
	var want [stencilRoom]byte
	copy(want[:], b)
	s.words = s.words[:0]
	for at := 0; at < len(b); {
		if mask[at] == 0 {
			at++
			continue
		}
		s.words = append(s.words, stencilWord{binary.LittleEndian.Uint64(mask[at:]), binary.LittleEndian.Uint64(want[at:]), uint8(at)})
		at += 8
	}
}

// cutLong cuts out a number of more than one byte: of its bytes only their bits that say how many there are have to stay as they are.
func (s *stencil) cutLong(p *place, mask []byte, at int) {
	last := len(mask) - 2 // counted from the byte after the first
	mask[0] = shortVarint
	for i := range mask[1:] {
		mask[1+i] = 1 << 7
	}
	s.longs = append(s.longs, longNumber{
		at: uint8(at), to: p.to, most: p.most, keep: lowBytes(last+1) &^ highBits, higher: varintHighest[last],
	})
}
