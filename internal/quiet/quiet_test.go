package quiet

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestRepeatsAreThrottledAndCounted(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := New(slog.New(slog.NewTextHandler(&out, nil)), time.Minute)
	l.now = func() time.Time { return now }
	lines := func() int { return strings.Count(out.String(), "\n") }

	for range 10 {
		l.Warn("sock", "no socket")
	}
	if lines() != 1 {
		t.Fatalf("ten repeats within the interval gave %d lines, want 1:\n%s", lines(), out.String())
	}
	now = now.Add(61 * time.Second)
	l.Warn("sock", "no socket")
	if lines() != 2 || !strings.Contains(out.String(), "repeats=9") {
		t.Fatalf("after the interval: want a second line with repeats=9, got:\n%s", out.String())
	}
	l.Clear("sock", "socket is back")
	l.Clear("sock", "socket is back")
	if lines() != 3 {
		t.Fatalf("clearing twice gave %d lines in all, want 3:\n%s", lines(), out.String())
	}
	l.Warn("sock", "no socket")
	if lines() != 4 {
		t.Fatal("a condition that comes back must be logged at once")
	}
}

func TestKeysAreBounded(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)), time.Minute)
	for i := range 5000 {
		l.Warn(fmt.Sprint("key", i), "x")
	}
	if n := len(l.seen); n > maxKeys+1 {
		t.Fatalf("%d keys kept, want at most %d", n, maxKeys+1)
	}
}
