package main

import (
	"fmt"
	"time"
)

// way is a contestant of a comparison by how often it can do something.
type way struct {
	who, what string
	do        func() error
}

// takeTurns lets the ways take turns, forwards and backwards, and reports how many units each does in a second.
func (r *report) takeTurns(o options, bench, unit string, units int, title string, ways ...way) error {
	r.printf("\n== %s\n", title)
	s := series{}
	for round := range o.rounds {
		for i := range ways {
			w := ways[i]
			if round%2 == 1 {
				w = ways[len(ways)-1-i]
			}
			n, began := 0, time.Now()
			for time.Since(began) < o.slot || n == 0 {
				if err := w.do(); err != nil {
					return fmt.Errorf("%s: %w", w.what, err)
				}
				n++
			}
			s.add(w.who, float64(n*units)/time.Since(began).Seconds())
		}
	}
	for _, w := range ways {
		r.printf("  %-44s %s %s\n", w.what, spread(s[w.who]), unit)
	}
	r.printf("  the first does %s x the second", spread(s.ratios(ways[0].who, ways[1].who)))
	if len(ways) > 2 {
		r.printf(" and %s x the third", spread(s.ratios(ways[0].who, ways[2].who)))
	}
	r.printf("\n")
	r.line(s.conclude(bench, unit))
	return nil
}
