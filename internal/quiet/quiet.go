package quiet

import (
	"log/slog"
	"sync"
	"time"
)

// Log is a throttled log. The zero value is not usable; use New. It is safe for concurrent use.
type Log struct {
	log   *slog.Logger
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex
	seen map[string]*state
}

type state struct {
	last  time.Time
	since int
}

// maxKeys bounds the memory when keys come from outside; further keys share one entry.
const maxKeys = 1024

// New returns a log that repeats a standing condition at most once per interval; 0 means one minute.
func New(log *slog.Logger, every time.Duration) *Log {
	if every <= 0 {
		every = time.Minute
	}
	return &Log{log: log, every: every, now: time.Now, seen: map[string]*state{}}
}

// Warn logs msg when key is new or its interval is over; repeats in between are counted and reported as "repeats".
func (l *Log) Warn(key, msg string, args ...any) {
	l.mu.Lock()
	now := l.now()
	s := l.seen[key]
	if s == nil {
		if len(l.seen) >= maxKeys {
			key = "(more)"
			s = l.seen[key]
		}
		if s == nil {
			s = &state{}
			l.seen[key] = s
		}
	}
	if !s.last.IsZero() && now.Sub(s.last) < l.every {
		s.since++
		l.mu.Unlock()
		return
	}
	if s.since > 0 {
		args = append(args, "repeats", s.since)
	}
	s.last, s.since = now, 0
	l.mu.Unlock()
	l.log.Warn(msg, args...)
}

// Clear ends the condition: msg is logged once at level info when key had been warned of, else nothing happens.
func (l *Log) Clear(key, msg string, args ...any) {
	l.mu.Lock()
	s := l.seen[key]
	delete(l.seen, key)
	l.mu.Unlock()
	if s == nil {
		return
	}
	if s.since > 0 {
		args = append(args, "repeats", s.since)
	}
	l.log.Info(msg, args...)
}
