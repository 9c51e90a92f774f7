package proc

import (
	"cmp"
	"fmt"
	"slices"
)

// recheck is after how many looks a child is read again.
const recheck = 10

// Children follows the live children of one master. It is not safe for concurrent use.
type Children struct {
	proc   Reader
	master ID
	scans  uint64
	orders uint64
	known  map[int]*childInfo
	// zombies is the number of children that have ended and that the master has not noticed yet.
	zombies int
}

// childInfo is what was read of a child; order is that of being first seen.
type childInfo struct {
	id    ID
	order uint64
}

// Look brings the children up to date and returns the live ones, oldest first; another master than the last time begins
// anew. A child is read when it is new, when it is missing from the list (the kernel may leave live ones out), and now and
// then to find a zombie that nobody reaps.
func (c *Children) Look(master ID) ([]ID, error) {
	if master != c.master || c.known == nil {
		c.master, c.known = master, map[int]*childInfo{}
	}
	c.scans, c.zombies = c.scans+1, 0
	pids, err := c.proc.Children(master.PID)
	if err != nil {
		return nil, fmt.Errorf("list the children of the master %d: %w", master.PID, err)
	}
	listed := make(map[int]bool, len(pids))
	for _, pid := range pids {
		listed[pid] = true
		if k := c.known[pid]; k == nil || (c.scans+uint64(pid))%recheck == 0 {
			c.read(pid)
		}
	}
	for pid := range c.known {
		if !listed[pid] {
			c.read(pid)
		}
	}
	return c.sorted(), nil
}

// Zombies is how many children the last look found ended and not yet reaped: the master does something else.
func (c *Children) Zombies() int { return c.zombies }

// read looks at one child and keeps it, or forgets it when it is none (any more).
func (c *Children) read(pid int) {
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
}

func (c *Children) sorted() []ID {
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
