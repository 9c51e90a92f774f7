package sizing

import "testing"

// Seen with the real programs: each time new workers became ready, not all of them were busy in that very second, the watch for
// growth without effect began anew, and an app whose dependency hung grew to all there is without an alarm.
func TestAMomentOfEaseDoesNotEndTheWatch(t *testing.T) {
	p, m := Default(), Memory{Workers: 12, Service: Service{Base: 0.05}}
	var r Result
	ready := 3.0
	for sec := int64(1000); sec < 1040; sec++ {
		m.History.push(Fine{At: sec, X: 6, A: 20, B: -1})
		busy := ready
		// Every third second a worker more has just come.
		if sec > 1012 && sec%3 == 0 && ready < 12 {
			ready++
		}
		s := &State{Policy: &p, Obs: &Observation{}, Memory: &m, Now: sec, Ready: ready, Busy: busy, BusyKnown: true, Service: 0.5, trusted: true}
		if limit := s.futility(&r); sec > 1016 && limit == 0 {
			t.Fatalf("at %d, with %v workers, growth has no limit: %+v", sec, ready, m.Futile)
		}
	}
	if m.Futile.Cap == 0 || len(r.Events) != 1 || r.Events[0].Code != CodeFutile {
		t.Errorf("no alarm: %+v %+v", m.Futile, r.Events)
	}
	// Ease that lasts ends it: the app has enough workers.
	m.Futile = Futile{}
	for sec := int64(1040); sec < 1080; sec++ {
		m.History.push(Fine{At: sec, X: 6, A: 20, B: -1})
		busy := 3.0
		if sec > 1050 {
			busy = 1
		}
		s := &State{Policy: &p, Obs: &Observation{}, Memory: &m, Now: sec, Ready: 3 + float64((sec-1040)/10), Busy: busy, BusyKnown: true, Service: 0.5, trusted: true}
		s.futility(&r)
	}
	if m.Futile.Workers != 0 || m.Futile.Cap != 0 {
		t.Errorf("still watched after half a minute of ease: %+v", m.Futile)
	}
}
