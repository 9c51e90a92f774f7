package gunicorn

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
)

// real is an answer of gunicorn 26.2 to "show stats".
const real = `{"id": 1, "status": "ok", "data": {"uptime": 1.63, "pid": 21530, "workers_current": 2, "workers_target": 4, ` +
	`"workers_spawned": 2, "workers_killed": 0, "reloads": 3, "dirty_arbiter_pid": null}}`

func framed(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func TestAnswers(t *testing.T) {
	read := func(b []byte) (s stats, err error) {
		answer, err := readAnswer(bytes.NewReader(b))
		if err == nil {
			err = parseAnswer(answer, &s)
		}
		if err == nil {
			err = s.validate()
		}
		return s, err
	}
	if s, err := read(framed(real)); err != nil || s != (stats{PID: 21530, Current: 2, Target: 4, Reloads: 3}) {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, c := range []struct{ in, want string }{
		{"", "no answer"}, {"\x00\x00", "no answer"}, {"HTTP/1.1 400", "control socket?"}, {string(framed(real)[:50]), "ends early"},
		{string(framed("[]")), "not understood"}, {string(framed(`{"id":1}`)), "not understood"},
		{string(framed(`{"id":1,"status":"error","error":"Invalid argument"}`)), "gunicorn refuses it"},
		{string(framed(strings.Replace(real, "21530", "1", 1))), "the pid 1"},
		{string(framed(strings.Replace(real, `target": 4`, `target": -4`, 1))), "-4"},
	} {
		if s, err := read([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %+v, %v, want %q", c.in, s, err, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(framed(real))
	f.Add(framed(`{"id":1,"status":"error","error":"no"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, err := readAnswer(bytes.NewReader(b))
		if err != nil {
			return
		}
		var s stats
		if parseAnswer(answer, &s) == nil && s.validate() == nil && (s.Target < 1 || s.Target > maxCount) {
			t.Fatalf("%q was read as %+v", b, s)
		}
	})
}

// fake answers as gunicorn 26.2 does, with the fault that a real one shows at random: it may close a connection before the
// answer, having carried out the order, as it does at a fork. The real program is steered in control_test.go.
type fake struct {
	mu       sync.Mutex
	target   int
	commands []string
	deaf     bool // no answer to orders
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	var q struct {
		Command string `json:"command"`
	}
	if json.Unmarshal(b, &q) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data := map[string]any{"pid": os.Getpid(), "workers_current": f.target, "reloads": 0, "dirty_arbiter_pid": nil}
	if q.Command != "show stats" {
		f.commands = append(f.commands, q.Command)
		switch q.Command {
		case "worker add 3":
			f.target += 3
		case "worker remove 2":
			f.target -= 2
		}
		if f.deaf {
			return
		}
	}
	data["workers_target"], data["total"] = f.target, f.target
	answer, err := json.Marshal(map[string]any{"id": 1, "status": "ok", "data": data})
	if err == nil {
		_, _ = c.Write(framed(string(answer))) // who asked may have gone
	}
}

func TestALostAnswerIsReadBack(t *testing.T) {
	f := &fake{target: 2, deaf: true}
	path := filepath.Join(t.TempDir(), "ctl")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.serve(c)
			}
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	c := New(path, 1, 8)
	now := time.Now()
	scan := func(target int) (steps []int) {
		t.Helper()
		for range 20 {
			if _, err := c.Observe(now); err != nil {
				t.Fatal(err)
			}
			step, err := c.Steer(now, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if step != 0 {
				steps = append(steps, step)
			}
			now = now.Add(100 * time.Millisecond)
		}
		return steps
	}
	if steps := scan(adapter.NoTarget); len(steps) != 0 || len(f.commands) != 0 {
		t.Errorf("without a target: %v, %v", steps, f.commands)
	}
	if steps := scan(5); !slices.Equal(steps, []int{3}) {
		t.Errorf("to 5: %v", steps)
	}
	if steps := scan(3); !slices.Equal(steps, []int{-2}) {
		t.Errorf("to 3: %v", steps)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.commands, []string{"worker add 3", "worker remove 2"}) || f.target != 3 {
		t.Errorf("the commands were %v, the target is %d", f.commands, f.target)
	}
}
