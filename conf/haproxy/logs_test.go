package haproxyconf_test

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// logs receives HAProxy's log lines on a UDP port.
type logs struct {
	addr  string
	mu    sync.Mutex
	list  []string
	times []time.Time
}

func newLogs(t *testing.T) *logs {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	l := &logs{addr: pc.LocalAddr().String()}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, line, ok := strings.Cut(string(buf[:n]), "LOG "); ok {
				l.mu.Lock()
				l.list = append(l.list, strings.TrimSpace(line))
				l.times = append(l.times, time.Now())
				l.mu.Unlock()
			}
		}
	}()
	return l
}

// logLine is one line taken apart: key=value words.
type logLine map[string]string

func (l *logs) lines() []logLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]logLine, len(l.list))
	for i, text := range l.list {
		out[i] = logLine{}
		for _, word := range strings.Fields(text) {
			k, v, _ := strings.Cut(word, "=")
			out[i][k] = v
		}
	}
	return out
}

// between returns the lines that came from one time to another.
func (l *logs) between(from, to time.Time) (out []logLine) {
	lines := l.lines()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, line := range lines {
		if !l.times[i].Before(from) && l.times[i].Before(to) {
			out = append(out, line)
		}
	}
	return out
}

func (l logLine) ms(t *testing.T, key string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(l[key])
	if err != nil {
		t.Fatalf("log line %v: %s is no number", l, key)
	}
	return time.Duration(n) * time.Millisecond
}
