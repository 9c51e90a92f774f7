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
	ends    endings
	backend *backend
	server  *server
	// group is where the backend's samples wait in the batch, if they do.
	group                   uint8
	backendName, serverName string
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
	return endWordsAt((*[16]byte)(b[s.to-16:]), s)
}

// endWordsAt is endWords where so many bytes stand before the end of the name.
func endWordsAt(w *[16]byte, s span) (last, before uint64) {
	m := &nameMasks[min(s.to-s.from, 16)]
	return binary.LittleEndian.Uint64(w[8:]) & m[0], binary.LittleEndian.Uint64(w[:]) & m[1]
}

// sizesOf are the lengths of both names.
func sizesOf(backend, server span) uint64 {
	return uint64(backend.to-backend.from)<<32 | uint64(server.to-server.from)
}

// read takes the endings of both names.
func (e *endings) read(b []byte, backend, server span) {
	e.sizes = sizesOf(backend, server)
	if min(backend.to, server.to) >= 16 && int(max(backend.to, server.to)) <= len(b) {
		e.backend, e.backend2 = endWordsAt((*[16]byte)(b[backend.to-16:]), backend)
		e.server, e.server2 = endWordsAt((*[16]byte)(b[server.to-16:]), server)
		return
	}
	e.backend, e.backend2 = endWords(b, backend)
	e.server, e.server2 = endWords(b, server)
}

// place is the first of the places where a server with such names may be kept.
func (e *endings) place() uint64 {
	hi, lo := bits.Mul64(e.backend+e.backend2*3^0x9e3779b97f4a7c15, e.server+e.server2*5^0xc2b2ae3d27d4eb4f)
	return (hi ^ lo) % maxKnown &^ (waysKnown - 1)
}

// differ is 0 for the same endings.
func (e *endings) differ(o *endings) uint64 {
	return (e.server ^ o.server) | (e.backend ^ o.backend) | (e.server2 ^ o.server2) | (e.backend2 ^ o.backend2) | (e.sizes ^ o.sizes)
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
	i = e.place()
	for end := i + waysKnown; i < end; i++ {
		c := &k[i%maxKnown]
		if c.ends.differ(e) == 0 && (e.sizes&^(15<<32|15) == 0 || c.serverName == string(at[textServer].of(b)) && c.backendName == string(at[textBackend].of(b))) {
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

// take hands on the numbers that the layout has, and the texts in b. It is false when something must be counted or refused, which
// has not been done.
func (d *decoder) take(b []byte, texts *[textCount]span, s *stencil) bool {
	n := &d.layout.nums
	status := n[numStatus]
	if status != Absent && status < minStatus {
		return false
	}
	var t logTimes
	if at := texts[textTimes]; at.from != at.to {
		if !t.parse(at.of(b)) {
			return false
		}
	} else if !t.gather(n, texts[textRetries].of(b)) {
		return false
	}
	queue, connect, response, ok := spans(n[numT0], t.connected, n[numT2], t.queue, t.connect, n[numTr])
	if !ok {
		return false
	}
	boot, k := d.boot, (*known)(nil)
	if s != nil {
		k = d.stencilled(s, (*[stencilRoom]byte)(b[:stencilRoom]))
	}
	if k == nil {
		if boot, k = d.takeNames(b, texts); k == nil {
			return false
		}
	}
	a, w := &d.answer, d.batch
	if w != nil {
		a = w.room()
	}
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
	var id []byte
	if at := texts[textID]; at.from != at.to {
		id = b[at.from:min(at.to, at.from+maxID)]
	}
	d.dones++
	if w == nil {
		d.tell(k, id, &t)
		return true
	}
	if w.n == 0 && w.now != d.now {
		w.begin(d.now, d.meter.shared)
	}
	// The first sample of a server is recorded at once, so that those of one backend stay in their order.
	if w.add(k, id); w.n == mostPending || k.backend == nil {
		d.settle()
	}
	return true
}

// tell hands the answer to a sink that takes one at a time. t has what is told of the connection to the server.
func (d *decoder) tell(k *known, id []byte, t *logTimes) {
	d.sample = d.answer.sample(k)
	d.sample.ID, d.sample.Retries, d.sample.Redispatched = id, t.retries, t.redispatched
	d.sink.Done(d.now, &d.sample)
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
func (d *decoder) takeNames(b []byte, at *[textCount]span) (bootID *string, k *known) {
	if at[textBackend].from == at[textBackend].to {
		return nil, nil
	}
	if d.knowns == nil {
		d.knowns = &knownServers{}
	}
	boot := at[textBoot].of(b)
	if bootID = d.boot; bootID == nil || *bootID != string(boot) {
		name, ok := d.nameOrNone(boot)
		if !ok {
			return nil, nil
		}
		if bootID = &otherName; name != Other {
			d.setBoot(name)
			bootID = d.boot
		}
	}
	var ends endings
	ends.read(b, at[textBackend], at[textServer])
	i, found := d.knowns.find(b, at, &ends)
	if found {
		return bootID, &d.knowns[i]
	}
	fresh, ok := known{ends: ends}, false
	if fresh.backendName, ok = d.nameOrNone(at[textBackend].of(b)); !ok {
		return nil, nil
	}
	if fresh.serverName, ok = d.nameOrNone(at[textServer].of(b)); !ok {
		return nil, nil
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

// otherName is where Other stands as the name of a process.
var otherName = Other

// setBoot remembers the name of the process that told the last sample.
func (d *decoder) setBoot(name string) {
	d.boot, d.bootIsCommon = d.bootNames.of(name), len(name) == bootSize
	if d.bootIsCommon {
		w := []byte(name)
		d.bootWords = [2]uint64{binary.LittleEndian.Uint64(w), binary.LittleEndian.Uint64(w[8:])}
	}
}

// bootNames holds the names of processes heard of last, each in a place of its own that is written once.
type bootNames [maxBoots]*string

// of is where the name is.
func (l *bootNames) of(name string) *string {
	for _, p := range l {
		if p != nil && *p == name {
			return p
		}
	}
	kept := name
	copy(l[1:], l[:])
	l[0] = &kept
	return l[0]
}
