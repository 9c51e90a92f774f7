package filemarks

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/agent/adapter"
	"github.com/tidegate/tidegate/agent/proc"
)

// maxNames bounds the names in one mark directory; more than that cannot be requests in progress on one machine.
const maxNames = 20000

// forgetEvery is after how many scans a process without marks is no longer watched.
const forgetEvery = 50

// Source counts file marks. It is for one goroutine.
type Source struct {
	dir  string
	scan dirScanner
	ends proc.Ends

	gen    uint64
	names  map[string]*seenMark
	makers map[proc.ID]*maker
	count  adapter.Count

	// marked: a mark of this application was seen; tellsBoot: its processes say when they can serve.
	marked, tellsBoot bool
}

type seenMark struct {
	mark
	// first and last are the scans that saw it.
	first, last uint64
	by          *maker
}

// maker is a process with marks.
type maker struct {
	// gen is the scan that what follows was gathered in; watched outlives it.
	gen                 uint64
	watched             bool
	busy                int
	newest              uint64
	booted              bool
	lasting, bootedLong bool
	dead                bool
}

// New returns the source of the marks in dir, an absolute path; nothing is opened.
func New(dir string) *Source {
	return &Source{dir: dir, names: map[string]*seenMark{}, makers: map[proc.ID]*maker{},
		count: adapter.Count{ByProc: map[proc.ID]adapter.Work{}, Booted: map[proc.ID]bool{}}}
}

// Count scans the directory once.
func (s *Source) Count(family *adapter.Family) (adapter.Count, error) {
	s.gen++
	s.count = adapter.Count{ByProc: s.count.ByProc, Booted: s.count.Booted, Trust: adapter.Exact}
	clear(s.count.ByProc)
	clear(s.count.Booted)
	err := s.scan.scan(s.dir, maxNames, s.see, func(fd int) {
		s.group()
		s.bury(fd)
	})
	if errors.Is(err, os.ErrNotExist) {
		return adapter.Count{}, fmt.Errorf("the mark directory %s does not exist", s.dir)
	}
	if err != nil {
		return adapter.Count{}, err
	}
	for p, m := range s.makers {
		if m.dead {
			continue
		}
		if m.booted {
			s.count.Booted[p] = true
		}
		if m.busy > 0 && family.Has(p) {
			s.count.ByProc[p] = adapter.Work{Busy: m.busy, Newest: m.newest}
			s.count.Busy += m.busy
		}
	}
	s.notice(family)
	if !s.marked {
		return s.count, fmt.Errorf("no mark of this application has been seen in %s since the agent started; is the middleware in use?", s.dir)
	}
	return s.count, nil
}

// notice remembers whether a mark of the family was ever seen, and whether the processes here say when they can serve. An
// empty directory is otherwise the same as a middleware that is not installed, and must not pass for an idle application.
func (s *Source) notice(f *adapter.Family) {
	for p := range s.count.Booted {
		if f.Has(p) {
			s.tellsBoot, s.marked = true, true
		}
	}
	s.marked = s.marked || s.count.Busy > 0
	s.count.TellsBoot = s.tellsBoot
}

// Close lets go of the processes that have marks; the next count takes them up again.
func (s *Source) Close() error {
	s.ends.Close()
	s.scan.close()
	clear(s.makers)
	clear(s.names)
	return nil
}

// Owns is the directory.
func (s *Source) Owns() []string { return []string{s.dir} }

// see takes one name of the directory.
func (s *Source) see(name []byte) {
	if e := s.names[string(name)]; e != nil {
		e.last = s.gen
		return
	}
	m, ok := parseMark(name)
	if !ok {
		s.count.Foreign++
		return
	}
	by := s.makers[m.proc]
	if by == nil {
		by = &maker{}
		s.makers[m.proc] = by
	}
	s.names[string(name)] = &seenMark{mark: m, first: s.gen, last: s.gen, by: by}
}

// group forgets the names that are gone and gathers the others by process.
func (s *Source) group() {
	for name, e := range s.names {
		if e.last != s.gen {
			delete(s.names, name)
			continue
		}
		m := e.by
		if m.gen != s.gen {
			*m = maker{gen: s.gen, watched: m.watched}
		}
		again := e.first != e.last
		if e.kind == 'w' {
			m.booted, m.bootedLong = true, m.bootedLong || again
		} else {
			m.busy, m.newest, m.lasting = m.busy+1, max(m.newest, e.seq+1), m.lasting || again
		}
	}
	for p, m := range s.makers {
		if m.gen != s.gen {
			delete(s.makers, p)
		}
	}
}

// bury removes the marks of dead processes from the directory open at fd. Most requests end within one scan, so only
// a process with a mark seen in two consecutive scans is watched, and then for as long as it has any.
func (s *Source) bury(fd int) {
	dead := 0
	lost := func(p proc.ID) {
		if m := s.makers[p]; m != nil && !m.dead {
			m.dead, m.watched = true, false
			dead++
		}
	}
	if !s.ends.Look(lost) {
		s.count.Problem = "whether the processes with marks in " + s.dir + " are alive cannot be told"
	}
	for p, m := range s.makers {
		if (m.lasting || m.bootedLong) && !m.dead && !m.watched {
			if m.watched = s.ends.Watch(p); !m.watched {
				lost(p)
			}
		}
	}
	if s.gen%forgetEvery == 0 {
		s.ends.Keep(func(p proc.ID) bool { return s.makers[p] != nil })
	}
	if dead == 0 {
		return
	}
	for name, e := range s.names {
		if !s.makers[e.proc].dead {
			continue
		}
		err := unix.Unlinkat(fd, name, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			s.count.Problem = fmt.Sprintf("the stale mark %s in %s cannot be removed: %v", name, s.dir, err)
			continue
		}
		s.count.Removed++
		delete(s.names, name)
	}
}
