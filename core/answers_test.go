package core

import (
	"testing"
	"time"
)

// The lead time ends with the first good answer of the servers that came in for an order, not when their workers are ready.
func TestLeadTimeEndsWithTheFirstGoodAnswer(t *testing.T) {
	// first is how long after b is ready it gives its first good answer, 0 for never; known tells that somebody counts answers.
	lead := func(first int, known bool, change func(turn int, w *world, b *ServerObs)) (ready, learned float64) {
		w := newWorld(t, policy(BusyRatio, managed("a"), managed("b")))
		a := w.serving("a", 4)
		a.busy, a.target = 1, 4
		ordered, at, given := time.Time{}, time.Time{}, 50
		for turn := range 90 {
			if turn == 20 {
				a.busy = 4
			}
			o := w.observe()
			for i := range o.Apps[0].Servers {
				s := &o.Apps[0].Servers[i]
				s.AnswersKnown = known
				if s.Answers = 1000 + 9*turn; s.Name == "b" {
					if !at.IsZero() && first > 0 && w.now.Sub(at) >= time.Duration(first)*time.Second {
						given = 51
					}
					s.Answers = given
					if change != nil {
						change(turn, w, s)
					}
				}
			}
			o.Apps[0].Proxy.Process = w.process
			plan, m := Decide(Policy{Apps: []AppPolicy{w.p}}, w.m, o)
			w.m = m
			for _, action := range plan.Apps[0].Actions {
				w.do(action)
			}
			for _, f := range w.servers {
				f.up = f.up || f.admin == AdminDrain
				if f.warm == WarmRunning {
					f.warm = WarmOK
				}
				if f.target > 0 {
					f.ready = f.target
				}
			}
			l := m.Apps["shop"].Sizing.Lead
			if ordered.IsZero() && l.Ordered > 0 {
				ordered = w.now
			}
			if b := m.Apps["shop"].Servers.Of("b"); at.IsZero() && b.Phase.InService() {
				// The number that is ready is that of the next turn.
				at = w.now.Add(w.tick)
			}
			if len(l.Samples) > 0 {
				return at.Sub(ordered).Seconds(), float64(l.Samples[0])
			}
			w.now = w.now.Add(w.tick)
		}
		return at.Sub(ordered).Seconds(), -1
	}
	if ready, learned := lead(0, false, nil); ready < 3 || learned != ready {
		t.Errorf("without a count of answers: %g s, ready after %g", learned, ready)
	}
	if ready, learned := lead(8, true, nil); learned != ready+8 {
		t.Errorf("with the first answer 8 s after %g: %g s", ready, learned)
	}
	if ready, learned := lead(0, true, nil); learned != ready {
		t.Errorf("nobody asked: %g s, ready after %g", learned, ready)
	}
	// HAProxy is reloaded before the first answer and counts anew: the first answer is the first after zero.
	if ready, learned := lead(8, true, func(turn int, w *world, b *ServerObs) {
		if turn >= 28 {
			w.process = "2:2"
			b.Answers -= 50
		}
	}); learned != ready+8 {
		t.Errorf("counting anew: %g s, ready after %g", learned, ready)
	}
}

// What a server answered before it left, or while it left, is no answer of its next time in service.
func TestAnswersBeforeServiceDoNotCount(t *testing.T) {
	v := view{o: &ServerObs{AnswersKnown: true, Answers: 70, Pool: PoolObs{Ready: 3}}, m: &ServerMemory{Life: Life{Phase: PhaseDraining}, Answers: 60, Answered: true}}
	v.answered()
	v.m.Phase = PhaseRamping
	v.answered()
	if !v.fresh() {
		t.Errorf("a server that has not answered in this service is not fresh: %+v", v.m)
	}
	v.o.Answers++
	v.answered()
	if v.fresh() {
		t.Errorf("a server that answered is fresh: %+v", v.m)
	}
	// Later counts change nothing, so that the memory stays shared.
	was := *v.m
	v.o.Answers += 100
	if v.answered(); *v.m != was {
		t.Errorf("%+v, was %+v", v.m, was)
	}
}
