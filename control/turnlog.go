package control

import (
	"errors"
	"reflect"
	"sync/atomic"

	"github.com/tidegate/tidegate/core"
)

// turnLog writes what each turn saw to the journal, as changes to the turn before.
type turnLog struct {
	// broken: the lines since the last start do not replay, so the next turn needs a start. Outcomes are written by others, too.
	broken atomic.Bool
	file   int
	policy core.Policy
	before core.Observation
}

// errLargeState is told when a start would take more than a quarter of a file.
var errLargeState = errors.New("policy and memory are too large for the journal to replay from; set `journal: decisions`")

// recordTurn journals what is decided on in this turn, and what it is decided with where that cannot be known from the lines before.
func (l *Loop) recordTurn(p core.Policy, o core.Observation) {
	if l.setup.DecisionsOnly {
		return
	}
	if err := l.turns.write(l.journal, l.version, p, l.memory, o); err != nil {
		l.turns.broken.Store(true)
		l.meters.journalErrors.Inc()
		l.quiet.Warn("turns", "what is decided on cannot be journalled", "error", err)
		return
	}
	l.quiet.Clear("turns", "what is decided on is journalled again")
}

func (t *turnLog) write(j *Journal, version string, p core.Policy, m core.Memory, o core.Observation) error {
	file, err := j.roomForTurn()
	if err != nil {
		return err
	}
	o = decisive(o, p)
	fresh := t.broken.Load() || t.file != file || !samePolicy(t.policy, p)
	if fresh {
		start := Entry{Time: o.Now, Kind: "start", Start: &Start{Version: version, Policy: p, Memory: m}}
		if err := j.appendAtMost(start, j.max/4); err != nil {
			return err
		}
		t.before = core.Observation{}
		t.broken.Store(false)
	}
	if err := j.Append(Entry{Time: o.Now, Kind: "turn", Seen: changes(&t.before, &o)}); err != nil {
		return err
	}
	// A file that was begun in between has this turn without its start.
	if j.inFile() != file {
		t.broken.Store(true)
	}
	t.file, t.policy, t.before = file, p, o
	return nil
}

// samePolicy tells that neither the date nor DNS has changed a policy; anything else in it changes by a reload alone.
func samePolicy(a, b core.Policy) bool {
	if len(a.Apps) != len(b.Apps) {
		return false
	}
	for i := range a.Apps {
		if !reflect.DeepEqual(a.Apps[i].Sizing.Schedule, b.Apps[i].Sizing.Schedule) || len(a.Apps[i].Servers) != len(b.Apps[i].Servers) {
			return false
		}
		for k := range a.Apps[i].Servers {
			if a.Apps[i].Servers[k].Address != b.Apps[i].Servers[k].Address {
				return false
			}
		}
	}
	return true
}
