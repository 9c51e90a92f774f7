package spoa

import (
	"encoding/binary"
	"time"
)

const maxKnown = 64

// known is what a connection remembers of a server that it has heard of: its names, and what its meter knows it by, which
// is nil as long as it has not said so. A meter checks what it finds there, for it may have forgotten them meanwhile.
type known struct {
	backendName, serverName string
	backend                 *backend
	server                  *server
}

// knownServers are the servers that a connection heard of last, by a hash of their names. What is found is compared with the
// names from the wire.
type knownServers [maxKnown]known

// find is the place of a pair of names, or the one to claim for it; they end there in b. It depends on their last eight
// bytes, with what stands before a shorter one, and is one of two.
func (k *knownServers) find(b []byte, backend, server span) (i uint64, found bool) {
	h := endWord(b, backend.to)*0x9e3779b97f4a7c15 ^ endWord(b, server.to)*0xc2b2ae3d27d4eb4f
	i = h >> 58 % maxKnown
	if k[i].is(backend.of(b), server.of(b)) {
		return i, true
	}
	if k[i^1].is(backend.of(b), server.of(b)) {
		return i ^ 1, true
	}
	return i, false
}

// claim frees place i for another pair. The newer one of the two that can be there stays, in the other place.
func (k *knownServers) claim(i uint64) *known {
	k[i^1] = k[i]
	return &k[i]
}

func (k *known) is(backend, server []byte) bool {
	return k.serverName == string(server) && k.backendName == string(backend)
}

func endWord(b []byte, end uint32) uint64 {
	if end < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b[end-8:])
}

// take makes a sample of what the layout has read from b. It is false when something must be counted or refused, which has
// not been done.
func (d *decoder) take(now time.Time, b []byte) bool {
	l, s := &d.layout, &d.sample
	if st := l.nums[numStatus]; st != Absent && st < minStatus || !d.takeNames(now, b) {
		return false
	}
	retries, redispatched := int(l.nums[numRetries]), false
	if text := l.texts[textRetries].of(b); len(text) > 0 {
		var ok bool
		if retries, redispatched, ok = parseRetries(text); !ok {
			return false
		}
	}
	stamps, timers := [3]int64(l.nums[numT0:]), [3]int64(l.nums[numTw:])
	s.Retries, s.Redispatched = retries, redispatched || l.nums[numRedispatched] > 0
	s.ServerConns, s.BackendConns, s.Queued = int(l.nums[numServerConns]), int(l.nums[numBackendConns]), int(l.nums[numQueued])
	if text := l.texts[textTimes].of(b); len(text) > 0 {
		t, ok := parseLogTimes(text)
		if !ok {
			return false
		}
		t.set(s, &stamps, &timers)
	}
	if !s.timing(&stamps, &timers) {
		return false
	}
	id := l.texts[textID].of(b)
	s.ID = id[:min(len(id), maxID)]
	s.Status = int(l.nums[numStatus])
	started, current, noResponse, answered := l.nums[numStarted], l.nums[numCurrent], l.nums[numNoResponse], l.nums[numAnswered]
	s.Counters = Counters{
		Started: uint32(max(started, 0)), Current: uint32(max(current, 0)), NoResponse: uint32(max(noResponse, 0)),
		Known: started|current|noResponse >= 0, Answered: uint32(max(answered, 0)), AnswersKnown: answered >= 0,
	}
	s.BackendConns = s.backendConns()
	return true
}

// takeNames sets the names of the sample; false when one is not a name, or there is no backend. No name is kept for Other,
// which must not come from the wire.
func (d *decoder) takeNames(now time.Time, b []byte) bool {
	s, at := &d.sample, &d.layout.texts
	boot, backend, server := at[textBoot].of(b), at[textBackend].of(b), at[textServer].of(b)
	if len(backend) == 0 {
		return false
	}
	ok := true
	if s.Boot = d.boot; s.Boot != string(boot) {
		if s.Boot, ok = d.nameOrNone(now, boot); !ok {
			return false
		}
		if s.Boot != Other {
			d.boot = s.Boot
		}
	}
	if d.knowns == nil {
		d.knowns = &knownServers{}
	}
	i, found := d.knowns.find(b, at[textBackend], at[textServer])
	k := &d.knowns[i]
	if !found {
		var fresh known
		if fresh.backendName, ok = d.nameOrNone(now, backend); !ok {
			return false
		}
		if fresh.serverName, ok = d.nameOrNone(now, server); !ok {
			return false
		}
		if fresh.backendName == Other || fresh.serverName == Other {
			k = &d.stranger
		}
		// Samples that wait point to places that are about to change.
		d.settle()
		if k != &d.stranger {
			k = d.knowns.claim(i)
		}
		*k = fresh
	}
	s.Backend, s.Server, d.known = k.backendName, k.serverName, k
	return true
}

func (d *decoder) nameOrNone(now time.Time, b []byte) (string, bool) {
	if len(b) == 0 {
		return "", true
	}
	return d.names.of(now, b)
}
