package spoa

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// recorded are the seeds of a fuzz target that come from real HAProxys.
func recorded(t *testing.T, target string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "haproxy-*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded seeds of %s (%v)", target, err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, quoted, _ := strings.Cut(strings.TrimSpace(string(text)), "\n[]byte(")
		value, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[filepath.Base(file)] = []byte(value)
	}
	return out
}

// What real HAProxys of every version have sent is taken without a complaint: each message on its own, and connections.
func TestRecordedMessagesAreTaken(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, payload := range recorded(t, "FuzzMessages") {
		sink, count := &arrivals{}, newTally()
		d := &decoder{names: newNames(newNameTable()), sink: sink, count: count}
		d.notify(now, payload)
		got := len(sink.dones) + len(sink.beats) + len(sink.list)
		if got != 1 || d.dones+d.beats+d.arrivals != 1 || len(count.bad) != 0 {
			t.Errorf("%s: %d messages taken, malformed %v", name, got, count.bad)
		}
		for _, s := range sink.dones {
			sampled := !strings.Contains(name, "arrivals")
			wantID := 36
			if sampled && strings.Contains(name, "-lean-") {
				wantID = 0
			}
			if s.Backend != "app" || s.Queue < 0 || s.Connect < 0 || s.Response < 0 || s.Status < 200 || len(s.ID) != wantID || s.BackendConns < 1 || s.Queued < 0 || !s.Counters.Known || s.Counters.AnswersKnown != sampled {
				t.Errorf("%s: %+v", name, s)
			}
		}
		for _, g := range sink.beats {
			if g.Backend != "app" || g.Up != 2 || len(g.Servers) != 2 || !g.Counters.Known {
				t.Errorf("%s: %+v", name, g)
			}
		}
		for _, a := range sink.list {
			if a.Backend != "app" || len(a.ID) != 36 || a.Boot == "" || a.BackendConns < 1 || a.Queued < 0 {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	for name, stream := range recorded(t, "FuzzFrames") {
		s, _, count := newTestSession()
		feedInChunks(s, now, stream, 100)
		if len(count.bad) != 0 || !s.ready {
			t.Errorf("%s: ready %v, malformed %v", name, s.ready, count.bad)
		}
	}
}
