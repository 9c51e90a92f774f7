package control

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/core/sizing"
)

type fakeQueue struct {
	value sizing.Backlog
	at    time.Time
	err   error
}

func (q *fakeQueue) Read(context.Context) (sizing.Backlog, time.Time, error) {
	return q.value, q.at, q.err
}

func TestAQueueThatDoesNotAnswerIsOldThenUnknown(t *testing.T) {
	setup := sizedSetup()
	now := time.Unix(5000, 0)
	q := &fakeQueue{value: sizing.Backlog{Items: 7}, at: now}
	setup.Apps[0].Backlog = q
	l := newTestLoop(t, setup, nil)
	look := func(after time.Duration) *sizing.Backlog {
		at := now.Add(after)
		return l.observation(l.observe(t.Context(), at), at).Apps[0].Backlog
	}
	if b := look(0); b == nil || b.Items != 7 {
		t.Fatalf("%+v", b)
	}
	q.err, q.value = errors.New("connection refused"), sizing.Backlog{}
	if b := look(setup.Apps[0].StaleAfter); b == nil || b.Items != 7 {
		t.Errorf("a short silence: %+v", b)
	}
	if l.sources["queue of shop"].err == nil {
		t.Error("the silence is not shown")
	}
	if b := look(setup.Apps[0].StaleAfter + time.Second); b != nil {
		t.Errorf("a long silence: %+v", b)
	}
	if b := l.observation(&sight{proxies: make([]proxySight, 1)}, now).Apps[1].Backlog; b != nil {
		t.Errorf("an app without a queue: %+v", b)
	}
}
