package sizing

import (
	"fmt"
	"math"
	"time"
)

// Reservation is what is remembered of a reservation in force.
type Reservation struct {
	// Seen tells that the announced load has come, as far as arrivals show; Released that it has gone again.
	Seen     bool `json:"seen,omitempty"`
	Released bool `json:"released,omitempty"`
	// Refused tells that it was reported as one that cannot be given.
	Refused bool `json:"refused,omitempty"`
	Active  bool `json:"active,omitempty"`
	// Before is the arrival rate when it began, Peak the highest since.
	Before float64 `json:"before,omitempty"`
	Peak   float64 `json:"peak,omitempty"`
}

const (
	// mostReserved is the longest a reservation may last.
	mostReserved = 24 * time.Hour
	// cameShare of the announced load is the announced load; goneShare of it, for five minutes, is the end of it.
	cameShare = 0.7
	goneShare = 0.6
)

// orders is what the orders in force ask for.
type orders struct {
	hold    bool
	pin     int
	reserve float64
}

// take reads the orders: holds and pins apply at once, reservations one lead time before their start at the latest (an order made
// now is pulled up at once).
func (s *State) take(r *Result) orders {
	var out orders
	seen := make(map[string]bool, len(s.Obs.Orders))
	for i := range s.Obs.Orders {
		o := &s.Obs.Orders[i]
		if r.Orders == nil {
			r.Orders = map[string]OrderState{}
		}
		seen[o.ID] = true
		state := OrderState{State: "active"}
		switch {
		case !o.Until.IsZero() && !s.Obs.Now.Before(o.Until):
			state = OrderState{State: "expired"}
			s.expire(r, o)
		case o.Kind != OrderReserve && s.Obs.Now.Before(o.From):
			state.State = "waiting"
		case o.Kind == OrderHold:
			out.hold = true
		case o.Kind == OrderPin:
			// The highest of several pins wins: the safest.
			out.pin, state.Workers = max(out.pin, s.clamp(o.Workers)), s.clamp(o.Workers)
		case o.Kind == OrderReserve:
			state = s.reserve(r, o)
			if state.State == "active" {
				out.reserve = math.Max(out.reserve, float64(state.Workers))
			}
		default:
			state = OrderState{State: "refused", Why: fmt.Sprintf("the kind %q is none of hold, pin and reserve", o.Kind)}
		}
		r.Orders[o.ID] = state
	}
	for id := range s.Memory.Reservations {
		if !seen[id] {
			delete(s.Memory.Reservations, id)
		}
	}
	return out
}

func (s *State) expire(r *Result, o *Order) {
	m, ok := s.Memory.Reservations[o.ID]
	if !ok || o.Kind != OrderReserve {
		return
	}
	if m.Active && !m.Released {
		r.event(CodeReserveOver, nil, "the reservation %s of %s is over", o.ID, owner(o))
	}
	delete(s.Memory.Reservations, o.ID)
}

func owner(o *Order) string {
	if o.Owner == "" {
		return "nobody named"
	}
	return o.Owner
}

// reserve is the state of one reservation and what it asks for.
func (s *State) reserve(r *Result, o *Order) OrderState {
	m := s.Memory.Reservations[o.ID]
	defer func() {
		if s.Memory.Reservations == nil {
			s.Memory.Reservations = map[string]Reservation{}
		}
		s.Memory.Reservations[o.ID] = m
	}()
	need, why := s.wanted(o)
	if why != "" {
		if !m.Refused {
			r.event(CodeReserveNo, map[string]float64{"workers": float64(need), "max_workers": float64(s.Policy.MaxWorkers)}, "the reservation %s of %s cannot be given: %s", o.ID, owner(o), why)
		}
		m.Refused = true
		return OrderState{State: "refused", Why: why, Workers: need}
	}
	m.Refused = false
	if m.Released {
		return OrderState{State: "released", Why: "the announced load came and went"}
	}
	// What was announced for later is pulled up in time for it: one lead time, and half as much again, before.
	if early := time.Duration(1.5*s.Lead*float64(time.Second)) + 10*time.Second; s.Obs.Now.Add(early).Before(o.From) {
		return OrderState{State: "waiting", Workers: need}
	}
	if !m.Active {
		m.Active, m.Before = true, s.load.rate
		r.event(CodeReserve, map[string]float64{"workers": float64(need), "rate": o.Rate, "until_s": round3(o.Until.Sub(s.Obs.Now).Seconds())},
			"%s has announced load (%s): at least %d workers until %s", owner(o), o.ID, need, o.Until.UTC().Format(time.RFC3339))
	}
	s.follow(r, o, &m)
	if m.Released {
		return OrderState{State: "released", Why: "the announced load came and went"}
	}
	return OrderState{State: "active", Workers: need}
}

// wanted is the number of workers of a reservation, and why it cannot be given.
func (s *State) wanted(o *Order) (need int, why string) {
	need = o.Workers
	if need <= 0 {
		if !(o.Rate > 0) || o.Rate > maxPerSecond {
			return 0, "it names neither a number of workers nor a rate of requests"
		}
		need = int(math.Min(s.workers(1.05*o.Rate), 1e6))
	}
	switch {
	case o.Until.IsZero():
		return need, "it has no end"
	case o.Until.Sub(o.From) > mostReserved:
		return need, fmt.Sprintf("it lasts longer than %v", mostReserved)
	case need > s.Policy.MaxWorkers && s.Memory.Reservations[o.ID].Active:
		// Given once, it is not taken back when the service becomes slower: as much as there can be.
		return s.Policy.MaxWorkers, ""
	case need > s.Policy.MaxWorkers:
		return need, fmt.Sprintf("it needs %d workers, and at most %d may run", need, s.Policy.MaxWorkers)
	}
	return need, ""
}

// follow watches the announced load come and go. Only a rate can be watched.
func (s *State) follow(r *Result, o *Order, m *Reservation) {
	if !s.trusted || s.Obs.Now.Before(o.From) {
		return
	}
	var space [hourTens]float64
	five := 0.0
	for _, v := range s.Memory.History.tens(30, 0, space[:0]) {
		five = math.Max(five, v)
	}
	five = math.Max(five, s.load.level)
	m.Peak = math.Max(m.Peak, s.load.level)
	announced := o.Rate
	if announced <= 0 {
		// By the workers that were asked for.
		announced = float64(o.Workers) / math.Max(s.Service, 1e-6)
	}
	if m.Peak >= cameShare*announced {
		m.Seen = true
	}
	if m.Seen && five < goneShare*announced && s.Obs.Now.Sub(o.From) >= 5*time.Minute {
		m.Released = true
		r.event(CodeReserveDone, map[string]float64{"peak": round3(m.Peak), "peak_5m": round3(five)}, "the load that %s announced (%s) came and went: its reservation is released early", owner(o), o.ID)
	}
}
