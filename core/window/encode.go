package window

import "encoding/binary"

// One entry of the compact past is either a run of idle seconds or a bucket of one or more seconds:
//
//	1nnnnnnn                    n+1 idle seconds
//	0wrcqtek [width] arrivals [completions-arrivals] [errors] [timed-completions] [queue] [connect] [response]
//
// A bit of the first byte tells that the field follows; those that do not are 0, the width 1. All are varints, differences
// zigzag. A second of a backend with some requests takes 8 to 10 bytes.
const (
	idleRun   = 0x80
	maxRun    = 0x80
	bitComp   = 1 << 0
	bitErrors = 1 << 1
	bitTimed  = 1 << 2
	bitQueue  = 1 << 3
	bitConn   = 1 << 4
	bitResp   = 1 << 5
	bitWidth  = 1 << 6
	// maxEntry is the size of the largest entry.
	maxEntry = 1 + 4*binary.MaxVarintLen32 + 4*binary.MaxVarintLen64
)

// cell is a Bucket in less space: counts stop at 2^32-1.
type cell struct {
	arrivals, completions, errors, timed uint32
	queue, connect, response             uint64
}

func (c *cell) add(b *Bucket) {
	c.arrivals, c.completions = addTo(c.arrivals, b.Arrivals), addTo(c.completions, b.Completions)
	c.errors, c.timed = addTo(c.errors, b.Errors), addTo(c.timed, b.Timed)
	c.queue, c.connect, c.response = c.queue+b.Queue, c.connect+b.Connect, c.response+b.Response
}

func (c *cell) bucket() Bucket {
	return Bucket{uint64(c.arrivals), uint64(c.completions), uint64(c.errors), uint64(c.timed), c.queue, c.connect, c.response}
}

func addTo(a uint32, n uint64) uint32 { return uint32(min(uint64(a)+min(n, 1<<32), 1<<32-1)) }

// addOne is addTo for an n of 0 or 1.
func addOne(a, n uint32) uint32 {
	if a+n < a {
		return a
	}
	return a + n
}

// appendIdle appends n idle seconds.
func appendIdle(dst []byte, n int64) []byte {
	for ; n > maxRun; n -= maxRun {
		dst = append(dst, idleRun|(maxRun-1))
	}
	if n > 0 {
		dst = append(dst, byte(idleRun|(n-1)))
	}
	return dst
}

// appendCell appends one bucket of width seconds.
func appendCell(dst []byte, c *cell, width int64) []byte {
	at := len(dst)
	dst = append(dst, 0)
	flags := byte(0)
	put := func(bit byte, v uint64) {
		if v != 0 {
			flags |= bit
			dst = binary.AppendUvarint(dst, v)
		}
	}
	put(bitWidth, uint64(width-1))
	dst = binary.AppendUvarint(dst, uint64(c.arrivals))
	put(bitComp, zigzag(int64(c.completions)-int64(c.arrivals)))
	put(bitErrors, uint64(c.errors))
	put(bitTimed, zigzag(int64(c.timed)-int64(c.completions)))
	put(bitQueue, c.queue)
	put(bitConn, c.connect)
	put(bitResp, c.response)
	dst[at] = flags
	return dst
}

// nextEntry reads the entry at the front of b and returns how many seconds it covers.
func nextEntry(b []byte, c *cell) (width int64, rest []byte) {
	flags := b[0]
	b = b[1:]
	*c = cell{}
	if flags&idleRun != 0 {
		return int64(flags&^idleRun) + 1, b
	}
	get := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	when := func(bit byte) uint64 {
		if flags&bit == 0 {
			return 0
		}
		return get()
	}
	width = int64(when(bitWidth)) + 1
	c.arrivals = uint32(get())
	c.completions = uint32(int64(c.arrivals) + unzigzag(when(bitComp)))
	c.errors = uint32(when(bitErrors))
	c.timed = uint32(int64(c.completions) + unzigzag(when(bitTimed)))
	c.queue, c.connect, c.response = when(bitQueue), when(bitConn), when(bitResp)
	return width, b
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
