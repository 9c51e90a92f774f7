package agent

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Source counts the requests in progress of one application. It is used by one goroutine.
type Source interface {
	// Count reads the requests in progress now: those of the family, or of every process when family is nil. The error is
	// one sentence that says why nothing is known; it never stands for zero. The maps are valid until the next call.
	Count(family *Family) (Count, error)
}

// Family is a master process and its workers.
type Family struct {
	Master  Proc
	Workers map[Proc]bool
}

// has tells whether p is the master or one of the workers; everyone belongs to the nil family.
func (f *Family) has(p Proc) bool { return f == nil || p == f.Master || f.Workers[p] }

// Count is one reading of a source.
type Count struct {
	// Busy is the number of requests in progress, ByProc what is known of each process that has any.
	Busy   int
	ByProc map[Proc]Work
	// Booted are the processes that have said they can serve.
	Booted map[Proc]bool
	// Foreign is the number of names that are not marks, Removed that of the stale marks removed this time.
	Foreign, Removed int
	// Problem is a sentence about something that does not make the count wrong, empty when there is nothing to say.
	Problem string
}

// Work is what one process is doing.
type Work struct {
	// Busy is the number of requests in progress.
	Busy int
	// Newest numbers the youngest of them; it grows with each request that the process begins. 0 when that is not known.
	Newest uint64
}

// maxNames bounds the names in one mark directory; more than that cannot be requests in progress on one machine.
const maxNames = 20000

// recheck is after how many scans the mark of an idle worker is looked at again.
const recheck = 10

// marksSource counts file marks (the protocol of conf/marks).
type marksSource struct {
	dir  string
	scan dirScanner
	proc procReader

	gen    uint64
	names  map[string]*seenMark
	makers map[Proc]*maker
	count  Count
}

type seenMark struct {
	mark
	// first and last are the scans that saw it.
	first, last uint64
}

// maker is a process with marks.
type maker struct {
	busy                int
	newest              uint64
	booted              bool
	lasting, bootedLong bool
	dead                bool
}

func newMarksSource(dir string) *marksSource {
	return &marksSource{dir: dir, names: map[string]*seenMark{}, makers: map[Proc]*maker{},
		count: Count{ByProc: map[Proc]Work{}, Booted: map[Proc]bool{}}}
}

// Count scans the directory once.
func (s *marksSource) Count(family *Family) (Count, error) {
	s.gen++
	s.count = Count{ByProc: s.count.ByProc, Booted: s.count.Booted}
	clear(s.count.ByProc)
	clear(s.count.Booted)
	err := s.scan.scan(s.dir, maxNames, s.see, func(fd int) {
		s.group()
		s.bury(fd, family)
	})
	if errors.Is(err, os.ErrNotExist) {
		return Count{}, fmt.Errorf("the mark directory %s does not exist", s.dir)
	}
	if err != nil {
		return Count{}, err
	}
	for p, m := range s.makers {
		if m.dead {
			continue
		}
		if m.booted {
			s.count.Booted[p] = true
		}
		if m.busy > 0 && family.has(p) {
			s.count.ByProc[p] = Work{Busy: m.busy, Newest: m.newest}
			s.count.Busy += m.busy
		}
	}
	return s.count, nil
}

// see takes one name of the directory.
func (s *marksSource) see(name []byte) {
	if e := s.names[string(name)]; e != nil {
		e.last = s.gen
		return
	}
	m, ok := parseMark(name)
	if !ok {
		s.count.Foreign++
		return
	}
	s.names[string(name)] = &seenMark{mark: m, first: s.gen, last: s.gen}
}

// group forgets the names that are gone and gathers the others by process.
func (s *marksSource) group() {
	clear(s.makers)
	for name, e := range s.names {
		if e.last != s.gen {
			delete(s.names, name)
			continue
		}
		m := s.makers[e.proc]
		if m == nil {
			m = &maker{}
			s.makers[e.proc] = m
		}
		again := e.first != e.last
		if e.kind == 'w' {
			m.booted, m.bootedLong = true, m.bootedLong || again
		} else {
			m.busy, m.newest, m.lasting = m.busy+1, max(m.newest, e.seq+1), m.lasting || again
		}
	}
}

// bury removes the marks of dead processes from the directory open at fd. Most requests end within one scan, so only
// a process with a mark seen in two consecutive scans is looked at, and an idle worker of the family now and then.
func (s *marksSource) bury(fd int, family *Family) {
	dead := 0
	for p, m := range s.makers {
		idleDue := m.bootedLong && ((family != nil && !family.has(p)) || (s.gen+uint64(p.PID))%recheck == 0)
		if (m.lasting || idleDue) && !s.proc.alive(p) {
			m.dead = true
			dead++
		}
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

// noSource stands where an application has no mark directory.
type noSource struct{}

func (noSource) Count(*Family) (Count, error) {
	return Count{}, errors.New("no source of busy counts is configured")
}
