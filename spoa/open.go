package spoa

import (
	"hash/maphash"
	"time"

	"github.com/tidegate/tidegate/core/window"
)

const (
	// maxOpen bounds the requests of one backend that are followed at once.
	maxOpen = 1 << 14
	// openBlock is how many places are added at a time, openBytes what one takes, its place in the map included.
	openBlock = 64
	openBytes = 112
	// openSlack is how long an arrival and a heartbeat may take to us: they come over connections of their own, so that the
	// heartbeat's number may be from before an arrival that we have read already.
	openSlack = 250 * time.Millisecond
	none      = -1
)

// openSet holds the requests of one backend that have come and have not been answered, oldest first, by a hash of their
// ids with a seed of its own. Ids come from the wire: a double is one request, and one that is never closed leaves when
// HAProxy says that fewer are open, or when it is too old. A nil set is an empty one that nothing was ever told to.
//
// It is a lower bound, in number and in age. Requests that end without a server's answer are told by nobody; when there
// are more ids than open requests, the oldest are dropped: of any n open requests, the oldest is at least as old as the
// n-th youngest id.
type openSet struct {
	budget *window.Budget
	expire int64 // nanoseconds
	seed   maphash.Seed

	arrivals uint64
	boot     string // of the last arrival
	index    map[uint64]int32
	slab     []openRequest
	// oldest and newest are the ends of the list, free is the first place not in use.
	oldest, newest, free int32
}

// openRequest is one request; prev is older, next younger, or the next free place.
type openRequest struct {
	key        uint64
	at         int64
	boot       string
	prev, next int32
}

func newOpenSet(budget *window.Budget, expire time.Duration) *openSet {
	s := &openSet{budget: budget, expire: int64(expire), seed: maphash.MakeSeed()}
	s.clear()
	return s
}

// clear forgets all requests and gives their memory back.
func (s *openSet) clear() {
	s.budget.Give(len(s.slab) * openBytes)
	s.index, s.slab = nil, nil
	s.oldest, s.newest, s.free = none, none, none
}

// len is the number of requests, those of all processes.
func (s *openSet) len() int {
	if s == nil {
		return 0
	}
	return len(s.index)
}

// open enters a request; false when there is no room for it. at does not go back by more than connections differ.
func (s *openSet) open(at int64, boot string, id []byte) bool {
	s.drop(at)
	key := maphash.Bytes(s.seed, id)
	if _, known := s.index[key]; known {
		return true
	}
	if s.free == none && !s.grow() {
		return false
	}
	i := s.free
	r := &s.slab[i]
	s.free = r.next
	*r = openRequest{key: key, at: at, boot: boot, prev: s.newest, next: none}
	if s.newest == none {
		s.oldest = i
	} else {
		s.slab[s.newest].next = i
	}
	s.newest = i
	s.index[key] = i
	return true
}

// grow adds places, unless there are enough or there is no memory for them.
func (s *openSet) grow() bool {
	n := len(s.slab)
	if n >= maxOpen || !s.budget.Take(openBlock*openBytes) {
		return false
	}
	if s.index == nil {
		s.index = make(map[uint64]int32, openBlock)
	}
	s.slab = append(s.slab, make([]openRequest, openBlock)...)
	for i := n + openBlock - 1; i >= n; i-- {
		s.slab[i].next, s.free = s.free, int32(i)
	}
	return true
}

// close ends a request that has been answered; ids that are not known are ignored.
func (s *openSet) close(id []byte) {
	if s.len() == 0 || len(id) == 0 {
		return
	}
	if i, ok := s.index[maphash.Bytes(s.seed, id)]; ok {
		s.remove(i)
	}
}

func (s *openSet) remove(i int32) {
	r := &s.slab[i]
	if r.prev == none {
		s.oldest = r.next
	} else {
		s.slab[r.prev].next = r.next
	}
	if r.next == none {
		s.newest = r.prev
	} else {
		s.slab[r.next].prev = r.prev
	}
	delete(s.index, r.key)
	*r = openRequest{next: s.free}
	s.free = i
	if len(s.index) == 0 && len(s.slab) > openBlock {
		s.clear()
	}
}

// drop forgets requests that are too old.
func (s *openSet) drop(at int64) {
	for s.len() > 0 && at-s.slab[s.oldest].at > s.expire {
		s.remove(s.oldest)
	}
}

// reconcile takes what a heartbeat says is open in a process, and drops the oldest ids that are more.
func (s *openSet) reconcile(at int64, boot string, open int) {
	if open == Absent || s.len() == 0 {
		return
	}
	s.drop(at)
	surplus := -open
	for i := s.first(); i != none && at-s.slab[i].at >= int64(openSlack); i = s.slab[i].next {
		if s.slab[i].boot == boot {
			surplus++
		}
	}
	for i := s.first(); i != none && surplus > 0; {
		next := s.slab[i].next
		if s.slab[i].boot == boot {
			s.remove(i)
			surplus--
		}
		if len(s.slab) == 0 {
			return
		}
		i = next
	}
}

func (s *openSet) first() int32 {
	if s.len() == 0 {
		return none
	}
	return s.oldest
}

// report tells how many requests of a process are open and for how long the oldest is; n is Absent when that process has
// told of no arrival. boot is that of the last heartbeat, inFlight what it said; "" when there was none.
func (s *openSet) report(at int64, boot string, inFlight int) (n int, oldest time.Duration) {
	if s == nil {
		return Absent, 0
	}
	s.drop(at)
	since := at
	for i := s.first(); i != none; i = s.slab[i].next {
		if boot == "" || s.slab[i].boot == boot {
			since = min(since, s.slab[i].at)
			n++
		}
	}
	switch {
	case boot == "":
		return n, time.Duration(at - since)
	case n == 0 && s.boot != boot:
		return Absent, 0
	case min(n, inFlight) == 0:
		return 0, 0
	}
	// What has come since the heartbeat is not claimed before HAProxy says so.
	return min(n, inFlight), time.Duration(at - since)
}
