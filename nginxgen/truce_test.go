package nginxgen

import (
	"fmt"
	"testing"
	"time"
)

// fight plays a tool that writes its own version every so often, and a manager that repairs as the truce allows. It returns
// when repairs were made.
func fight(every, lasts time.Duration, rewritesWhenSame bool) []time.Duration {
	var tr truce
	var repairs []time.Duration
	start := time.Unix(1_000_000, 0)
	writes, theirs := 0, false
	next := time.Duration(0)
	for at := time.Duration(0); at < lasts; at += 5 * time.Second {
		now := start.Add(at)
		if at >= next {
			next += every
			// A tool that only looks at the content leaves its own version alone.
			if !theirs || rewritesWhenSame {
				writes++
			}
			theirs = true
		}
		if !theirs {
			tr.sees("", "", now)
			continue
		}
		tr.sees("theirs", fmt.Sprint("theirs, written ", writes), now)
		if ok, _ := tr.may(now); ok {
			tr.repair(now)
			theirs = false
			repairs = append(repairs, at)
		}
	}
	return repairs
}

func TestRepairsAreNoWar(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration
		same   bool
		least  int
		within int // repairs in a day
	}{
		"a tool that writes every five seconds":                            {5 * time.Second, true, 3, 3},
		"a tool that writes every five seconds when it finds another":      {5 * time.Second, false, 3, 12},
		"a tool that writes every half hour when it finds another":         {30 * time.Minute, false, 3, 12},
		"a tool that writes every half hour":                               {30 * time.Minute, true, 3, 12},
		"somebody who edits it every two hours, and is repaired each time": {2 * time.Hour, true, 12, 12},
	} {
		t.Run(name, func(t *testing.T) {
			repairs := fight(c.every, 24*time.Hour, c.same)
			t.Logf("%d repairs in a day, at first: %v", len(repairs), repairs[:min(len(repairs), 12)])
			if len(repairs) < c.least || len(repairs) > c.within {
				t.Fatalf("%d repairs, want %d to %d", len(repairs), c.least, c.within)
			}
		})
	}
}
