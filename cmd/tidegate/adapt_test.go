package main

import (
	"math"
	"testing"
)

func TestErrorShare(t *testing.T) {
	for name, c := range map[string]struct {
		turns []endCounts
		want  float64
	}{
		"nothing yet":                    {[]endCounts{{}}, 0},
		"all is told":                    {[]endCounts{{100, 100, 5, 0}, {200, 200, 30, 0}}, 0.25},
		"a tenth is told":                {[]endCounts{{1000, 100, 5, 0}, {2000, 200, 30, 0}}, 0.25},
		"no server answers":              {[]endCounts{{100, 100, 0, 0}, {100, 100, 0, 50}}, 1},
		"half by servers, half by none":  {[]endCounts{{0, 0, 0, 0}, {1000, 100, 10, 1000}}, 0.55},
		"a handful":                      {[]endCounts{{0, 0, 0, 0}, {9, 9, 9, 0}}, 0},
		"none of many was told":          {[]endCounts{{0, 0, 0, 0}, {90, 0, 0, 10}}, 0.1},
		"the backend was forgotten":      {[]endCounts{{900, 900, 9, 0}, {90, 90, 90, 0}}, 0},
		"only the last turns are looked": {[]endCounts{{0, 0, 0, 0}, {100, 100, 100, 0}, {200, 200, 100, 0}, {300, 300, 100, 0}, {400, 400, 100, 0}, {500, 500, 100, 0}}, 0},
	} {
		e := &errorShare{}
		got := 0.0
		for _, turn := range c.turns {
			got = e.add(turn)
		}
		if math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
