package control

import (
	"testing"

	"github.com/tidegate/tidegate/core"
)

// What a journal tells of a server's workers is all of it.
func TestTheJournalTellsAllOfAPool(t *testing.T) {
	s := core.ServerObs{Answers: 12, Pool: core.PoolObs{
		Total: 9, Ready: 5, Starting: 3, Draining: 1, Busy: 2.5, Target: 8, Ordered: true, Min: 1, Max: 20, Step: 2, Drained: true, OldFirst: true,
	}}
	var got core.ServerObs
	if err := setServer(&got, server(3, &s)[1:]); err != nil || got.Pool != s.Pool || got.Answers != 12 {
		t.Errorf("%+v, %v; want %+v", got, err, s)
	}
}
