package uwsgi

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	const good = `{"pid":7,"workers":[{"id":1,"pid":8,"accepting":1,"status":"busy","respawn_count":2,"cores":[{"in_request":1},{"in_request":0},{"in_request":1}]},
		{"id":2,"pid":9,"accepting":1,"status":"cheap","respawn_count":1,"cores":[{"in_request":1}]},
		{"id":3,"pid":10,"accepting":0,"status":"busy","respawn_count":2,"cores":[{"in_request":1}]},{"id":0,"pid":0,"status":"cheap","cores":[]}]}`
	for name, text := range map[string]string{"plain": good, "stats-http": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + good} {
		s, err := parse([]byte(text))
		if err != nil || s.PID != 7 || len(s.Workers) != 4 {
			t.Errorf("%s: %+v, %v", name, s, err)
			continue
		}
		one, leaving, forked, never := s.Workers[0], s.Workers[1], s.Workers[2], s.Workers[3]
		if !forked.alive() || forked.busy() != 0 {
			t.Errorf("%s: a worker that does not accept yet has its predecessor's request: %+v", name, forked)
		}
		if !one.alive() || one.busy() != 2 || leaving.alive() || leaving.busy() != 1 || never.alive() || never.busy() != 0 {
			t.Errorf("%s: %+v", name, s.Workers)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "<html>", "no master": `{"pid":0,"workers":[{}]}`, "no workers": `{"pid":7,"workers":[]}`,
		"another thing": `{"status":"ok"}`, "a negative pid": `{"pid":7,"workers":[{"pid":-1}]}`,
		"too many": `{"pid":7,"workers":[` + strings.Repeat("{},", maxSlots) + `{}]}`, "half": good[:len(good)/2],
	} {
		if s, err := parse([]byte(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v; want one sentence", name, s, err)
		}
	}
}

// Whatever answers at the stats socket, there is one sentence in time.
func TestStatsSocketsThatMisbehave(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent":  func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"closes":  func(net.Conn) {},
		"endless": func(c net.Conn) { _, _ = io.Copy(c, endless{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					serve(c)
					c.Close()
				}
			}()
			s := New("unix:"+ln.Addr().String(), "/nonexistent.fifo", 1, 2)
			if _, err := s.Count(nil); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one sentence with the address", err)
			}
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestOrder(t *testing.T) {
	dir := t.TempDir()
	fifo, file := dir+"/fifo", dir+"/file"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "no uWSGI master reads", file: "is no FIFO", dir + "/none": "does not exist", dir: "open the FIFO"} {
		if err := order(path, 3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file that is no FIFO holds %q, %v", b, err)
	}
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for step, want := range map[int]string{3: "+++", -2: "--"} {
		if err := order(fifo, step); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		n, err := unix.Read(fd, b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("step %d: %q, %v; want %q", step, b[:n], err, want)
		}
		// The writer is gone: the master makes the FIFO anew.
		if n, err := unix.Read(fd, b); n != 0 || err != nil {
			t.Errorf("the FIFO is still held: %d, %v", n, err)
		}
	}
	// A master that does not read any more must not hang the agent.
	for range 2000 {
		if err = order(fifo, maxStep); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "write to the FIFO") {
		t.Errorf("a full FIFO: %v", err)
	}
}
