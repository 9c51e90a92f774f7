package spoa

import (
	"testing"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

// While the agent drains, checks fail and requests are served, on connections old and new; when nothing comes any more, the
// agent says goodbye.
func TestDrain(t *testing.T) {
	s, dial, stop := serve(t, Options{Drain: time.Minute})
	old := dial().greet()
	old.ask(1)
	check := func() header {
		p := dial()
		p.send(goodHello(arg{"healthcheck", true}))
		h, ok := p.next()
		if !ok {
			t.Fatal("a check got no answer")
		}
		return h
	}
	if h := check(); h.kind != frame.TypeAgentHello {
		t.Fatalf("a check of a healthy agent got frame type %d", h.kind)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); stop() }()
	within(t, "checks to fail", func() bool {
		// Requests go on meanwhile, so that it is not over.
		old.ask(2)
		return check().kind == frame.TypeAgentDisconnect
	})
	dial().greet().ask(3)
	old.ask(4)
	select {
	case <-ended:
		t.Fatal("the agent has gone though a request came just now")
	default:
	}
	old.gone(statusNormal)
	<-ended
	if bad := s.Stats().Malformed; len(bad) != 0 {
		t.Errorf("malformed: %v", bad)
	}
}

// Nobody there: nothing to wait for. Somebody who never stops: the time is bounded.
func TestDrainIsBounded(t *testing.T) {
	_, _, stop := serve(t, Options{Drain: time.Hour})
	stop()
	_, dial, stop := serve(t, Options{Drain: 100 * time.Millisecond, IdleTimeout: time.Hour})
	p := dial().greet()
	p.ask(1)
	ended := make(chan struct{})
	go func() { defer close(ended); stop() }()
	within(t, "the end", func() bool {
		// The goodbye may come in between.
		_, _ = p.Write(notifyFrame(2, message(messageDone, doneArgs()...)))
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}
