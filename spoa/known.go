package spoa

import (
	"encoding/binary"
	"math/bits"
)

const (
	maxKnown = 512
	// waysKnown is in how many places a pair of names may be.
	waysKnown = 4
)

// known is what a decoder remembers of a server that it has heard of: its names, and what its meter knows it by, which is nil as
// long as it has not said so. A meter checks what it finds there, for it may have forgotten them meanwhile.
type known struct {
	ends                    endings
	backendName, serverName string
	backend                 *backend
	server                  *server
	// group is where the backend's samples wait in the batch, if they do.
	group uint8
}

// endings are the last 16 bytes of a backend's and a server's name, as two words each with zeros in front, and their lengths.
// Names shorter than that are the same when their endings are.
type endings struct {
	backend, server, backend2, server2 uint64
	// sizes are the lengths, that of the backend's name in the upper half.
	sizes uint64
}

// endWords are the last 16 bytes of the name that stands at s in b, the last eight first.
func endWords(b []byte, s span) (last, before uint64) {
	if s.to < 16 || int(s.to) > len(b) {
		var w [16]byte
		name := s.of(b)
		name = name[max(0, len(name)-16):]
		copy(w[16-len(name):], name)
		return binary.LittleEndian.Uint64(w[8:]), binary.LittleEndian.Uint64(w[:])
	}
	w := (*[16]byte)(b[s.to-16:])
	m := &nameMasks[min(s.to-s.from, 16)]
	return binary.LittleEndian.Uint64(w[8:]) & m[0], binary.LittleEndian.Uint64(w[:]) & m[1]
}

// nameMasks are the parts of the two words that belong to a name of that length.
var nameMasks = func() (t [17][2]uint64) {
	for n := range t {
		t[n] = [2]uint64{^lowBytes(8 - n), ^lowBytes(16 - n)}
	}
	return t
}()

// knownServers are the servers that a decoder heard of last, by a hash of their names. What is found is compared with the names
// from the wire.
type knownServers [maxKnown]known

// find is the place of the names that have these endings, or that of the one to give way to them: one of waysKnown.
func (k *knownServers) find(b []byte, at *[textCount]span, e *endings) (i uint64, found bool) {
	hi, lo := bits.Mul64(e.backend+e.backend2*3^0x9e3779b97f4a7c15, e.server+e.server2*5^0xc2b2ae3d27d4eb4f)
	i = (hi ^ lo) % maxKnown &^ (waysKnown - 1)
	for end := i + waysKnown; i < end; i++ {
		c := &k[i%maxKnown]
		if c.ends.server == e.server && c.ends.backend == e.backend && c.ends.server2 == e.server2 && c.ends.backend2 == e.backend2 && c.ends.sizes == e.sizes &&
			(e.sizes&^(15<<32|15) == 0 || c.serverName == string(at[textServer].of(b)) && c.backendName == string(at[textBackend].of(b))) {
			return i, true
		}
	}
	return i - waysKnown, false
}

// claim makes room for another pair at place i, the first of those where it may be. The one that came first gives way.
func (k *knownServers) claim(i uint64) *known {
	copy(k[i+1:i+waysKnown], k[i:i+waysKnown-1])
	return &k[i]
}

// take hands on what the layout has read from b. It is false when something must be counted or refused, which has not been done.
func (d *decoder) take(b []byte) bool {
	n, texts := &d.layout.nums, &d.layout.texts
	status := n[numStatus]
	if status != Absent && status < minStatus {
		return false
	}
	var t logTimes
	if text := texts[textTimes].of(b); len(text) > 0 {
		if !t.parse(text) {
			return false
		}
	} else if !t.gather(n, texts[textRetries].of(b)) {
		return false
	}
	queue, connect, response, ok := spans(n[numT0], t.connected, n[numT2], t.queue, t.connect, n[numTr])
	if !ok {
		return false
	}
	boot, k := d.takeNames(b)
	if k == nil {
		return false
	}
	a := d.room()
	a.boot, a.status = boot, int16(status)
	a.queue, a.connect, a.response = queue, connect, response
	a.serverConns, a.backendConns, a.queued = int32(max(t.serverConns, Absent)), int32(n[numBackendConns]), int32(n[numQueued])
	started, current, noResponse, answered := n[numStarted], n[numCurrent], n[numNoResponse], n[numAnswered]
	c := &a.counters
	c.Started, c.Current, c.NoResponse = uint32(max(started, 0)), uint32(max(current, 0)), uint32(max(noResponse, 0))
	c.Answered, c.AnswersKnown = uint32(max(answered, 0)), answered >= 0
	c.Known = started|current|noResponse >= 0
	if a.backendConns == Absent && c.Known && c.Current < maxGauge {
		a.backendConns = int32(c.Current)
	}
	id := texts[textID].of(b)
	d.hand(k, id[:min(len(id), maxID)], &t)
	return true
}

// gather is parse where the numbers are arguments, but for the retries, which may be a text.
func (t *logTimes) gather(n *[numPlaces]int64, retries []byte) (ok bool) {
	t.queue, t.connect, t.connected, t.serverConns = n[numTw], n[numTc], n[numT1], n[numServerConns]
	t.retries, t.redispatched = int(n[numRetries]), n[numRedispatched] > 0
	if len(retries) > 0 {
		var redispatched bool
		t.retries, redispatched, ok = parseRetries(retries)
		t.redispatched = t.redispatched || redispatched
		return ok
	}
	return true
}

// takeNames returns the boot id and the server of the sample; nil when a name is not one, or there is no backend. No name is
// kept for Other, which must not come from the wire.
func (d *decoder) takeNames(b []byte) (bootID string, k *known) {
	at := &d.layout.texts
	if at[textBackend].from == at[textBackend].to {
		return "", nil
	}
	ok, boot := true, at[textBoot].of(b)
	if bootID = d.boot; bootID != string(boot) {
		if bootID, ok = d.nameOrNone(boot); !ok {
			return "", nil
		}
		if bootID != Other {
			d.boot = bootID
		}
	}
	if d.knowns == nil {
		d.knowns = &knownServers{}
	}
	var ends endings
	ends.backend, ends.backend2 = endWords(b, at[textBackend])
	ends.server, ends.server2 = endWords(b, at[textServer])
	ends.sizes = uint64(at[textBackend].to-at[textBackend].from)<<32 | uint64(at[textServer].to-at[textServer].from)
	i, found := d.knowns.find(b, at, &ends)
	if found {
		return bootID, &d.knowns[i]
	}
	fresh := known{ends: ends}
	if fresh.backendName, ok = d.nameOrNone(at[textBackend].of(b)); !ok {
		return "", nil
	}
	if fresh.serverName, ok = d.nameOrNone(at[textServer].of(b)); !ok {
		return "", nil
	}
	// Samples that wait point to places that are about to change.
	d.settle()
	if k = &d.stranger; fresh.backendName != Other && fresh.serverName != Other {
		k = d.knowns.claim(i)
	}
	*k = fresh
	return bootID, k
}

func (d *decoder) nameOrNone(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", true
	}
	return d.names.of(d.now, b)
}
