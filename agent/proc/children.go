package proc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Children follows the live children of one master. It is not safe for concurrent use.
type Children struct {
	proc   Reader
	master ID
	orders uint64
	known  map[int]*childInfo
	// zombies is the number of children that have ended and that the master has not noticed yet.
	zombies int
	ends    Ends
	// list is the master's list of children, kept open: to find it by its name costs ten times what reading it does.
	list *os.File
	// found and sorted are what the last look read and returned.
	found  []byte
	sorted []ID
}

// childInfo is what was read of a child; order is that of being first seen.
type childInfo struct {
	id    ID
	order uint64
}

// Look brings the children up to date and returns the live ones, oldest first; another master than the last time begins
// anew. A child is read when it is new and when it is missing from the list (the kernel may leave live ones out); its end is
// noticed even when nobody reaps it.
func (c *Children) Look(master ID) ([]ID, error) {
	if master != c.master || c.known == nil {
		c.ends.Close()
		c.closeList()
		c.master, c.known, c.found, c.sorted = master, map[int]*childInfo{}, nil, nil
	}
	list, err := c.read()
	if err != nil {
		c.closeList()
		return nil, fmt.Errorf("list the children of the master %d: %w", master.PID, err)
	}
	changed := false
	if !c.ends.Look(func(p ID) {
		if k := c.known[p.PID]; k != nil && k.id == p {
			delete(c.known, p.PID)
			changed = true
		}
	}) {
		return nil, fmt.Errorf("watch the children of the master %d: the kernel does not tell", master.PID)
	}
	if !changed && c.found != nil && bytes.Equal(list, c.found) && len(c.sorted) == bytes.Count(list, []byte{' '}) {
		return slices.Clone(c.sorted), nil
	}
	if len(list) == 0 && !c.proc.Alive(master) {
		c.closeList()
		return nil, fmt.Errorf("list the children of the master %d: %w", master.PID, ErrGone)
	}
	pids, err := parsePIDs(list)
	if err != nil {
		return nil, fmt.Errorf("list the children of the master %d: %w", master.PID, err)
	}
	c.found = append(c.found[:0], list...)
	c.zombies = 0
	listed := make(map[int]bool, len(pids))
	for _, pid := range pids {
		listed[pid] = true
		if c.known[pid] == nil {
			c.look(pid)
		}
	}
	for pid := range c.known {
		if !listed[pid] {
			c.look(pid)
		}
	}
	c.ends.Keep(func(p ID) bool { return c.known[p.PID] != nil && c.known[p.PID].id == p })
	c.sorted = c.sort()
	return slices.Clone(c.sorted), nil
}

// Zombies is how many children the last look found ended and not yet reaped: the master does something else.
func (c *Children) Zombies() int { return c.zombies }

// read returns the list of children as the kernel has it, from the open file if there is one.
func (c *Children) read() ([]byte, error) {
	if c.list == nil {
		id := strconv.Itoa(c.master.PID)
		f, err := os.Open("/proc/" + id + "/task/" + id + "/children")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return nil, ErrGone
		}
		if err != nil {
			return nil, err
		}
		c.list = f
	}
	return c.proc.all(int(c.list.Fd()))
}

func (c *Children) closeList() {
	if c.list != nil {
		_ = c.list.Close() // nothing was written
		c.list = nil
	}
}

// look reads one child and keeps it, or forgets it when it is none (any more).
func (c *Children) look(pid int) {
	st, err := c.proc.Stat(pid)
	if err == nil && st.Dead() && st.PPID == c.master.PID {
		c.zombies++
	}
	if err != nil || st.Dead() || st.PPID != c.master.PID {
		delete(c.known, pid)
		return
	}
	id := ID{PID: pid, Start: st.Start}
	if k := c.known[pid]; k == nil || k.id != id {
		c.orders++
		c.known[pid] = &childInfo{id: id, order: c.orders}
	}
	if !c.ends.Watch(id) {
		delete(c.known, pid)
	}
}

func (c *Children) sort() []ID {
	infos := make([]*childInfo, 0, len(c.known))
	for _, k := range c.known {
		infos = append(infos, k)
	}
	slices.SortFunc(infos, func(a, b *childInfo) int {
		return cmp.Or(cmp.Compare(a.id.Start, b.id.Start), cmp.Compare(a.order, b.order))
	})
	ids := make([]ID, len(infos))
	for i, k := range infos {
		ids[i] = k.id
	}
	return ids
}
