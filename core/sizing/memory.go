package sizing

import (
	"maps"
	"slices"
	"time"
)

// Memory is what Size keeps of one app from one turn to the next: plain data, about 15 kB when full.
type Memory struct {
	// Workers is the wanted number, 0 before the first decision; Since is when that was.
	Workers int       `json:"workers"`
	Since   time.Time `json:"since,omitzero"`

	// Seen is the second of the last turn.
	Seen int64 `json:"seen,omitempty"`

	History History `json:"history"`
	Service Service `json:"service"`
	Growth  Growth  `json:"growth"`
	Lead    Lead    `json:"lead"`
	Down    Down    `json:"down"`
	Guard   Guard   `json:"guard"`
	Futile  Futile  `json:"futile"`
	Data    Data    `json:"data"`
	Flaps   Flaps   `json:"flaps"`
	Profile Profile `json:"profile"`
	// Reservations is what is remembered of the reservations in force, by id.
	Reservations map[string]Reservation `json:"reservations,omitempty"`
	// AtMax tells that the maximum was reported.
	AtMax bool `json:"at_max,omitempty"`
	// Nodes is what each node had when it was last up.
	Nodes map[string]int `json:"nodes,omitempty"`
	// Busy is the recent demand by busy workers (busy_ratio).
	Busy []Point `json:"busy,omitempty"`
}

// Point is a number at a second since 1970.
type Point struct {
	At    int64   `json:"at"`
	Value float64 `json:"v"`
}

// Clone copies what a turn changes in place: lists that are only replaced when something is added (tens, growth, lead times) are shared.
func (m Memory) Clone() Memory {
	m.History = m.History.clone()
	m.Down.Needs = slices.Clone(m.Down.Needs)
	m.Flaps.Turns = slices.Clone(m.Flaps.Turns)
	m.Profile = m.Profile.clone()
	m.Reservations = maps.Clone(m.Reservations)
	m.Nodes = maps.Clone(m.Nodes)
	m.Busy = slices.Clone(m.Busy)
	return m
}

// after drops the points before second cut; they are in order of time.
func after(points []Point, cut int64) []Point {
	i := 0
	for i < len(points) && points[i].At < cut {
		i++
	}
	return points[i:]
}
