package spoa

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	maxNameLen = 128
	// maxNames is the number of names a server knows at once: a thousand backends with fifty servers of unlike names, and
	// some more.
	maxNames = 1 << 16
	// namesResetEvery bounds how often a full table may be emptied, and so how much a flood of names can cost.
	namesResetEvery = time.Minute
	cachedNames     = 64
)

// Other stands for every name that found no place in a bounded table. No proxy or server can be called so.
const Other = "(other)"

// nameTable holds every name once, for all connections. It is bounded: a full table is emptied, at most once a minute, so
// that names of servers long gone do not stay for ever.
type nameTable struct {
	seed  maphash.Seed
	mu    sync.RWMutex
	known map[string]string
	reset time.Time
}

func newNameTable() *nameTable {
	return &nameTable{seed: maphash.MakeSeed(), known: map[string]string{}}
}

// names turns the bytes of a name into a string, without allocating when the name is known. Each decoder has one of
// its own, which remembers the names seen last, so that it seldom takes the table's lock.
type names struct {
	table *nameTable
	cache [cachedNames]string
}

func newNames(t *nameTable) *names { return &names{table: t} }

// of returns the name b spells; ok is false when b is not a name at all.
func (n *names) of(now time.Time, b []byte) (name string, ok bool) {
	place := &n.cache[maphash.Bytes(n.table.seed, b)%cachedNames]
	if *place == string(b) {
		return *place, len(b) > 0
	}
	if name, ok = n.table.of(now, b); ok && name != Other {
		*place = name
	}
	return name, ok
}

func (t *nameTable) of(now time.Time, b []byte) (name string, ok bool) {
	t.mu.RLock()
	name, ok = t.known[string(b)]
	t.mu.RUnlock()
	if ok {
		return name, true
	}
	if !validName(b) {
		return "", false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if name, ok = t.known[string(b)]; ok {
		return name, true
	}
	if len(t.known) >= maxNames {
		if !t.reset.IsZero() && now.Sub(t.reset) < namesResetEvery {
			return Other, true
		}
		t.reset = now
		t.known = map[string]string{}
	}
	name = string(b)
	t.known[name] = name
	return name, true
}

// validName tells whether b could be a HAProxy proxy or server name: 1 to 128 of A-Z a-z 0-9 _ . : -
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > maxNameLen {
		return false
	}
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}
